"""Switching features (Kim et al. 2023, sec. 4, the check of the decomposition): identity, motion or background of another video.

A decomposition is (z_id, z_motion[n], x_T[n]); each of the three can be that of another decomposition, and x_T can be random:

    identity    z_id' = z_id of the other
    motion      z_motion[n]' = z_motion[m(n)] of the other, which has M rows
    background  x_T[n]' = x_T[m(n)] of the other, or one normal noise map, the same in all frames

where m(n) matches the lengths (F rows here, M in the other; a row is a frame with a face):

    repeat      m(n) = n mod M; a longer one is cut
    ping-pong   0 1 .. M-1 M-2 .. 1 0 1 ..; a longer one is cut
    stretch     m(n) = n (M-1) / (F-1), first on first and last on last
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..decomposition import Decomposition, check_model
from ..decomposition.people import People, describe_people
from ..decomposition.tensorfile import TensorStore
from ..errors import DVAError
from ..values import whole
from .whom import on_people

Reader = Callable[[np.ndarray], np.ndarray]  # row numbers [n] -> rows [n, ...]
LENGTHS = ("repeat", "ping-pong", "stretch")


def other_rows(rows: np.ndarray, ours: int, theirs: int, length: str = "repeat") -> np.ndarray:
    """m(n) [n] float64 for the row numbers `rows` [n] of a decomposition with `ours` rows, in one with `theirs`."""
    if theirs == 1:
        return np.zeros(len(rows))
    if length == "stretch":
        return rows * (theirs - 1) / max(1, ours - 1)
    if length == "ping-pong":
        turn = 2 * (theirs - 1)
        return theirs - 1.0 - np.abs(theirs - 1.0 - rows % turn)
    return (rows % theirs).astype(np.float64)


class SwitchedStore(TensorStore):
    """The store `base` with some arrays read by `readers` instead, which may read the stores `others`; nothing is copied."""

    def __init__(self, base: TensorStore, readers: Mapping[str, Reader], others: Sequence[TensorStore] = ()):
        if isinstance(base, SwitchedStore):
            base, readers, others = base.base, {**base.readers, **readers}, (*base.others, *others)
        self.base, self.readers, self.others = base, dict(readers), tuple(others)
        self.specs, self.metadata = base.specs, base.metadata
        self.path = getattr(base, "path", None)
        self.files = (*base.files, *(file for store in self.others for file in store.files))

    def close(self) -> None:
        self.base.close()

    @property
    def own_files(self) -> tuple[Path, ...]:
        return self.base.own_files

    def in_memory(self, prefix: str = "") -> list[np.ndarray]:
        return [array for store in (self.base, *self.others) for array in store.in_memory(prefix)]

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        if name not in self.readers:
            return self.base.read(name, start, stop)
        spec, start, stop = self._rows(name, start, stop)
        return np.asarray(self.readers[name](np.arange(start, stop)), spec.dtype).reshape(stop - start, *spec.shape[1:])


@on_people
def apply_switch(
    decomposition: Decomposition,
    model,
    other: Decomposition | None = None,
    *,
    identity: bool = False,
    motion: bool = False,
    background: bool = False,
    noise_seed: int | None = None,
    length: str = "repeat",
) -> Decomposition:
    """Replace features of `decomposition` by those of `other`; the frames, their sound and the face squares are kept.

    identity, motion, background   which features come from `other`, with its own edits
    noise_seed                     instead of a background: one noise map drawn with this seed, the same in all frames
    length                         how another length is matched: "repeat" (a longer one is cut), "ping-pong" or "stretch", which
                                   interpolates the motion of the two nearest frames and takes the noise map of the nearest (an
                                   interpolated one would no longer be noise)
    person                         whom of several people to change, by numbers or names; None: all. `other` is one person

    Raises DVAError for decompositions of another model or with other encoding settings, and for both a background and a seed.
    """
    check_model(decomposition, model)
    noise_seed = whole(noise_seed, "noise seed", 0)
    if isinstance(other, Mapping):  # as `describe` keeps it
        raise DVAError(f"The features came from the video {other.get('source')}; encode it and switch them again.")
    if isinstance(other, People):
        raise DVAError(
            f"What features are switched from holds {len(other)} people, {describe_people(other)}; "
            "take one of them out of it (Split People)."
        )
    if other is not None and not isinstance(other, Decomposition):
        raise DVAError("What features are switched from is no decomposition; connect one.")
    if background and noise_seed is not None:
        raise DVAError("The background is either that of the other video or random noise; switch on only one of them.")
    if other is None and (identity or motion or background):
        raise DVAError("Identity, motion and background come from another video; connect one, or switch these off.")
    if other is not None:
        check_model(other, model)
    if length not in LENGTHS:
        raise DVAError(f"There is no length {length!r}; choose one of {', '.join(LENGTHS)}.")

    def to_other(rows: np.ndarray) -> np.ndarray:
        return other_rows(rows, decomposition.faces, other.faces, length)

    readers: dict[str, Reader] = {}
    totals: dict[str, Any] = {}
    if identity:
        nearest = np.rint(to_other(np.arange(decomposition.faces))).astype(int)
        totals |= {"z_id": other.current_z_id, "identity_steps": tuple(steps.select(nearest) for steps in other.identity_steps)}
    if motion:
        readers["z_motion"] = lambda rows: interpolate_rows(other.current_z_motion, to_other(rows))
        totals |= {"motion_shift": np.zeros(model.motion_dim), "motion_steps": ()}  # shifts of the replaced motion go with it
    if background:
        check_noise(decomposition, other)
        readers["x_T"] = lambda rows: other.x_T[np.rint(to_other(rows)).astype(int)]
    if noise_seed is not None:
        noise = np.random.default_rng(noise_seed).standard_normal(decomposition.x_T.shape[1:], np.float32).astype(np.float16)
        readers["x_T"] = lambda rows: np.broadcast_to(noise, (len(rows), *noise.shape))
    settings = {"identity": bool(identity), "motion": bool(motion), "background": bool(background), "noise_seed": noise_seed}
    settings |= {} if length == LENGTHS[0] else {"length": length}
    result = decomposition.with_edit(describe(other, **settings), **totals)
    others = () if other is None else (other.store,)
    return replace(result, store=SwitchedStore(decomposition.store, readers, others)) if readers else result


def interpolate_rows(reader: Reader, places: np.ndarray) -> np.ndarray:
    """Interpolate linearly between rows: the rows of `reader` at the fractional row numbers `places` [n]."""
    below = np.floor(places).astype(int)
    part = (places - below)[:, None].astype(np.float32)
    values = reader(below)
    return values if not part.any() else values + part * (reader(np.ceil(places).astype(int)) - values)


def check_noise(decomposition: Decomposition, other: Decomposition) -> None:
    """DVAError unless the noise maps of both lie at the same timestep and so are interchangeable."""
    ours, theirs = (item.info.solving for item in (decomposition, other))
    if ours != theirs:
        raise DVAError(
            f"The videos were encoded with {ours} and with {theirs}; encode both with the same settings to switch their backgrounds."
        )


def describe(other: Decomposition | None, **settings: Any) -> dict[str, Any]:
    """The operation that the decomposition records: which features were switched, and which video they come from."""
    source = {} if other is None else {"other": {"source": other.info.source, "sha256": other.info.sha256, "operations": other.operations}}
    return {"name": "switch", **settings, **source}
