"""One face followed through a video: detection, association, short gaps interpolated, long ones left open; one pass, bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from dva_core.errors import DVAError
from dva_core.faces.follower import LOOK_AROUND, Follower, Observation
from dva_core.faces.scene import SceneCuts
from dva_core.faces.segments import FOUND, INTERPOLATED, MISSING, FaceTrack, assemble
from dva_core.faces.select import SAME_PERSON, FaceChoice, check_choice
from dva_core.faces.types import Face

__all__ = ["FOUND", "INTERPOLATED", "MISSING", "SAME_PERSON", "FaceTrack", "SceneCuts", "track_faces"]

log = logging.getLogger(__name__)

NO_POINTS = np.full((68, 2), np.nan, np.float32)  # of a frame without the face


class Record:
    """The observations of one face, frame by frame, and the track built from them."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.points: list[np.ndarray] = []
        self.scores: list[float] = []
        self.starts: list[bool] = []
        self.occluded: list[bool] = []
        self.others: list[int] = []
        self.vectors: dict[int, np.ndarray] = {}

    def add(self, observation: Observation) -> None:
        """Record the observation of the next frame, and what it changes in earlier frames."""
        n = len(self.points)
        if observation.mistaken:
            for past in range(n):
                self.forget(past)
            self.occluded = [False] * n
        for past in range(n - observation.wrong, n):
            self.forget(past)
        self.points.append(NO_POINTS if observation.landmarks is None else np.asarray(observation.landmarks, np.float32))
        self.scores.append(0.0 if observation.face is None else observation.face.score)
        self.starts.append(observation.begins)
        self.occluded.append(observation.occluded)
        if observation.others:
            self.others.append(n)
        if observation.begins and self.follower.vector is not None:
            self.vectors[n] = self.follower.vector

    def forget(self, n: int) -> None:
        """Remove the face of frame `n`, which was somebody else's."""
        self.points[n], self.scores[n], self.starts[n], self.occluded[n] = NO_POINTS, 0.0, False, True
        self.vectors.pop(n, None)

    def track(self, max_gap: int, cuts: Sequence[int]) -> FaceTrack:
        """Build the track. cuts: the first frames of new scenes."""
        follower = self.follower
        recognition = follower.recognition
        is_person = {} if recognition.identity is None else {n: recognition.matches(vector) for n, vector in self.vectors.items()}
        track = assemble(self.points, self.scores, self.starts, max_gap, tuple(cuts), follower.neighbours.most, is_person, self.occluded)
        return replace(track, others=tuple(self.others))


def track_faces(
    frames: Iterable,
    detector,
    landmarker: Callable[[np.ndarray, Face], np.ndarray],
    *,
    choice: FaceChoice = "largest",
    max_gap: int = 12,
    embed_fn: Callable[[np.ndarray], np.ndarray] | None = None,
    same_person: float = SAME_PERSON,
    progress: Callable[[int], None] | None = None,
) -> FaceTrack:
    """Follow one face through `frames`, objects with `.rgb` uint8 [H, W, 3], read once in order.

    detector.detect(rgb) -> list[Face]; landmarker(rgb, face) -> [68, 2] frame pixels. Optional methods make following faster
    (`detect_sized`, `follow`) and handle tilted heads (`doubt`); see FaceDetector, CropLandmarker.
    choice: "largest"; ("position", x, y), fractions 0..1 of width and height; ("reference", embedding [D], embed_fn).
    embed_fn: aligned crops uint8 [B, 256, 256, 3] -> identity vectors [B, D]. With it a face that comes back after a cut or a long
    absence, or that changes from one frame to the next, must be the same person (cosine >= same_person); without it the rule of `choice`
    applies again. Early in the video all faces are checked against the rule: if one is far larger than the one followed, or is
    at the position and the one followed is not, it is followed instead, and the earlier frames are dropped.
    Up to max_gap frames without the face are interpolated if it comes back near its place and there is no scene cut between. If there are
    other faces, only those in which its place still looks the same: another person's face or the back of a head is not interpolated.
    Faces seen together with this one are not taken for it later, however similar.
    progress(frames done) may raise to cancel. DVAError for an invalid `choice`, or if nobody matches the reference.
    """
    check_choice(choice)
    record = Record(follower := Follower(detector, landmarker, choice, max_gap, embed_fn, same_person))
    scene, cuts = SceneCuts(), []
    for n, frame in enumerate(frames):
        change = scene(frame.rgb)
        if change >= 1:
            cuts.append(n)
        record.add(follower.step(frame.rgb, change, look_around=n % LOOK_AROUND == 0))
        if progress is not None:
            progress(n + 1)
    track = record.track(max_gap, cuts)
    report = track.report()
    log.info("face track: %s", report)
    if choice[0] == "reference" and not report["found"]:
        raise DVAError(
            f"No face in the video matches the reference picture (best similarity {follower.recognition.best_similarity:.2f}, "
            f"{same_person:.2f} needed): use a clearer picture of the person, or select the face by position."
        )
    if report["missing"] > report["found"] and report["other_faces_seen"]:
        log.warning("the followed face is missing in %d of %d frames while others are there", report["missing"], report["frames"])
    return track
