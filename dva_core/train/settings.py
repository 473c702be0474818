"""Settings of a run of the diffusion training, as a value and as a JSON file (train/configs/*_training.json)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from dva_core.errors import DVAError, MissingFileError

SHIPPED = Path(__file__).parent / "configs"
FOCUS = (200, 850)  # timesteps at which the face takes shape and z_face matters most
PRECISIONS = ("fp32", "bf16", "fp16")
AT_LEAST_ONE = ("people", "frames", "accumulate", "path_every")
NOT_NEGATIVE = (
    "pairs",
    "pair_weight",
    "pair_focus",
    "paths",
    "path_weight",
    "path_edges",
    "minutes",
    "steps",
    "warm_up",
    "reg_weight",
    "simple_cap",
    "reg_cap",
    "weight_decay",
    "validate_every",
    "save_every",
)


@dataclass(frozen=True)
class DiffusionSettings:
    """Settings of a run. Its length is `minutes`, or `steps` for exact repeatability (0: by the clock).

    people, frames, accumulate  people x frames x accumulate pictures per step and process, each with two noises
    reg_weight                  factor of L_reg
    simple_cap, reg_cap         0: L_simple and L_reg are added as in the paper. A short run learns z_face sooner if errors of the noise
                                are weighted like errors of the image, by sigma / alpha = sqrt((1 - alpha_bar) / alpha_bar), from 1 up to
                                simple_cap; L_reg, an error of the image, is dominated by the noisiest timesteps and then bounded to
                                reg_cap alpha / sigma
    focus                       share of the timesteps drawn from FOCUS, where a face takes shape; the paper's is 0
    learning_rate               rises for `warm_up` steps, stays until the last `cool_down` of the run (a share, 0: never), then falls to 0
    precision                   of the noise predictor while training (autocast; weights stay float32)
    compile                     generate code for it first (torch.compile): takes minutes, needs a C++ compiler, on CUDA Triton
    scaled_inputs               centre and scale [z_id ; z_motion] before the fusion layer while training
    save_every, validate_every  minutes between saves, each with a validation; steps between further validations (0: none)
    turn, zoom, shift, light    see augment
    pairs, pair_weight          pairs per step, and their weight; pair_focus: their mask weighs 1 + pair_focus; pair_from_after: see
                                pair_objective; soften: share of them degraded like small videos
    paths, path_weight          states of decodes per step, and their weight; path_edges: weight of errors of edges; every `path_every`
                                steps as many pairs are decoded: see path_objective
    other_encoders              start from a bundle of other encoders, which must give nearly the same vectors
    half_moments                keep the optimiser's moments in bfloat16, a quarter less memory traffic: each save rounds them, so that a
                                resumed run continues exactly

    Raises DVAError for invalid values.
    """

    minutes: float = 60.0
    steps: int = 0
    people: int = 4
    frames: int = 2
    learning_rate: float = 8e-4
    warm_up: int = 200
    ema: float = 0.999
    simple_cap: float = 12.0
    reg_weight: float = 1.0
    reg_cap: float = 4.0
    focus: float = 0.6
    gradient_clip: float = 1.0
    turn: float = 3.0
    zoom: float = 0.07
    shift: float = 0.03
    light: float = 0.5
    seed: int = 0
    save_every: float = 5.0
    accumulate: int = 1
    precision: str = "fp32"
    cool_down: float = 0.25
    beta_1: float = 0.9
    beta_2: float = 0.99
    weight_decay: float = 1e-2
    scaled_inputs: bool = True
    validate_every: int = 0
    grid_steps: int = 10
    compile: bool = False
    pairs: int = 0
    pair_weight: float = 1.0
    pair_focus: float = 4.0
    pair_from_after: float = 0.0
    paths: int = 0
    path_weight: float = 1.0
    path_every: int = 24
    path_edges: float = 0.0
    soften: float = 0.0
    other_encoders: bool = False
    half_moments: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise DVAError(f"There is no precision {self.precision!r} to train in; choose one of {', '.join(PRECISIONS)}.")
        for names, least in ((AT_LEAST_ONE, 1), (NOT_NEGATIVE, 0)):
            for name in names:
                if getattr(self, name) < least:
                    raise DVAError(f"The setting {name} cannot be {getattr(self, name)}; use {least} or more.")
        for name in ("ema", "focus", "cool_down", "pair_from_after", "soften"):
            if not 0 <= getattr(self, name) <= 1:
                raise DVAError(f"The setting {name} cannot be {getattr(self, name)}; use a share from 0 to 1.")
        if not (self.steps or self.minutes):
            raise DVAError("A run of 0 minutes and 0 steps trains nothing; set one of them.")

    @classmethod
    def of(cls, values: Mapping, where: str = "the settings") -> DiffusionSettings:
        """Make settings from names and values. DVAError, naming `where`, for unknown names and values of the wrong type."""
        kinds = {field.name: type(field.default) for field in fields(cls)}
        for name, value in values.items():
            if name not in kinds:
                raise DVAError(f"{where} has a setting {name!r} that is not known; choose from {', '.join(kinds)}.")
            accepted = (int, float) if kinds[name] is float else kinds[name]
            if not isinstance(value, accepted) or (isinstance(value, bool) and kinds[name] is not bool):
                raise DVAError(f"{where} has {value!r} as {name}, which must be of the kind {kinds[name].__name__}.")
        return cls(**values)


def read_json(path: Path | str) -> dict:
    """Read the object in a JSON file, or in a packaged one by its name without `.json`; DVAError if there is none."""
    shipped = {file.stem: file for file in sorted(SHIPPED.glob("*.json"))}
    path = shipped.get(str(path), Path(path))
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingFileError(f"There is no file {path}; check the path, or name one of {', '.join(shipped)}.") from error
    except (OSError, ValueError) as error:
        raise DVAError(f"{path} cannot be read as JSON ({str(error).splitlines()[0]}); mend it.") from error
    if not isinstance(values, dict):
        raise DVAError(f"{path} holds no JSON object of names and values; mend it.")
    return values
