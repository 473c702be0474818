"""The settings of encoding, checked in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from ..diffusion import solvers
from ..errors import DVAError
from ..faces.finder import DETECTORS
from ..values import real, whole
from ..video.frames import Frames
from .finding import as_choice


@dataclass(frozen=True)
class EncodeSettings:
    """Settings that determine the content of a decomposition, with their defaults; see `encode`."""

    steps: int = solvers.STEPS
    solver: str = solvers.SOLVER
    power: float | None = None
    clamp: bool = True
    start: float = 0.0
    length: float | None = None
    every: int = 1
    max_frames: int | None = None
    rate: float | Fraction | None = None
    face: str | tuple = "largest"  # or ("people", Selection)
    detector: str = DETECTORS[0]

    def resolve(self, model) -> EncodeSettings:
        """Convert numbers to Python's and fill in the solver's default power. DVAError for the first invalid setting."""
        solvers.find_solver(self.solver, solvers.VIDEO_SOLVERS)
        if self.detector not in DETECTORS:
            raise DVAError(f"There is no detector {self.detector!r}; choose one of {', '.join(DETECTORS)}.")
        settings = replace(
            self,
            steps=whole(self.steps, "number of steps"),
            every=whole(self.every, "step between frames", 1),
            max_frames=whole(self.max_frames, "most frames"),
            start=real(self.start, "start"),
            length=real(self.length, "length"),
            face=as_choice(self.face),
            power=solvers.power_of(self.solver, real(self.power, "power"), model),
        )
        model.schedule.timesteps(settings.steps, settings.power)
        return settings

    @property
    def pictures(self) -> tuple:
        """Files that are read beside the video: the reference picture of the face."""
        return self.face[1:] if self.face[0] == "reference" else ()

    def frames(self, source: Path) -> Frames:
        return Frames(source, self.start, self.length, self.every, self.max_frames, self.rate)
