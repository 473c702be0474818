"""Paste-back: nothing edited is nothing changed, nothing shifts, nothing changes outside the square."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dva_core.errors import DVAError
from dva_core.faces import align, composite

from .drawn import SIZE, as_model, blob, centroid, noise_frame, soft_disc, square

quads = st.builds(square, st.floats(-20, 130), st.floats(-20, 110), st.floats(6, 60), st.floats(-3, 3))


@settings(max_examples=40, deadline=None)
@given(quads, st.integers(0, 99))
def test_no_edit_gives_back_every_pixel(quad, seed):
    frame = noise_frame(seed)
    rebuilt = np.random.default_rng(seed).uniform(-1, 1, (3, SIZE, SIZE)).astype(np.float32)
    result, _ = composite.paste(frame, quad, rebuilt.copy(), rebuilt, soft_disc(), "transfer")
    assert np.array_equal(result, frame)


@settings(max_examples=40, deadline=None)
@given(quads, st.integers(0, 99), st.sampled_from(["transfer", "model"]))
def test_nothing_changes_outside_the_square(quad, seed, detail):
    frame = noise_frame(seed)
    crops = np.random.default_rng(seed).uniform(-1, 1, (2, 3, SIZE, SIZE)).astype(np.float32)
    result, inside = composite.paste(frame, quad, crops[0], crops[1], np.ones((SIZE, SIZE), np.float32), detail)
    assert result.dtype == np.uint8 and result.shape == frame.shape
    assert np.array_equal(result[~inside], frame[~inside])
    affine = align.frame_to_crop(quad, 1)
    y, x = np.nonzero(inside)
    uv = np.stack([x + 0.5, y + 0.5], 1) @ affine[:, :2].T + affine[:, 2]
    assert ((uv > 0) & (uv < 1)).all()
    if detail == "model" and inside.sum() > 50:
        assert (result != frame).any()


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(25, 75), st.floats(-0.6, 0.6), st.sampled_from([32, 64, 128]))
def test_an_unedited_crop_pasted_back_does_not_shift(dx, dy, half, angle, size):
    frame = blob(200, 220, 105.2 + dx, 99.3 + dy, 6)
    quad = square(105, 100, half, angle)
    crop = as_model(align.crop_face(frame, quad, size))
    result, _ = composite.paste(frame, quad, crop, crop, np.ones((size, size), np.float32), "model")
    assert np.abs(centroid(result) - centroid(frame)).max() < 0.05
    assert size < 64 or np.abs(result.astype(int) - frame).max() < 12


def test_an_edit_lands_where_it_was_made():
    frame = np.full((200, 220, 3), 100, np.uint8)
    quad = square(105.3, 99.6, 60, 0.2)
    rebuilt = np.full((3, 64, 64), 100 / 127.5 - 1, np.float32)
    edited = rebuilt + blob(64, 64, 30, 36, 4).transpose(2, 0, 1).astype(np.float32) / 400
    result, _ = composite.paste(frame, quad, edited, rebuilt, np.ones((64, 64), np.float32), "transfer")
    expected = align.crop_to_frame(np.array([30, 36]) / 64, quad)
    assert np.abs(centroid(result.astype(int) - 100) - expected).max() < 0.1


def test_a_change_of_tone_keeps_the_frames_own_detail():
    frame = np.clip(noise_frame(3, 200, 200) // 4 + 90, 0, 255).astype(np.uint8)
    quad = square(100, 100, 80, 0.0)
    rebuilt = as_model(align.crop_face(frame, quad, SIZE))
    result, _ = composite.paste(frame, quad, rebuilt + 0.2, rebuilt, np.ones((SIZE, SIZE), np.float32))
    np.testing.assert_allclose(result[60:140, 60:140].astype(int) - frame[60:140, 60:140], 0.2 * 127.5, atol=1)


def test_removed_structure_leaves_no_ghost():
    frame = np.full((240, 240, 3), 180, np.uint8)
    frame[100:106, 60:180] = 20  # a dark bar, its edges sharper than the crop shows
    quad = square(120, 120, 110, 0.0)
    rebuilt = as_model(align.crop_face(frame, quad, SIZE))
    edited = np.full_like(rebuilt, 180 / 127.5 - 1)
    mask = np.ones((SIZE, SIZE), np.float32)
    result, _ = composite.paste(frame, quad, edited, rebuilt, mask, "transfer")
    all_detail = frame + 127.5 * (composite.warp_to_frame(edited - rebuilt, quad, frame.shape[:2], "detail"))
    assert np.abs(all_detail[95:111, 80:160] - 180).max() > 40  # what would show without the fade
    assert np.abs(result[95:111, 80:160].astype(int) - 180).max() < 6


def test_detail_stays_where_structure_is_added_or_too_faint_to_tell():
    rng = np.random.default_rng(0)
    bare, other = rng.normal(0, 0.005, (2, 3, SIZE, SIZE)).astype(np.float32)
    assert composite.detail_weights(other, bare).min() > 0.99
    bar = bare.copy()
    bar[:, 20:23, 10:38] -= 0.8
    assert composite.detail_weights(bar, bare).min() > 0.9
    assert composite.detail_weights(bare, bar)[21, 24] == 0


def test_enlarging_a_small_difference_is_smooth():
    frame = np.full((700, 700, 3), 128, np.uint8)
    rebuilt = np.zeros((3, 64, 64), np.float32)
    ramp = np.sin(np.arange(64) / 4, dtype=np.float32) * 0.4
    result, _ = composite.paste(frame, square(350, 350, 340, 0.0), rebuilt + ramp, rebuilt, np.ones((64, 64), np.float32), "model")
    line = result[350, 60:640, 0].astype(int)
    assert np.abs(np.diff(line)).max() <= 2  # blocks would step by the crop's own steps, about 12


@pytest.mark.parametrize("fine", [7, 64, 64 * 5 + 3])
def test_resampling_keeps_a_constant_and_a_ramp(fine):
    weights = composite.resample_matrix(64, fine, composite.MITCHELL["detail"], min(64, fine))
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    ramp = weights @ (np.arange(64, dtype=np.float32) + 0.5)
    inner = slice(fine // 4 + 1, -(fine // 4 + 1))
    np.testing.assert_allclose(ramp[inner], ((np.arange(fine) + 0.5) * 64 / fine)[inner], atol=0.01)


# ---- the mask


def test_the_mask_reaches_zero_at_the_crops_border():
    mask = composite.soften(np.ones((5, SIZE, SIZE), np.uint8))
    assert mask[SIZE // 2, SIZE // 2] > 0.99 and mask.max() <= 1
    assert max(mask[0].max(), mask[-1].max(), mask[:, 0].max(), mask[:, -1].max()) == 0


def test_a_flickering_mask_is_calmed_and_the_centre_weighs_most():
    masks = np.zeros((5, SIZE, SIZE), np.uint8)
    masks[2, 10:38, 10:38] = 1
    middle = SIZE // 2, SIZE // 2
    alone, off, edge = (composite.soften(masks, centre=c)[middle] for c in (2, 1, 0))
    assert 0.1 < edge < off < alone < 0.6


def test_the_masks_edge_is_soft_and_may_grow():
    disc = np.zeros((1, SIZE, SIZE), np.uint8)
    disc[0, 14:34, 14:34] = 1
    row = composite.soften(disc)[SIZE // 2]
    assert np.abs(np.diff(row)).max() < 0.4
    assert composite.soften(disc, grow=0.05).sum() > composite.soften(disc).sum() * 1.2


def test_an_unknown_detail_mode_is_a_sentence():
    with pytest.raises(DVAError, match="'transfer'"):
        composite.paste(noise_frame(0), square(50, 50, 20, 0), np.zeros((3, 8, 8)), np.zeros((3, 8, 8)), np.ones((8, 8)), "sharp")


def test_a_square_outside_the_frame_changes_nothing():
    frame = noise_frame(1)
    result, inside = composite.paste(
        frame, square(500, 500, 20, 0), np.ones((3, 8, 8)), np.zeros((3, 8, 8)), np.ones((8, 8), np.float32), "model"
    )
    assert np.array_equal(result, frame) and not inside.any()


@pytest.mark.parametrize("detail", ["transfer", "model"])
def test_black_and_white_stays_so_and_colour_does_not_lose_any(detail):
    quad = square(100, 100, 60, 0.2)
    rebuilt = np.full((3, 64, 64), 0.1, np.float32)
    edited = rebuilt + np.array([0.3, -0.1, 0.2], np.float32)[:, None, None]
    grey = np.repeat(np.random.default_rng(0).integers(60, 200, (200, 200, 1), np.uint8), 3, 2)
    grey[::7, ::5, 0] += 1  # as far as rounding goes
    result, inside = composite.paste(grey, quad, edited, rebuilt, np.ones((64, 64), np.float32), detail)
    assert np.ptp(result[inside].astype(int), axis=1).max() <= 2 and (result[inside] != grey[inside]).any()
    tinted = grey + np.array([20, 0, 10], np.uint8)
    result, _ = composite.paste(tinted, quad, edited, rebuilt, np.ones((64, 64), np.float32), detail)
    apart = result[90:110, 90:110].astype(int)
    assert (apart[..., 0] - apart[..., 1]).mean() > 30


def test_between_grey_and_colour_nothing_jumps():
    grey = np.zeros((500, 3), np.float32)
    found = [composite.colourfulness(grey + np.array([codes / 127.5, 0, 0], np.float32)) for codes in range(0, 10)]
    assert found[0] == found[2] == 0 and found[6] == found[9] == 1 and (np.diff(found) >= 0).all() and 0.4 < found[4] < 0.6


def drawing_of(kind: str, fine: int = 4 * SIZE) -> composite.Drawing:
    """A square in the middle, black and opaque or a shade, with a rim half a pixel of the coarse crop wide."""
    full = np.zeros((6, fine, fine), np.float32)
    inner = slice(fine // 4, 3 * fine // 4)
    full[:, inner, inner] = -1 if kind == "opaque" else -0.3
    return composite.Drawing(full.reshape(6, SIZE, fine // SIZE, SIZE, fine // SIZE).mean((2, 4)), full, 1.0)


@pytest.mark.parametrize("share", [0.6, 1.0, 1.4])
@pytest.mark.parametrize("kind", ["opaque", "shade"])
def test_a_drawing_is_drawn_as_it_is_however_strongly_the_crop_shows_it(kind, share):
    frame, quad, drawing = noise_frame(3), square(80, 80, 50, 0.0), drawing_of(kind)
    rebuilt = np.random.default_rng(3).uniform(-0.6, 0.6, (3, SIZE, SIZE)).astype(np.float32)
    addition, factor = np.split(drawing.coarse, 2)
    edited = rebuilt + share * (addition + factor * rebuilt)
    whole = np.ones((SIZE, SIZE), np.float32)
    result, _ = composite.paste(frame, quad, edited, rebuilt, whole, drawing=drawing)
    alone, _ = composite.paste(frame, quad, rebuilt, rebuilt, whole, drawing=drawing._replace(rest=0.0))
    inner = (slice(60, 100), slice(60, 100))
    expected = (frame[inner] / 127.5) * (0 if kind == "opaque" else 0.7) * 127.5
    assert np.abs(alone[inner] - expected).max() <= 1.01
    assert np.abs(result[inner] - expected).mean() < (0.1 if kind == "opaque" else 6)
    assert np.array_equal(composite.paste(frame, quad, rebuilt, rebuilt, whole)[0], frame)


def test_what_else_an_edit_changes_lies_under_the_drawing():
    frame, quad, drawing = np.full((160, 160, 3), 100, np.uint8), square(80, 80, 50, 0.0), drawing_of("opaque")
    rebuilt = np.full((3, SIZE, SIZE), 100 / 127.5 - 1, np.float32)
    addition, factor = np.split(drawing.coarse, 2)
    edited = rebuilt + addition + factor * rebuilt + 0.2
    result, _ = composite.paste(frame, quad, edited, rebuilt, np.ones((SIZE, SIZE), np.float32), drawing=drawing)
    assert result[60:100, 60:100].max() == 0
    assert np.abs(result[36:44, 36:120].astype(int) - 100 - 0.2 * 127.5).max() < 3
