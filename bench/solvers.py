"""Which solver, timesteps and clamp give the edit of 1000 DDIM steps from few evaluations.

PYTHONPATH=. python bench/solvers.py ../shared/data/clips --teachers ../shared/data/teachers --cache ../solvers -o docs

Five edits on a few frames of each video, against the same edits by 1000 DDIM steps (hours of evaluations: kept in --cache, as are the
figures of each setting, so that an interrupted run goes on and a second one is quick).
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from solver_cases import EDITS, REBUILT, Cases, Reference, collect
from torch import Tensor

from dva_core import load_model
from dva_core.commands.evaluate import list_videos
from dva_core.diffusion import solvers
from dva_core.edit import AttributeSet
from dva_core.edit.scores import logits
from dva_core.evaluate import metrics
from dva_core.evaluate.plots import as_array, figure
from dva_core.evaluate.table import Table
from dva_core.faces.align import whole_square
from dva_core.faces.composite import paste
from dva_core.model.arrays import to_images
from dva_core.train.teachers import Teachers
from dva_core.video.images import save_picture

logger = logging.getLogger(__name__)

STEPS = (5, 8, 10, 15, 20, 50, 100)
FEW = (5, 8, 10, 15, 20)
GOALS = ((15, 50), (10, 30))  # with so many evaluations each way as near as DDIM with so many
LEAST_SHARE = 0.95
BATCH = 32


@dataclass(frozen=True)
class Setting:
    solver: str
    steps: int
    power: float = 1.0
    clamp: bool = True

    @property
    def name(self) -> str:
        return f"{self.solver} T={self.steps} p={self.power:g}{'' if self.clamp else ' no clamp'}"

    @property
    def way(self) -> str:
        """The setting but for the steps."""
        return f"{self.solver}, p = {self.power:g}" + ("" if self.clamp else ", no clamp")


def usual_settings(powers: Sequence[float]) -> list[Setting]:
    """The grid of the table: what can be used with all T, with and without clamp at few; the rest for comparison."""
    first = [Setting("ddim", steps) for steps in (*STEPS, 30)]
    search = [Setting(way, steps, p) for way in ("angle2", "angle2c") for p in (1.2, 1.4, 1.6, 1.7, 1.8) for steps in (10, 15)]
    grid = [Setting(solver, steps, power) for solver in ("angle2", "angle2c", "order2", "ddim") for power in powers for steps in STEPS]
    bare = [Setting(solver, steps, power, False) for solver in ("angle2", "order2", "ddim") for power in powers for steps in (10, 15, 20)]
    high = [Setting(solver, steps, power) for solver in ("order3", "dpmpp2m", "fixed-point") for power in powers for steps in FEW]
    pairs = [Setting(solver, steps, 1.0, clamp) for solver in ("o-belm", "bdia") for clamp in (True, False) for steps in FEW]
    return list(dict.fromkeys([*first, *grid, *search, *bare, *high, *pairs]))


class Measurement:
    """Figures of one setting on the cases, an edit at a time."""

    def __init__(self, model, cases: Cases, reference: Reference, scores: dict[str, Callable[[np.ndarray], np.ndarray]]):
        self.model, self.cases, self.scores = model, cases, scores
        self.lpips, self.lpips_missing = metrics.lpips_metric()
        self.reference = reference.decoded
        self.before = {name: score(cases.squares) for name, score in scores.items()}
        self.reference_change = {name: self._change(name, self.reference) for name in scores}

    @torch.inference_mode()
    def decode(self, setting: Setting) -> dict[str, Tensor]:
        """The crops that the setting rebuilds and edits; the noise map in half precision, as a video keeps it (not so a pair of states)."""
        pair = solvers.SOLVERS[setting.solver].states == 2
        how = {"steps": setting.steps, "solver": setting.solver, "clamp": setting.clamp, "power": setting.power}
        how |= {"dtype": torch.float64} if pair else {}
        plain = self.cases.z_face[REBUILT]
        parts = zip(self.cases.original.split(BATCH), plain.split(BATCH))
        noise = torch.cat([solvers.invert(self.model, x, z, **how) for x, z in parts])
        noise = noise if pair else noise.half().float()
        z_face = torch.cat(list(self.cases.z_face.values()))
        parts = zip(noise.repeat(len(self.cases.z_face), 1, 1, 1).split(BATCH), z_face.split(BATCH))
        crops = torch.cat([solvers.sample(self.model, x, z, **how).float() for x, z in parts])
        return dict(zip(self.cases.z_face, crops.chunk(len(self.cases.z_face))))

    def rows(self, crops: dict[str, Tensor]) -> dict[str, dict[str, float]]:
        """Edit -> figure -> value: medians over the frames; of scores and flicker the means."""
        original, mask = in_unit(self.cases.original), self.cases.mask
        rebuilt = in_unit(crops[REBUILT])
        rows = {}
        for name in self.scores:
            edited, aim = in_unit(crops[name]), in_unit(self.reference[name])
            pasted = in_unit(self.cases.original + crops[name] - crops[REBUILT])
            aim_pasted = in_unit(self.cases.original + self.reference[name] - self.reference[REBUILT])
            figures = {
                "rebuilt SSIM": metrics.ssim(rebuilt, original),
                "rebuilt MSE": metrics.mse(rebuilt, original),
                "edited SSIM": metrics.ssim(edited, aim, mask),
                "edited MSE": metrics.mse(edited, aim, mask),
                "pasted SSIM": metrics.ssim(pasted, aim, mask),
                "pasted MSE": metrics.mse(pasted, aim, mask),
                "pasted LPIPS": pasted.new_full((1,), torch.nan) if self.lpips is None else self.lpips(pasted, aim).reshape(1),
                "pasted both SSIM": metrics.ssim(pasted, aim_pasted, mask),
            }
            share = self._change(name, crops) / self.reference_change[name]
            rows[name] = {key: value.median().item() for key, value in figures.items()}
            rows[name] |= {"score share": share, "flicker": self._flicker(name, crops)}
        return rows

    def _pasted(self, name: str, crops: dict[str, Tensor]) -> np.ndarray:
        """The face squares as the product pastes them, uint8 [N, C, C, 3]."""
        parts = zip(self.cases.squares, crops[name].numpy(), crops[REBUILT].numpy(), self.cases.soft_masks)
        return np.stack([paste(square, whole_square(square), edited, rebuilt, mask)[0] for square, edited, rebuilt, mask in parts])

    def _change(self, name: str, crops: dict[str, Tensor]) -> float:
        return float((self.scores[name](self._pasted(name, crops)) - self.before[name]).mean())

    def _flicker(self, name: str, crops: dict[str, Tensor]) -> float:
        """Of the edit over that of the original."""
        pasted, flicker = self._pasted(name, crops), metrics.Flicker()
        for pair in self.cases.neighbours:
            flicker.restart()
            for row in pair:
                square = self.cases.squares[row]
                flicker.add(square, pasted[row], self.cases.soft_masks[row] > 0.5)
        before, after = flicker.figures
        return after / before


def in_unit(images: Tensor) -> Tensor:
    return images.clamp(-1, 1) / 2 + 0.5


def score_functions(model, edits: Sequence[str], folder: Path) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Edit -> what its score is of pictures uint8 [N, C, C, 3]: a teacher's where there is one, else the model's own classifier's logit."""
    teachers, attributes = Teachers(folder), AttributeSet.from_model(model)
    of_teachers = {
        "Young": lambda pictures: teachers.age_male(pictures)[0],
        "Male": lambda pictures: teachers.age_male(pictures)[1],
        "Smiling": lambda pictures: teachers.expression(pictures)[:, 1],
    }

    def own(name: str) -> Callable[[np.ndarray], np.ndarray]:
        return lambda pictures: np.array([logits(attributes, z)[name] for z in model.encode_identity(to_images(pictures)).cpu().numpy()])

    return {name: of_teachers.get(name) or own(name) for name in edits}


def summary(by_setting: dict[Setting, dict[str, dict[str, float]]], title: str) -> Table:
    """A row a setting: the median over the edits of each figure, the least share of the score, and whether it meets a goal."""
    names = list(next(iter(by_setting.values())))
    columns = [
        "solver",
        "T",
        "power",
        "clamp",
        "up",
        "down",
        "rebuilt",
        "edited",
        "pasted",
        "like with like",
        *names,
        "MSE e-4",
        "least share",
        "flicker",
        "goal",
    ]
    table = Table(title, columns)
    for setting, rows in sorted(by_setting.items(), key=lambda item: (item[0].steps, item[0].solver, item[0].power, not item[0].clamp)):
        middle = {key: float(np.median([row[key] for row in rows.values()])) for key in rows[names[0]]}
        pasted = [f"{rows[name]['pasted SSIM']:.4f}" for name in names]
        share = min(row["score share"] for row in rows.values())
        table.add(
            setting.solver,
            setting.steps,
            f"{setting.power:g}",
            "yes" if setting.clamp else "no",
            *solvers.evaluations(setting.solver, setting.steps),
            middle["rebuilt SSIM"],
            middle["edited SSIM"],
            f"{middle['pasted SSIM']:.4f}",
            f"{middle['pasted both SSIM']:.4f}",
            *pasted,
            f"{middle['pasted MSE'] * 1e4:.2f}",
            share,
            middle["flicker"],
            reached(setting, by_setting),
        )
    return table


def reached(setting: Setting, by_setting: dict[Setting, dict[str, dict[str, float]]]) -> str:
    """ "yes" where every edit is as near to the reference as DDIM's with more steps, by SSIM and MSE, and its score moves as far."""
    for steps, more in GOALS:
        like = by_setting.get(Setting("ddim", more))
        if setting.steps == steps and like is not None:
            near = sum(row["pasted SSIM"] >= like[name]["pasted SSIM"] for name, row in by_setting[setting].items())
            nearer = sum(row["pasted MSE"] <= like[name]["pasted MSE"] for name, row in by_setting[setting].items())
            enough = sum(row["score share"] >= LEAST_SHARE for row in by_setting[setting].values())
            return "yes" if near == nearer == enough == len(like) else f"SSIM {near}, MSE {nearer}, score {enough} of {len(like)}"
    return ""


def plot(by_setting: dict[Setting, dict[str, dict[str, float]]], path: Path) -> None:
    """1 - SSIM, logarithmic, against the evaluations each way, a line a method that was measured at several numbers of steps."""
    picture, axes = figure(3, 5.5, 4.8)
    for axis, key in zip(axes, ("rebuilt SSIM", "pasted SSIM", "pasted both SSIM")):
        for way in dict.fromkeys(setting.way for setting in by_setting):
            some = sorted((s for s in by_setting if s.way == way), key=lambda s: s.steps)
            if len(some) < 4:
                continue
            values = [1 - float(np.median([row[key] for row in by_setting[s].values()])) for s in some]
            each_way = [sum(solvers.evaluations(s.solver, s.steps)) / 2 for s in some]
            style = f"C{list(solvers.SOLVERS).index(some[0].solver)}{'o' if some[0].clamp else 'x'}{'--' if some[0].power == 1 else '-'}"
            axis.plot(each_way, np.maximum(values, 1e-5), style, ms=3, lw=1, label=way)
        axis.set(xscale="log", yscale="log", xlabel="evaluations each way", ylabel=f"1 - {key}")
        axis.set_xticks(STEPS, map(str, STEPS))
        axis.minorticks_off()
    axes[0].legend(fontsize=6, ncols=2)
    save_picture(path, as_array(picture))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=2, help="of each video; the last two are neighbours (default 2)")
    parser.add_argument("--reference", type=int, default=1000, metavar="STEPS", help="DDIM steps of the reference (default 1000)")
    parser.add_argument("--powers", type=float, nargs="+", default=[1.0, 1.5], metavar="P")
    parser.add_argument("--only", nargs="+", default=[], metavar="SOLVER/T[/POWER[/0]]", help="these and DDIM's, instead of the whole grid")
    parser.add_argument("--cache", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    model = load_model(args.model)
    cases = collect(list_videos(args.videos), model, args.frames, EDITS)
    reference = Reference(model, cases, args.cache, args.reference)
    measurement = Measurement(model, cases, reference, score_functions(model, list(EDITS), args.teachers))
    cache = reference.folder / f"figures_{args.frames}.json"
    figures = json.loads(cache.read_text()) if cache.is_file() else {}
    settings = usual_settings(args.powers)
    if args.only:
        parts = [text.split("/") for text in args.only]
        settings = [Setting("ddim", steps) for steps in (10, 15, 20, 30, 50)]
        settings += [Setting(p[0], int(p[1]), float(p[2]) if len(p) > 2 else 1.0, "0" not in p[3:]) for p in parts]
    by_setting = {}
    for setting in dict.fromkeys(settings):
        if setting.name not in figures:
            logger.info("%s", setting.name)
            figures[setting.name] = measurement.rows(measurement.decode(setting))
            cache.write_text(json.dumps(figures))
        by_setting[setting] = figures[setting.name]

    table = summary(by_setting, f"Solvers, {model.config.get('name', 'model')}")
    table.notes += [
        f"{len(cases.names)} frames, {args.frames} of each video.",
        f"Reference: the edit by {args.reference} DDIM steps with clamp. SSIM and MSE inside the face's mask but for rebuilt, medians.",
        "pasted: original + edited - rebuilt, against the reference's edit, the aim; median of the edits, then a column an edit. "
        "like with like: against what the reference gives when it is pasted in the same way, which leaves out the reference's own loss.",
        "least share: of the change of the attribute's score in the reference, the least of the edits. flicker: over the original's.",
        f"goal: whether all edits are as near as DDIM's with more steps ({', '.join(f'{a} against {b}' for a, b in GOALS)}).",
        *([measurement.lpips_missing] if measurement.lpips_missing else []),
    ]
    args.output.mkdir(parents=True, exist_ok=True)
    table.save(args.output, "solvers")
    rows = Table("", [*asdict(next(iter(by_setting))), "edit", *next(iter(next(iter(by_setting.values())).values()))])
    for setting, edits in by_setting.items():
        for name, figures in edits.items():
            rows.add(*asdict(setting).values(), name, *figures.values())
    (args.output / "solvers_edits.csv").write_text(rows.csv(), encoding="utf-8")
    plot(by_setting, args.output / "solvers.png")


if __name__ == "__main__":
    main()
