"""Native samples, their RGB, and changes put into them."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from video_helpers import noise_frame

from dva_core.video import ColorTags, Frame
from dva_core.video.layout import Turn, component_view, layout_of, relayout, turn_frame

PLANAR = ["yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuvj420p", "yuv420p10le", "yuv422p12le", "yuv444p10le"]
OTHERS = ["nv12", "nv21", "p010le", "yuyv422", "uyvy422", "yuva420p", "gray", "gray10le", "ya8"]
RGB = ["rgb24", "bgr24", "bgr0", "rgba", "argb", "gbrp", "gbrap", "gbrp10le", "rgb48le"]
ALL = PLANAR + OTHERS + RGB


def make(pix_fmt: str, width: int = 33, height: int = 17, color: ColorTags | None = None, seed: int = 0) -> Frame:
    native = noise_frame(pix_fmt, width, height, seed)
    return Frame(native, layout_of(pix_fmt), color or ColorTags(), 0, 0, Fraction(1, 25))


@pytest.mark.parametrize("pix_fmt", ALL)
def test_untouched_frame_stays_bit_exact(pix_fmt):
    frame = make(pix_fmt)
    again = frame.with_rgb(frame.rgb.copy(), np.ones((17, 33), bool))
    for a, b in zip(frame.planes(), again.planes()):
        assert np.array_equal(a, b)


def test_yuv_equations_against_hand_computed_values():
    """BT.601 limited red is (81, 90, 240); BT.709 limited red (63, 102, 240); full range BT.601 red (76, 85, 255)."""
    for tags, expected in [
        (ColorTags(matrix=6, range=1), (81, 90, 240)),
        (ColorTags(matrix=1, range=1), (63, 102, 240)),
        (ColorTags(matrix=6, range=2), (76, 85, 255)),
        (ColorTags(matrix=9, range=1), (74, 97, 240)),
    ]:
        frame = make("yuv444p", 8, 8, tags)
        red = frame.with_rgb(np.broadcast_to(np.uint8([255, 0, 0]), (8, 8, 3)))
        assert [int(p[3, 3]) for p in red.planes()] == list(expected)
        assert np.abs(red.rgb[3, 3].astype(int) - [255, 0, 0]).max() <= 1


def test_white_and_black_of_ten_bits():
    frame = make("yuv420p10le", 8, 8)
    white = frame.with_rgb(np.full((8, 8, 3), 255, np.uint8))
    assert (white.planes()[0] == 940).all() and (white.planes()[1] == 512).all() and (white.rgb == 255).all()
    black = frame.with_rgb(np.zeros((8, 8, 3), np.uint8))
    assert (black.planes()[0] == 64).all() and (black.rgb == 0).all()


def test_untagged_matrix_follows_the_size():
    assert ColorTags().resolve(640, 480).matrix == 6
    assert ColorTags().resolve(1280, 720).matrix == 1
    assert ColorTags(matrix=1).resolve(64, 64).matrix == 1


def test_rgb_agrees_with_swscale():
    rng = np.random.default_rng(0)
    for pix_fmt in ("yuv444p", "gbrp", "rgba"):
        frame = make(pix_fmt, 64, 48, ColorTags(matrix=6, range=1), seed=int(rng.integers(9)))
        reference = frame.native.reformat(format="rgb24", src_colorspace="ITU601").to_ndarray()
        assert np.abs(frame.rgb.astype(int) - reference).max() <= 2


def test_rgb_is_read_only():
    with pytest.raises(ValueError, match="read-only"):
        make("yuv420p").rgb[0] = 0


def test_gray_untagged_is_full_range():
    assert make("gray").rgb.max() == make("gray").planes()[0].max()


@settings(max_examples=60, deadline=None)
@given(
    pix_fmt=st.sampled_from(ALL),
    size=st.tuples(st.integers(4, 23), st.integers(4, 23)),
    seed=st.integers(0, 2**20),
    corner=st.tuples(st.integers(0, 22), st.integers(0, 22)),
    extent=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    guarded=st.booleans(),
)
def test_only_the_changed_pixels_change(pix_fmt, size, seed, corner, extent, guarded):
    width, height = size
    rng = np.random.default_rng(seed)
    frame = make(pix_fmt, width, height, seed=seed)
    changed = np.zeros((height, width), bool)
    changed[corner[1] % height :, corner[0] % width :][: extent[1], : extent[0]] = True
    changed &= rng.random((height, width)) < 0.7
    inside = rng.random((height, width)) < 0.8 if guarded else None
    rgb = frame.rgb.copy()
    rgb[changed] ^= 0x80  # far enough that luma must move
    before = [p.copy() for p in frame.planes()]
    result = frame.with_rgb(rgb, inside)

    for a, b in zip(before, frame.planes()):  # the original is not touched
        assert np.array_equal(a, b)
    layout = frame.layout
    after = result.planes()
    assert len(after) == len(before)
    if layout.alpha is not None:
        assert np.array_equal(before[-1], after[-1])
    touched = [before[i] != after[i] for i in range(len(layout.components))]
    if layout.family == "rgb":
        assert np.array_equal(np.any(touched, axis=0), changed)
        assert np.array_equal(result.rgb, rgb)
        return
    assert np.array_equal(touched[0], changed)
    if layout.family == "yuv":
        allowed = block_mask(changed, layout.block, np.any)
        if inside is not None:
            allowed &= block_mask(inside, layout.block, np.all)
        assert not (touched[1] & ~allowed).any() and not (touched[2] & ~allowed).any()
    # giving back what the result shows changes nothing more
    again = result.with_rgb(result.rgb.copy())
    assert all(np.array_equal(a, b) for a, b in zip(after, again.planes()))


def block_mask(mask, block, how):
    """Blocks of (wide, high) pixels, partial ones included, cell by cell."""
    rows, columns = -(-mask.shape[0] // block[1]), -(-mask.shape[1] // block[0])
    out = np.zeros((rows, columns), bool)
    for r in range(rows):
        for c in range(columns):
            out[r, c] = how(mask[r * block[1] : (r + 1) * block[1], c * block[0] : (c + 1) * block[0]])
    return out


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p10le", "nv12", "gray", "bgr0"])
def test_same_change_twice_is_the_same_as_once(pix_fmt):
    frame = make(pix_fmt, 32, 16)
    rng = np.random.default_rng(1)
    rgb = rng.integers(40, 200, (16, 32, 3), dtype=np.uint8)
    once = frame.with_rgb(rgb)
    twice = once.with_rgb(rgb)
    assert all(np.array_equal(a, b) for a, b in zip(once.planes(), twice.planes()))


def test_flat_colour_arrives():
    for pix_fmt in PLANAR + ["nv12", "p010le", "yuyv422"]:
        frame = make(pix_fmt, 32, 16)
        rgb = frame.rgb.copy()
        rgb[4:12, 8:24] = (180, 90, 60)
        assert np.abs(frame.with_rgb(rgb).rgb[4:12, 8:24].astype(int) - (180, 90, 60)).max() <= 3, pix_fmt


def test_chroma_waits_for_a_whole_block_inside():
    frame = make("yuv420p", 8, 8)
    rgb = frame.rgb.copy()
    rgb[2:6, 2:6] = (200, 30, 30)
    inside = np.zeros((8, 8), bool)
    inside[2:5, 2:6] = True  # the lower block row is only half inside
    result = frame.with_rgb(rgb, inside)
    touched = frame.planes()[2] != result.planes()[2]
    assert touched[1, 1:3].all() and touched.sum() == 2


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "nv12", "yuv422p10le"])
def test_neighbours_out_of_gamut_stay_bit_exact(pix_fmt):
    """Samples that RGB cannot hold come back changed from a round trip: those not changed must not take one."""
    frame = make(pix_fmt, 16, 16)
    rng = np.random.default_rng(3)
    for i in range(3):
        view = component_view(frame.native, frame.layout, i)
        view[:] = rng.integers(0, frame.layout.peak + 1, view.shape)
    rgb = frame.rgb.copy()
    rgb[2, 2] ^= 0x80
    rgb[13, 12] ^= 0x80
    result = frame.with_rgb(rgb, np.ones((16, 16), bool))
    changed = [np.argwhere(a != b) for a, b in zip(frame.planes(), result.planes())]
    assert changed[0].tolist() == [[2, 2], [13, 12]]
    rows = 2 // frame.layout.block[1], 13 // frame.layout.block[1]
    for chroma in changed[1:]:
        assert all(tuple(at) in {(rows[0], 1), (rows[1], 6)} for at in chroma)


def test_bare_rgb_frames():
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    frame = Frame.from_rgb(array, 3)
    assert np.array_equal(frame.rgb, array) and frame.pts == 3 and frame.alpha is None
    with_alpha = Frame.from_rgb(np.dstack([array, array[..., :1]]), 0)
    assert np.array_equal(with_alpha.alpha, array[..., 0])
    with pytest.raises(ValueError, match="uint8"):
        Frame.from_rgb(array.astype(np.float32), 0)
    with pytest.raises(ValueError, match="rgb must be"):
        frame.with_rgb(array[:4])


@pytest.mark.parametrize("turn", [Turn(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)])
@pytest.mark.parametrize(
    ("pix_fmt", "size"), [("yuv420p", (12, 8)), ("yuv420p", (11, 7)), ("yuv422p", (12, 8)), ("nv12", (12, 8)), ("rgba", (5, 4))]
)
def test_turned_native_pixels_show_the_turned_picture(turn, pix_fmt, size):
    frame = make(pix_fmt, *size)
    turned = Frame(*turn_frame(frame.native, frame.layout, turn), frame.color, 0, 0, frame.time_base)
    expected = np.stack([turn.apply(frame.rgb[..., i]) for i in range(3)], axis=2)
    assert np.array_equal(turned.rgb, expected)


def test_turn_of_known_matrices():
    """A quarter turn clockwise, as phones store it: x' = -y, y' = x."""
    one = 1 << 16
    assert Turn.of_matrix(np.int32([one, 0, 0, 0, one, 0, 0, 0, 1 << 30])) == Turn()
    quarter = Turn.of_matrix(np.int32([0, one, 0, -one, 0, 0, 0, 0, 1 << 30]))
    assert quarter.degrees == 90
    picture = np.arange(6).reshape(2, 3)
    assert np.array_equal(quarter.apply(picture), np.rot90(picture, -1))


def test_relayout_is_lossless():
    frame = make("yuv420p", 11, 7)
    finer, layout = relayout(frame.native, frame.layout, "yuv444p")
    assert np.array_equal(Frame(finer, layout, frame.color, 0, 0, frame.time_base).rgb, frame.rgb)
    packed = make("p010le", 12, 8)
    planar, layout = relayout(packed.native, packed.layout, "yuv420p10le")
    assert all(np.array_equal(a, b) for a, b in zip(packed.planes(), Frame(planar, layout, packed.color, 0, 0, 1).planes()))
    with pytest.raises(ValueError, match="lose chroma"):
        relayout(finer, layout_of("yuv444p"), "yuv420p")


@pytest.mark.parametrize("pix_fmt", ALL)
@pytest.mark.parametrize("tags", [ColorTags(), ColorTags(matrix=1, range=2)])
def test_a_thumbnail_is_the_picture_shrunk(pix_fmt, tags):
    frame = make(pix_fmt, 128, 96, tags)
    # in gamut, as pictures are: what is out of it is clipped before shrinking there, after it here
    calm = frame.with_rgb(np.clip(cv2.GaussianBlur(frame.rgb, (0, 0), 4), 60, 190))
    usual = cv2.resize(calm.rgb, (8, 8), interpolation=cv2.INTER_AREA).astype(np.float32)
    small = calm.thumbnail(8)
    assert small.dtype == np.float32 and small.shape == (8, 8, 3)
    assert np.abs(small - usual).max() < 2
