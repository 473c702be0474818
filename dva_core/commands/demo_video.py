"""A demonstration video made from a still portrait, to be edited like any other video.

The picture is NASA's portrait of Eileen Collins, in the public domain, from scikit-image. It is warped
smoothly: the head nods, turns (near parts of the face move further than far ones) and comes closer, the mouth
opens, the eyes blink; the background stays. The sound is a hummed tune, louder while the mouth is open.
"""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ..edit.shapes import SHAPES
from ..errors import MissingDependencyError
from ..faces.composite import Drawing, smoothstep
from ..faces.opening import draw_motion
from ..faces.warp import move_face
from ..files import temporary_folder
from ..networks.texture import CHANNELS
from ..video import Frame, VideoInfo, VideoWriter

FRAMES, RATE, SOUND_RATE = 40, 25, 44100
LEAST_BLINK, BLINK = 0.01, 0.75  # share of a step of Closed_Eyes, which closes wider eyes too
PAIR, LEFT = (632, 320), 66  # width and height of the frames with two people; the first column of the picture that is in them
HEAD, NECK = np.array([227.0, 104.0]), np.array([222.0, 188.0])  # places in the picture, pixels
NOSE, MOUTH, LOWER_LIP = np.array([223.0, 126.0]), np.array([223.0, 143.0]), np.array([222.0, 151.0])
FACE = np.array([[124.0, 20.0], [124.0, 200.0], [304.0, 200.0], [304.0, 20.0]])  # a square about the face, the corners of its crop
LANDMARKS = (  # the 51 inner ones of the face, by the starter's network, in tenths of a pixel
    np.fromstring(
        """
    1862 882 1925 858 2007 850 2074 873 2143 897 2385 913 2451 894 2527 874 2606 882 2660 926 2255 1042 2261 1133 2260 1214 2253 1284
    2154 1300 2194 1319 2241 1334 2296 1323 2337 1314 1960 992 2003 971 2062 984 2117 1015 2061 1025 2000 1020 2399 1037 2447 1015
    2512 1008 2550 1027 2505 1057 2451 1055 2020 1392 2099 1374 2189 1377 2244 1388 2288 1390 2374 1405 2438 1420 2367 1496 2291 1526
    2219 1530 2155 1512 2094 1474 2040 1389 2171 1400 2236 1400 2306 1415 2422 1424 2297 1470 2224 1473 2163 1450
    """,
        sep=" ",
    ).reshape(51, 2)
    / 10
)


def portrait() -> np.ndarray:
    """Load the still picture, RGB uint8 [512, 512, 3]."""
    try:
        from skimage.data import astronaut
    except ImportError as error:
        raise MissingDependencyError("The demo takes its picture from scikit-image; install it with `pip install scikit-image`.") from error
    return np.ascontiguousarray(astronaut())


def motion(seconds: float) -> dict[str, float]:
    """Pose of the head at a time: angles in radians, scale factors, shifts in pixels; all periodic and smooth."""
    wave_at = lambda period, phase=0.0: float(np.sin(2 * np.pi * (seconds / period + phase)))  # noqa: E731
    return {
        "roll": 0.09 * wave_at(1.92),
        "yaw": 7.0 * wave_at(1.6, 0.2),
        "nod": 2.5 * wave_at(1.28),
        "zoom": 1 + 0.035 * wave_at(1.92, 0.25),
        "open": 5.0 * max(0.0, wave_at(0.64)) ** 1.5,
        "blink": float(np.exp(-((((seconds % 1.3) - 0.9) / 0.06) ** 2))),
    }


def frames(count: int = FRAMES, rate: float = RATE) -> Iterator[np.ndarray]:
    """Yield `count` frames of the animated portrait, RGB uint8 [512, 512, 3]."""
    picture = portrait()
    for i in range(count):
        yield warp(picture, **motion(i / rate))


def two_people(count: int = FRAMES, rate: float = RATE) -> Iterator[np.ndarray]:
    """Yield `count` frames of the portrait beside its twin, RGB uint8 [height, width, 3] of PAIR; each moves differently."""
    pictures = portrait(), twin(portrait())
    for i in range(count):
        left, right = warp(pictures[0], **motion(i / rate)), warp(pictures[1], **motion(0.85 * i / rate + 0.55))
        halves = left[: PAIR[1], LEFT : LEFT + PAIR[0] // 2], right[: PAIR[1], LEFT : LEFT + PAIR[0] // 2][:, ::-1]
        yield np.concatenate(halves, axis=1)


def twin(picture: np.ndarray) -> np.ndarray:
    """Change the portrait to another person: a longer face with a broad chin, dark hair and a blue suit."""
    at = np.stack(np.meshgrid(np.arange(512), np.arange(512)), axis=-1).astype(np.float32)
    source = at.copy()
    source[..., 0] -= 0.16 * (at[..., 0] - 223) * bump(at, np.array([223.0, 158.0]), (60, 26))  # a broader chin
    source[..., 1] -= 7 * bump(at, np.array([223.0, 172.0]), (60, 26))  # and a longer one
    source[..., 1] += 3 * bump(at, np.array([223.0, 92.0]), (70, 12))  # brows higher
    picture = cv2.remap(picture, source[..., 0], source[..., 1], cv2.INTER_CUBIC)
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV_FULL).astype(np.float32)
    neck = np.linalg.norm((at - [224, 186]) / [56, 34], axis=-1) < 1
    red = ((hsv[..., 0] > 235) & (at[..., 0] > 105)) | ((hsv[..., 0] > 2) & (hsv[..., 0] < 30))  # not the flag
    suit = (at[..., 1] > 175) & ~neck & (hsv[..., 1] > 110) & red
    hsv[..., 0] = np.where(suit, (hsv[..., 0] + 150) % 256, hsv[..., 0])
    face = np.linalg.norm((at - [224, 129]) / [47, 60], axis=-1)
    fringe = smoothstep(19, 24, hsv[..., 0]) * smoothstep(98, 86, at[..., 1])  # hair above the brows
    golden = smoothstep(55, 90, hsv[..., 1]) * np.maximum(smoothstep(1.0, 1.12, face), fringe) * smoothstep(200, 180, at[..., 1])
    hair = golden * smoothstep(1.75, 1.55, np.linalg.norm((at - [224, 100]) / [62, 66], axis=-1))
    hsv[..., 2] *= 1 - 0.62 * cv2.GaussianBlur(hair, (0, 0), 1.0)
    return cv2.cvtColor(hsv.clip(0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB_FULL)


def warp(picture: np.ndarray, roll: float, yaw: float, nod: float, zoom: float, open: float, blink: float) -> np.ndarray:
    """Warp the picture to a pose, by a backward map, so that displacements are inverted."""
    rows, columns = slice(0, 276), slice(70, 386)  # pixels outside stay fixed
    at = np.stack(np.meshgrid(np.arange(columns.start, columns.stop), np.arange(rows.start, rows.stop)), axis=-1).astype(np.float32)

    # the head as a whole turns about the neck and grows, fading out towards the background
    part = smoothstep(1.45, 0.75, np.linalg.norm((at - HEAD) / [105, 115], axis=-1))[..., None]
    turned = (at - NECK) @ np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]) / zoom + NECK
    source = at + part * (turned - at)

    # parallax: what is near, the nose, moves against what is far
    depth = bump(source, NOSE, (48, 52))
    source -= depth[..., None] * [yaw, nod]

    # mouth: the lower lip and chin sink; the gap between the lips stretches what is there
    below = 1 / (1 + np.exp(-(source[..., 1] - MOUTH[1] - 2) / 2.0))
    source[..., 1] -= open * below * bump(source, LOWER_LIP, (26, 22))

    result, picture = picture.copy(), close_eyes(picture, blink)
    x, y = np.ascontiguousarray(source[..., 0], np.float32), np.ascontiguousarray(source[..., 1], np.float32)
    result[rows, columns] = cv2.remap(picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return result


def close_eyes(picture: np.ndarray, amount: float) -> np.ndarray:
    """The picture with the eyes closed by `amount` in 0..1."""
    if amount < LEAST_BLINK:
        return picture
    before = (LANDMARKS - FACE[0]) / np.linalg.norm(FACE[1] - FACE[0])
    after = before + BLINK * amount * SHAPES["Closed_Eyes"].move(before)
    size = round(np.linalg.norm(FACE[1] - FACE[0]))
    nothing = np.zeros((CHANNELS, size, size), np.float32)
    drawing = Drawing(nothing, nothing).moved(move_face(before, after), draw_motion(before, after, size))
    light = drawing.on_frame(picture.astype(np.float32) / 127.5 - 1, FACE)
    return np.clip(np.rint((light + 1) * 127.5), 0, 255).astype(np.uint8)


def bump(at: np.ndarray, centre: np.ndarray, sigma: tuple[float, float]) -> np.ndarray:
    """Gaussian of height 1 around `centre`."""
    return np.exp(-0.5 * (((at - centre) / sigma) ** 2).sum(-1))


def write_sound(path: Path, seconds: float) -> None:
    """Write a hummed tune as long as the video, mono, 16 bits; louder while the mouth is open."""
    t = np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE
    notes = np.array([220.0, 246.94, 277.18, 246.94])[(t / 0.64).astype(int) % 4]
    phase = 2 * np.pi * np.cumsum(notes) / SOUND_RATE
    loudness = 0.08 + 0.25 * np.maximum(0, np.sin(2 * np.pi * t / 0.64))
    sound = loudness * (np.sin(phase) + 0.4 * np.sin(2 * phase) + 0.2 * np.sin(3 * phase)) / 1.6
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SOUND_RATE)
        file.writeframes((sound * 32767).astype("<i2").tobytes())


def make_video(path: Path, count: int = FRAMES, rate: int = RATE, *, people: int = 1) -> Path:
    """Write the animated portrait, alone or as one of two people, with its sound to a video file."""
    width, height, pictures = (512, 512, frames) if people == 1 else (*PAIR, two_people)
    info = VideoInfo.for_images(width, height, rate, count)
    with temporary_folder() as folder:
        sound = folder / "sound.wav"
        write_sound(sound, count / rate)
        with VideoWriter(path, info, quality=16, audio_from=sound) as writer:
            for index, rgb in enumerate(pictures(count, rate)):
                writer.write(Frame.from_rgb(rgb, index, time_base=info.time_base))
    return path
