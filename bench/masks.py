"""The face mask of a model against the hull of the landmarks, on faces marked by hand, and what each lets an edit change.

PYTHONPATH=. python bench/masks.py ../shared/data --model starter -o masks.md

Overlap: mean intersection over union with the outlines of tests/faces/marked_faces.json, as the pictures are and with things drawn
in front of the faces. Ring: mean absolute change, in grey levels, of the pixels up to 7 (of 128) outside of the outline and above the
mouth, mostly hair, for one edit of ten people. Occluders: the same inside of a hand and of a bar that move over a face. The networks,
and so the edits, are the same: only the masks differ.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch

import dva_core
from dva_core.decomposition import SOFT_MASKS, Decomposition
from dva_core.decomposition.arrays import array_specs
from dva_core.decomposition.info import DecompositionInfo
from dva_core.decomposition.tensorfile import TensorMemory
from dva_core.diffusion.solvers import SOLVER, power_of
from dva_core.edit import apply_attributes
from dva_core.evaluate.table import Table
from dva_core.model.arrays import to_images
from dva_core.networks.hull import hull_mask
from dva_core.pipeline.encoding import invert_crops
from dva_core.pipeline.preview import stills
from dva_core.pipeline.store import create_store
from dva_core.progress import Stopwatch, silent
from dva_core.train.mask.occluders import draw_occluder, lay_on
from dva_core.train.mask.outlines import Outline
from dva_core.train.mask.scene import Scene
from dva_core.train.mask.textures import skin
from dva_core.video import open_video
from dva_core.video.images import read_rgb

MARKS = Path(__file__).resolve().parents[1] / "tests" / "faces" / "marked_faces.json"
THINGS = 5  # drawings on each face
RING = 7  # pixels of 128
RING_PEOPLE = (
    "sbwe5n.mpg#38",
    "brbk7n.mpg#38",
    "lbax4n.mpg#38",
    "lbbc2a.mpg#38",
    "swiz3n.mpg#38",
    "00340",
    "01948",
    "00951",
    "01931",
    "00446",
)
MOVES = 12  # places of a thing that moves over a face


@dataclass(frozen=True)
class MarkedFace:
    """A picture uint8 [128, 128, 3] of `group`, and what of it was marked as visible face, bool [128, 128]."""

    name: str
    group: str
    picture: np.ndarray
    face: np.ndarray


def read_marked(data: Path, marks: Path = MARKS) -> list[MarkedFace]:
    """Read the marked pictures. A name is FILE, or VIDEO#FRAME, which is aligned as the notes of the videos say."""
    notes, videos, faces = np.load(data / "clips" / "annotations.npz"), {}, []
    for name, outline in json.loads(marks.read_text(encoding="utf-8")).items():
        file, _, frame = name.partition("#")
        if frame:
            if file not in videos:
                with open_video(data / file) as video:
                    videos[file] = [one.rgb for one in video]
            affine = notes[f"{Path(file).stem}/ffhq_affine"][int(frame)]
            picture = cv2.warpAffine(videos[file][int(frame)], affine, (128, 128), flags=cv2.INTER_AREA)
        else:
            picture = read_rgb(data / file)
        layer = np.zeros((128, 128), np.uint8)
        cv2.fillPoly(layer, [np.int32(outline)], 1)
        faces.append(MarkedFace(name, file.split("/")[0], picture, layer > 0))
    return faces


def masks_of(model, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Hull and own mask of pictures [n, S, S, 3]: bool [n, S, S] each."""
    images = to_images(pictures, model.host.device)
    found = {"hull": hull_mask(model.encode_landmarks(images).cpu(), images.shape[-1]), "ours": model.face_mask(images).cpu()}
    return {name: mask[:, 0].numpy() >= 0.5 for name, mask in found.items()}


def overlap(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Intersection over union of each pair of bool masks [n, S, S]."""
    return (found & truth).sum((1, 2)) / np.maximum((found | truth).sum((1, 2)), 1)


def overlaps(model, faces: list[MarkedFace], seed: int = 0) -> Table:
    """Mean overlap of both masks with the marks, by group, without and with things in front."""
    rng, notes = np.random.default_rng(seed), []
    pictures, truth = np.stack([face.picture for face in faces]), np.stack([face.face for face in faces])
    points = model.encode_landmarks(to_images(pictures, model.host.device)).cpu().numpy()
    covered, visible = [], []
    for row, face in enumerate(faces):
        for _ in range(THINGS):
            thing = draw_occluder(rng, Scene(face.picture, points[row], pictures[rng.integers(len(faces))]))
            covered.append(lay_on(rng, face.picture, thing))
            visible.append(face.face & (thing.alpha < 0.5))
    cases = {"as they are": (pictures, truth, 1), "with things in front": (np.stack(covered), np.stack(visible), THINGS)}
    groups = np.array([face.group for face in faces])
    for case, (images, masks, times) in cases.items():
        found = {name: overlap(mask, masks) for name, mask in masks_of(model, images).items()}
        group_of = np.repeat(groups, times)
        for group in (*dict.fromkeys(groups), None):
            rows = np.ones(len(group_of), bool) if group is None else group_of == group
            notes.append([group or "all", case, int(rows.sum()), *(float(found[name][rows].mean()) for name in ("hull", "ours"))])
    return Table("Overlap with marked faces", ["set", "faces", "n", "hull", "ours"], notes)


def decompose(model, picture: np.ndarray, steps: int) -> tuple[Decomposition, Decomposition]:
    """Decompose one aligned picture: with the hull as mask, and with the model's own."""
    made = []
    info = DecompositionInfo(
        source="picture", sha256="", width=picture.shape[1], height=picture.shape[0], rate=Fraction(25), frames=1,
        model_fingerprint=model.fingerprint, image_size=model.image_size, steps=steps, solver=SOLVER, power=power_of(SOLVER, None, model),
    )  # fmt: skip
    images = to_images(picture[None], model.host.device)
    z_id, z_motion, masks = (part.float().cpu().numpy() for part in model.encode_crops(images))
    store = create_store(None, None, model, [1], [info])
    for name, value in (("crops", picture[None]), ("z_id_frames", z_id), ("z_motion", z_motion), ("masks", masks[:, 0] >= 0.5)):
        store.write(name, 0, value)
    store.write("z_id", 0, z_id[0])
    store.write("z_id_edited", 0, z_id[0])
    if model.tells_front:
        store.write(SOFT_MASKS, 0, np.rint(masks * 255))
    invert_crops(model, store, info, 1, silent, Stopwatch())
    specs = array_specs(1, model.image_size, model.crop_size, model.identity_dim, model.motion_dim)
    plain = TensorMemory(specs, store.metadata)
    for name in specs:
        plain.write(name, 0, store.read(name))
    plain.write("masks", 0, hull_mask(model.encode_landmarks(images).cpu(), picture.shape[0])[:, 0].numpy())
    for one in (plain, store):
        made.append(Decomposition(one, info))
    return made[0], made[1]


def changes(model, picture: np.ndarray, edit: dict[str, float], steps: int) -> list[np.ndarray]:
    """Change [S, S] of one picture by an edit, in grey levels, with the hull and with the model's own mask; and the edited pictures."""
    results = []
    for decomposition in decompose(model, picture, steps):
        edited = stills([apply_attributes(decomposition, model, edit)], model, 0).edited[0]
        results += [np.abs(edited.astype(np.float32) - picture).mean(2), edited]
    return results


def ring_of(face: MarkedFace) -> np.ndarray:
    """Pixels just outside of the marked face, above the lowest third of it."""
    far = cv2.dilate(face.face.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * RING + 1, 2 * RING + 1))) > 0
    near = cv2.dilate(face.face.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    rows = np.flatnonzero(face.face.any(1))
    return far & ~near & (np.arange(len(far))[:, None] < rows[0] + (rows[-1] - rows[0]) * 2 / 3)


def rings(model, faces: list[MarkedFace], edit: dict[str, float], steps: int, sheet: list[np.ndarray]) -> Table:
    """Mean change in the ring, and inside of the marked face, of ten people."""
    rows = []
    for face in faces:
        if any(name in face.name for name in RING_PEOPLE):
            hull, with_hull, ours, with_ours = changes(model, face.picture, edit, steps)
            sheet.append(np.concatenate([face.picture, with_hull, with_ours], 1))
            ring = ring_of(face)
            rows.append([face.name, *(float(change[area].mean()) for area in (ring, face.face) for change in (hull, ours))])
    rows.append(["mean", *np.mean([row[1:] for row in rows], axis=0).tolist()])
    return Table(f"Change by {edit}", ["face", "ring: hull", "ring: ours", "face: hull", "face: ours"], rows)


def moving(kind: str, scene: Scene, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A bar or a hand at `share` (0..1) of its way over the face: rgb uint8 [S, S, 3] and alpha [S, S]."""
    size, outline = scene.size, Outline(scene.size)
    x = 0.1 + 0.8 * share
    if kind == "bar":
        outline.polygon([(x - 0.05, -0.1), (x + 0.05, -0.1), (x + 0.08, 1.1), (x - 0.02, 1.1)])
        stripes = (np.arange(size)[:, None] // 8 % 2)[..., None] * np.array([200, 40, 40]) + np.array([20, 20, 30])
        return np.broadcast_to(stripes, (size, size, 3)).astype(np.uint8), outline.mask()
    for finger in range(4):
        base = x + (finger - 1.5) * 0.075
        outline.curve([(base + 0.02 * (finger - 1.5), 0.42 + 0.03 * abs(finger - 1.5)), (base, 0.8)], 0.07)
    outline.polygon([(x - 0.15, 0.72), (x + 0.15, 0.72), (x + 0.13, 1.1), (x - 0.13, 1.1)])
    alpha = outline.mask()
    away = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    return np.clip(skin(rng, scene) * (0.75 + 0.25 * np.clip(away / 4, 0, 1))[..., None], 0, 255).astype(np.uint8), alpha


def occluders(model, faces: list[MarkedFace], edit: dict[str, float], steps: int, sheet: list[np.ndarray]) -> Table:
    """Mean and largest change inside of a bar and of a hand, at MOVES places over the face of each video's middle frame."""
    rows = []
    for kind in ("bar", "hand"):
        inside: dict[str, list[np.ndarray]] = {"hull": [], "ours": []}
        people = [face for face in faces if face.name.endswith("#38")]
        for move in range(MOVES):
            face, rng = people[move % len(people)], np.random.default_rng(move)
            points = model.encode_landmarks(to_images(face.picture[None], model.host.device))[0].cpu().numpy()
            rgb, alpha = moving(kind, Scene(face.picture, points, face.picture), (move + 0.5) / MOVES, rng)
            covered = np.uint8(face.picture * (1 - alpha[..., None]) + rgb * alpha[..., None])
            hull, with_hull, ours, with_ours = changes(model, covered, edit, steps)
            sheet.append(np.concatenate([covered, with_hull, with_ours], 1))
            for name, change in (("hull", hull), ("ours", ours)):
                inside[name].append(change[(alpha > 0.99) & face.face])
        for name, values in inside.items():
            found = np.concatenate(values)
            rows.append([kind, name, float(found.mean()), float(np.percentile(found, 99)), float(found.max())])
    return Table(f"Change inside of what moves over the face, {edit}", ["thing", "mask", "mean", "99 of 100", "largest"], rows)


def milliseconds(model, pictures: np.ndarray, times: int = 20) -> Table:
    """CPU time of a frame on one thread: the parser, and the hull's landmarks and drawing, in batches of 8."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    images = to_images(pictures[:8], model.host.device)
    rows = []
    for name, run in (("hull", lambda: hull_mask(model.encode_landmarks(images).cpu(), 128)), ("ours", lambda: model.face_mask(images))):
        run()
        start = time.process_time()
        for _ in range(times):
            run()
        rows.append([name, (time.process_time() - start) / times / len(images) * 1000])
    torch.set_num_threads(threads)
    return Table("Milliseconds a frame, one core", ["mask", "ms"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with clips/, faces128/ and faces128_hard/")
    parser.add_argument("--model", default="starter", help="one whose face parser tells what is in front")
    parser.add_argument("--edit", default="Young=-0.8", metavar="NAME=SCALE")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--only", nargs="+", default=["overlap", "rings", "occluders", "time"])
    parser.add_argument("--sheet", type=Path, help="a picture of all edits: source, with the hull, with the model's mask")
    parser.add_argument("-o", "--output", type=Path, help="the tables as Markdown (default: stdout)")
    args = parser.parse_args()

    model, faces, sheet = dva_core.load_model(args.model, device="cpu"), read_marked(args.data), []
    name, _, scale = args.edit.partition("=")
    edit = {name: float(scale)}
    sections = {
        "overlap": lambda: overlaps(model, faces),
        "rings": lambda: rings(model, faces, edit, args.steps, sheet),
        "occluders": lambda: occluders(model, faces, edit, args.steps, sheet),
        "time": lambda: milliseconds(model, np.stack([face.picture for face in faces])),
    }
    text = "\n\n".join(sections[name]().markdown() for name in args.only)
    if args.sheet and sheet:
        sheet += [np.zeros_like(sheet[0])] * (-len(sheet) % 4)
        rows = [np.concatenate(sheet[i : i + 4], 1) for i in range(0, len(sheet), 4)]
        cv2.imwrite(str(args.sheet), np.concatenate(rows)[..., ::-1])
    if args.output:
        args.output.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
