"""Pairs of one face without and with an attribute that cannot be drawn as an object: age, sex, smile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from dva_core.errors import DVAError
from dva_core.faces.warp import thin_plate_map
from dva_core.networks.hull import extend_hull
from dva_core.train.faces import FaceSet
from dva_core.train.prototypes import mouth
from dva_core.train.prototypes.donors import Donors, bare, collect, light_side, old_faces, smiling_faces
from dva_core.train.prototypes.space import DARK, LUMA, MeanSpace, band, from_log, likeness, polygon, saturation, to_log, tone
from dva_core.train.prototypes.statistics import FRONTAL, Effects, fit_effects, label, turn, years
from dva_core.train.synthesis import normalise

WHITE = float(np.log(255 + DARK))
KINDS = ("Older", "Younger", "Male", "Female", "Smiling")
INNER_GROWTH, OUTER_GROWTH = 1.08, 1.22  # scales of the face's hull: full displacement inside the first, none outside the second


class Pair(NamedTuple):
    """picture uint8 [S, S, 3]: the changed face; landmarks float32 [68, 2]: its own; mask float32 [S, S] 0..1: where it changed."""

    picture: np.ndarray
    landmarks: np.ndarray
    mask: np.ndarray


class Recipe(NamedTuple):
    """The components of one change.

    shape, colour: multiples of effects by name; texture: of a donor; smooth: share of the own texture removed; grey: brows and hair;
    shave: share of the own stubble removed; relax: of a frown.
    """

    shape: dict[str, float]
    colour: dict[str, float]
    texture: float = 0.0
    smooth: float = 0.0
    grey: float = 0.0
    shave: float = 0.0
    relax: float = 0.0


def recipe(kind: str, look: dict) -> Recipe:
    s = look["strength"]
    if kind == "Older":
        return Recipe({"Old": s}, {"Old": s}, texture=look["texture"], grey=look["grey"])
    if kind == "Younger":
        return Recipe({"Old": -0.8 * s}, {"Old": -0.8 * s}, smooth=look["smooth"])
    if kind == "Male":
        return Recipe({"Male": 1.5 * s}, {"Male": 1.2 * s, "5_o_Clock_Shadow": look["stubble"], "Beard": 0.35 * look["stubble"]})
    if kind == "Female":
        return Recipe({"Male": -1.5 * s}, {"Male": -1.1 * s, "Wearing_Lipstick": look["lipstick"]}, smooth=look["smooth"], shave=1.0)
    return Recipe({"open smile": s}, {"open smile": 0.8 * s}, texture=look["texture"], relax=0.7)


@dataclass
class Prototypes:
    """Mean differences and donors; `look` draws a random style, `change` applies it."""

    space: MeanSpace
    effects: Effects
    old: Donors
    smiles: Donors

    @classmethod
    def fit(cls, faces: FaceSet, *, donors: int = 80) -> Prototypes:
        """Fit to labelled faces; held-out people are not used. Raises DVAError if too few remain."""
        faces = faces.take(np.flatnonzero(~faces.held_out & (label(faces, "Sunglasses") < 0.5)))
        frontal = np.flatnonzero(np.abs(turn(faces.landmarks)) < FRONTAL)
        if not len(frontal):
            raise DVAError("None of these faces looks ahead: prototypes need frontal faces.")
        space = MeanSpace.fit(faces.landmarks[frontal])
        effects = fit_effects(faces, space, ((i, space.read(faces.pictures[i], faces.landmarks[i])) for i in frontal))
        old = collect(faces, np.flatnonzero(old_faces(faces)), space, effects.mean, donors)
        smiles = collect(faces, np.flatnonzero(smiling_faces(faces)), space, effects.mean, donors, smile=True)
        for name, faces_of in (("old faces without glasses and beard", old), ("open smiles with teeth", smiles)):
            if not len(faces_of):
                raise DVAError(f"These faces hold no frontal, evenly lit {name}: give more of them.")
        return cls(space, effects, old, smiles)

    def look(self, kind: str, rng: np.random.Generator) -> dict:
        """Draw a random style, plain numbers by name; the same style changes two frames of a person alike."""
        check_kind(kind)
        look = {"strength": float(rng.uniform(0.85, 1.25)), "donor": float(rng.random())}
        if kind == "Older":
            look |= {"texture": float(rng.uniform(0.9, 1.4)), "grey": float(rng.uniform(0.3, 0.9))}
        elif kind == "Smiling":
            look |= {"texture": float(rng.uniform(0.3, 0.6)), "mouth": float(rng.uniform(0.6, 1.0))}
        elif kind == "Male":
            look |= {"stubble": float(rng.uniform(0.0, 0.9))}
        else:
            look |= {"smooth": float(rng.uniform(0.6, 0.9)), "lipstick": float(rng.uniform(0.0, 1.0))}
        return look

    def change(self, kind: str, picture: np.ndarray, landmarks: np.ndarray, look: dict) -> Pair:
        """Change the face uint8 [S, S, 3] with landmarks [68, 2]; a function of the arguments alone.

        A style whose `donor` is None uses the same donor for every face: the one with the most typical mouth, or skin.

        Raises DVAError for an unknown kind or a picture of another shape.
        """
        check_kind(kind)
        check_face(picture, landmarks)
        size, landmarks = len(picture), np.asarray(landmarks, np.float64)
        does = recipe(kind, look)
        yaw = abs(float(turn(landmarks[None])[0]))
        does = does._replace(texture=does.texture * float(np.clip(1.25 - 2 * yaw, 0.4, 1)))  # donors are frontal
        light = self.space.read(picture, landmarks)
        skin, side = tone(light, self.space.regions["cheeks"]), light_side(light, self.space)
        donors = {"Older": self.old, "Smiling": self.smiles}.get(kind)
        if donors and look["donor"] is None:
            donor = donors.typical_mouth if kind == "Smiling" else donors.typical_skin
        elif donors:
            donor = donors.pick(skin, side, look["donor"])
        target = self.move_landmarks(landmarks, does)
        if kind == "Smiling":
            target = mouth.shape_of(target, donors.landmarks[donor], look["mouth"] * float(np.clip(1.2 - 3 * yaw, 0.2, 1)))
        delta = self.delta(light, does, donors.textures[donor] if donors else None)
        mask = fading(landmarks, target, size)
        face = warp(picture, landmarks, target, mask)
        delta = cv2.remap(delta, self.space.map_to(target, size), None, cv2.INTER_LINEAR)
        delta *= 1 - mouth.mouth_mask(target, size, 0.004 * size)[..., None]  # teeth and tongue have no age and no lipstick
        light = to_log(face)
        room = np.clip((WHITE - light @ LUMA) / 0.35, 0, 1)[..., None]
        face = from_log(light + np.where(delta > 0, delta * room, delta))  # white areas must not saturate
        if kind == "Smiling":
            face = mouth.fill(face, target, donors.pictures[donor], donors.landmarks[donor], (skin, donors.tones[donor]))
        face -= np.median((face - picture)[mask > 0.9], 0)
        face = picture + mask[..., None] * (face - picture)
        return Pair(np.clip(face + 0.5, 0, 255).astype(np.uint8), target.astype(np.float32), mask)

    def move_landmarks(self, landmarks: np.ndarray, does: Recipe) -> np.ndarray:
        relative, scale, rotation, centre = normalise(landmarks)
        step = sum(times * self.effects.shape[name] for name, times in does.shape.items())
        return (relative + step) * scale @ rotation.T + centre

    def stubble(self, light: np.ndarray) -> np.ndarray:
        """Darkening of this face by stubble, in logarithms [SIZE, SIZE]: the mean stubble, scaled to the strength found here."""
        shade = self.effects.colour["5_o_Clock_Shadow"] @ LUMA
        shade = np.minimum(shade - tone(shade[..., None], self.space.regions["cheeks"]), 0) * self.space.regions["beard"]
        own = (light - tone(light, self.space.regions["cheeks"]) - self.effects.mean) @ LUMA
        times = (shade * np.minimum(own, 0)).sum() / ((shade**2).sum() + 1e-6)
        return np.clip(times, 0, 1.5) * shade

    def delta(self, light: np.ndarray, does: Recipe, texture: np.ndarray | None) -> np.ndarray:
        """Change in logarithms in the mean space, float32 [SIZE, SIZE, 3]."""
        regions = self.space.regions
        like = likeness(light, self.space)
        own = np.maximum(like, np.max([regions[name] for name in ("eyes", "brows", "lips")], 0))
        delta = sum(times * self.effects.colour[name] for name, times in does.colour.items())
        delta = (delta - tone(delta, regions["skin"])) * (regions["face"] * own)[..., None]
        weight = regions["skin"] * like
        fine = np.zeros(like.shape, np.float32)
        if does.texture:
            fine += 0.3 * np.tanh(does.texture / 0.3 * texture.astype(np.float32) * like)
        if does.shave:
            delta -= does.shave * self.stubble(light)[..., None]
        if does.relax:
            fine -= does.relax * regions["glabella"] * np.clip(band(light, weight), -0.4, 0.2)
        if does.smooth:
            fine -= does.smooth * weight * np.clip(band(light, weight) - band(self.effects.mean, weight), -0.3, 0.2)
        delta += fine[..., None]
        if does.grey:
            delta += does.grey * greyer(light, regions, like)
        luma = delta @ LUMA
        colour = saturation(tone(light, regions["cheeks"])) * (1 - 0.8 * regions["eyeballs"])  # eyes keep their colour
        return (luma[..., None] + colour[..., None] * (delta - luma[..., None])).astype(np.float32)


def greyer(light: np.ndarray, regions: dict[str, np.ndarray], like: np.ndarray) -> np.ndarray:
    """Change in logarithms [SIZE, SIZE, 3] that removes the colour from brows and hair and lightens them."""
    luma = light @ LUMA
    forehead = regions["crown"] * regions["skin"]
    open_forehead = np.clip(2 * (forehead * like).sum() / forehead.sum() - 0.8, 0, 1)  # a fringe would be grey in a patch
    darker = np.clip(tone(luma[..., None], regions["cheeks"])[0] - luma - 0.1, 0, 1.2)
    hair = np.maximum(
        regions["brows"] * np.clip(3 * darker, 0, 1), open_forehead * regions["crown"] * (1 - like) * np.clip(2 * darker, 0, 1)
    )
    return hair[..., None] * (0.5 * darker[..., None] + 0.9 * (luma[..., None] - light))


def check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise DVAError(f"There is no prototype called {kind}: choose one of {', '.join(KINDS)}.")


def check_face(picture: np.ndarray, landmarks: np.ndarray) -> None:
    if picture.ndim != 3 or picture.shape[0] != picture.shape[1] or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise DVAError(f"A face to change must be a square uint8 picture [S, S, 3], not {picture.dtype} {list(picture.shape)}.")
    if np.shape(landmarks) != (68, 2) or not np.isfinite(landmarks).all():
        raise DVAError(f"A face to change needs 68 finite landmarks [68, 2], not {list(np.shape(landmarks))}.")


def fading(landmarks: np.ndarray, target: np.ndarray, size: int) -> np.ndarray:
    """Weights float32 [size, size]: 1 over the faces before and after, falling to exactly 0 outside the enlarged hull."""
    points = np.concatenate([extend_hull(landmarks), extend_hull(target)])
    inner, outer = (polygon(points, size, growth) for growth in (INNER_GROWTH, OUTER_GROWTH))
    soft = cv2.GaussianBlur(inner, (0, 0), 0.02 * size)
    return np.where(outer > 0, np.maximum(inner, np.clip(2 * soft, 0, 1)), 0).astype(np.float32)


def warp(picture: np.ndarray, source: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Warp `picture` by its landmarks, float32; the displacement fades with the mask so that no edge is doubled."""
    size = len(picture)
    pixel = np.arange(size, dtype=np.float32)
    still = np.stack(np.meshgrid(pixel, pixel), -1)
    shift = thin_plate_map(source, target, size) - still
    where = still + shift * mask[..., None]
    return cv2.remap(picture.astype(np.float32), where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def suitable(kind: str, faces: FaceSet) -> np.ndarray:
    """Faces [n] bool that a kind changes visibly: the young for Older, women for Male, the unsmiling with a closed mouth for Smiling."""
    check_kind(kind)
    if kind == "Older":
        return years(faces) < 48
    if kind == "Younger":
        return years(faces) > 42
    if kind == "Male":
        return label(faces, "Male", 0.5) < 0.5
    if kind == "Female":
        return (label(faces, "Male", 0.5) > 0.5) & bare(faces, ("Beard", "Mustache"))
    return (label(faces, "Smiling", 1.0) < 0.5) & (label(faces, "Mouth_Slightly_Open", 1.0) < 0.5) & bare(faces, ("Mustache",))
