"""The people of a survey as one picture: a frame with boxes and numbers, and everybody's portrait below."""

from __future__ import annotations

import cv2
import numpy as np

from ..faces.people import Survey

# by number; the page has the same (web/faces.js)
COLOURS = ((74, 140, 240), (240, 150, 60), (80, 190, 120), (220, 90, 170), (225, 200, 60), (80, 195, 215), (165, 130, 240), (230, 85, 85))
WIDTH = 960  # of the sheet, in pixels
HIGHEST = 720  # of the frame
TILE, CAPTION, GAP = 128, 22, 8
PAPER, INK = 250, 30


def people_sheet(survey: Survey, picture: np.ndarray) -> np.ndarray:
    """Draw the sheet uint8 [H, 960, 3]; `picture` uint8 [h, w, 3] is the survey's busiest frame, at any size."""
    scale = min(WIDTH / picture.shape[1], HIGHEST / picture.shape[0])
    width, height = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    frame = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    for person in survey.people:
        for box in person.boxes[person.frames == survey.busiest] * np.tile([width / survey.width, height / survey.height], 2):
            _box(frame, np.rint(box).astype(int), person.number)
    columns = (WIDTH - GAP) // (TILE + GAP)
    rows = -(-len(survey.people) // columns)
    sheet = np.full((height + GAP + rows * (TILE + CAPTION + GAP), WIDTH, 3), PAPER, np.uint8)
    left = (WIDTH - width) // 2
    sheet[:height, left : left + width] = frame
    for place, person in enumerate(survey.people):
        x, y = GAP + place % columns * (TILE + GAP), height + GAP + place // columns * (TILE + CAPTION + GAP)
        sheet[y : y + TILE, x : x + TILE] = cv2.resize(person.portrait, (TILE, TILE), interpolation=cv2.INTER_AREA)
        _label(sheet, x, y, person.number)
        cv2.putText(
            sheet, f"{100 * person.share:.0f}% of frames", (x, y + TILE + 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (INK,) * 3, 1, cv2.LINE_AA
        )
    return sheet


def _box(frame: np.ndarray, box: np.ndarray, number: int) -> None:
    x0, y0, x1, y1 = box.tolist()
    cv2.rectangle(frame, (x0, y0), (x1, y1), COLOURS[(number - 1) % len(COLOURS)], 2, cv2.LINE_AA)
    _label(frame, x0 - 1, y0 - 1, number)


def _label(picture: np.ndarray, x: int, y: int, number: int) -> None:
    """Draw the number on its colour, with its corner at (x, y) as far as that is in the picture."""
    width, height = 12 + 12 * len(str(number)), 24
    x, y = int(np.clip(x, 0, max(0, picture.shape[1] - width))), int(np.clip(y, 0, max(0, picture.shape[0] - height)))
    cv2.rectangle(picture, (x, y), (x + width, y + height), COLOURS[(number - 1) % len(COLOURS)], -1)
    cv2.putText(picture, str(number), (x + 5, y + 18), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2, cv2.LINE_AA)
