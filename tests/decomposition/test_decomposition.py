import hashlib
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from dva_core.decomposition import Decomposition
from dva_core.decomposition.arrays import Rows, array_specs
from dva_core.decomposition.header import Spec
from dva_core.decomposition.info import DecompositionInfo, source_hash
from dva_core.decomposition.tensorfile import TensorFile, TensorMemory
from dva_core.errors import DVAError


def test_round_trip_with_an_edit(tmp_path, decomposition):
    edited = decomposition.with_edit({"name": "attributes", "scales": {"Young": -0.6}}, z_id=np.arange(10), motion_shift=np.full(6, 0.5))
    edited.save(tmp_path / "a.safetensors")
    loaded = Decomposition.load(tmp_path / "a.safetensors")
    assert loaded.info == decomposition.info and loaded.info.rate == Fraction(30000, 1001)
    assert loaded.operations == ({"name": "attributes", "scales": {"Young": -0.6}},)
    np.testing.assert_array_equal(loaded.z_id_edited, np.arange(10))
    np.testing.assert_array_equal(loaded.z_id, decomposition.z_id)
    np.testing.assert_allclose(loaded.current_z_motion(slice(1, 3)), decomposition.z_motion[1:3] + 0.5)
    for name in ("x_T", "rebuilt", "crops", "masks", "z_motion", "z_id_frames"):
        np.testing.assert_array_equal(getattr(loaded, name)[:], getattr(decomposition, name)[:])
    np.testing.assert_array_equal(loaded.quads, decomposition.quads)
    with safe_open(tmp_path / "a.safetensors", "numpy") as file:
        assert file.metadata()["solver"] == '"order2"' and file.get_slice("x_T").get_shape() == [4, 3, 8, 8]


def test_settings_of_the_solver_survive_and_older_files_have_the_papers(tmp_path, decomposition):
    changed = replace(decomposition, info=replace(decomposition.info, power=1.5, clamp=False))
    changed.save(tmp_path / "a.safetensors")
    assert Decomposition.load(tmp_path / "a.safetensors").info == changed.info
    metadata = {key: value for key, value in decomposition.info.to_metadata().items() if key not in ("power", "clamp")}
    assert DecompositionInfo.from_metadata(metadata) == decomposition.info and (decomposition.info.power, decomposition.info.clamp) == (
        1.0,
        True,
    )
    assert decomposition.info.solving == "20 steps of order2"


def test_an_unedited_decomposition_stays_unedited(tmp_path, decomposition):
    decomposition.save(tmp_path / "a.safetensors")
    loaded = Decomposition.load(tmp_path / "a.safetensors")
    assert loaded.operations == () and not loaded.is_edited
    np.testing.assert_array_equal(loaded.current_z_id, decomposition.z_id)


def test_edits_share_the_arrays_and_leave_the_original(decomposition):
    edited = decomposition.with_edit({"name": "a"}, z_id=np.zeros(10))
    assert edited.store is decomposition.store and decomposition.operations == () and not decomposition.is_edited and edited.is_edited
    assert edited.without_edits() == decomposition
    moved = edited.with_edit({"name": "b"}, motion_shift=np.ones(6))
    np.testing.assert_array_equal(moved.z_id_edited, np.zeros(10))
    with pytest.raises(TypeError):
        decomposition.with_edit({"name": "c", "value": object()})


def test_rows_are_read_as_asked(decomposition, monkeypatch):
    whole, rows = decomposition.x_T[:], decomposition.x_T
    asked = []
    read = decomposition.store.read
    monkeypatch.setattr(decomposition.store, "read", lambda name, *span: asked.append(span) or read(name, *span))
    np.testing.assert_array_equal(rows[2], whole[2])
    np.testing.assert_array_equal(rows[-1], whole[3])
    np.testing.assert_array_equal(rows[1:3], whole[1:3])
    np.testing.assert_array_equal(rows[::2], whole[::2])
    np.testing.assert_array_equal(rows[[3, 0]], whole[[3, 0]])
    assert rows[[]].shape == (0, 3, 8, 8) and rows[3:1].shape == (0, 3, 8, 8)
    assert asked[:3] == [(2, 3), (3, 4), (1, 3)]
    with pytest.raises(IndexError):
        rows[4]


@pytest.mark.parametrize("change", [{"format": "dva-bundle"}, {"version": "7"}, {"rate": None}, {"operations": None}, {"steps": "{"}])
def test_other_files_and_versions_are_refused(tmp_path, decomposition, change):
    metadata = {**decomposition.info.to_metadata(), "operations": "[]", **change}
    decomposition.store.save(tmp_path / "a.safetensors", {k: v for k, v in metadata.items() if v is not None})
    with pytest.raises(DVAError) as caught:
        Decomposition.load(tmp_path / "a.safetensors")
    assert "a.safetensors" in str(caught.value) and str(caught.value).endswith(".")


def test_arrays_that_do_not_fit_are_refused(tmp_path, decomposition):
    specs = {**decomposition.store.specs, "masks": array_specs(3, 8, 16, 10, 6)["masks"]}
    metadata = {**decomposition.info.to_metadata(), "operations": "[]"}
    TensorMemory(specs, metadata).save(tmp_path / "a.safetensors")
    with pytest.raises(DVAError, match="do not fit"):
        Decomposition.load(tmp_path / "a.safetensors")
    del specs["masks"]
    TensorMemory(specs, metadata).save(tmp_path / "a.safetensors")
    with pytest.raises(DVAError, match="do not fit"):
        Decomposition.load(tmp_path / "a.safetensors")


def test_a_truncated_file_is_refused(tmp_path, decomposition):
    path = tmp_path / "a.safetensors"
    decomposition.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DVAError, match="truncated"):
        Decomposition.load(path)


def test_the_source_is_found_and_checked(tmp_path, decomposition, video):
    assert decomposition.find_source() == video
    other = tmp_path / "moved" / "video.mp4"
    other.parent.mkdir()
    video.rename(other)
    with pytest.raises(DVAError, match="is not there; give the right one as source video"):
        decomposition.find_source()
    with pytest.raises(DVAError, match=r"is not there; connect it\.$"):
        decomposition.find_source(cure="connect it")
    assert decomposition.find_source(other) == other
    decomposition.save(other.parent / "a.safetensors")
    loaded = Decomposition.load(other.parent / "a.safetensors")
    assert loaded.find_source() == other  # moved together with the decomposition
    windows = replace(loaded, info=replace(loaded.info, source="C:\\videos\\video.mp4"))
    assert windows.find_source() == other and replace(loaded.info, source="/a/b\\c.mp4").source_name == "b\\c.mp4"
    other.write_bytes(b"changed")
    with pytest.raises(DVAError, match="has changed since"):
        decomposition.find_source(other)
    with pytest.raises(DVAError, match="is not there; check the path"):
        decomposition.find_source(tmp_path / "none.mp4")


def test_a_decomposition_of_a_folder_from_before_pictures_alone_counted(tmp_path, decomposition):
    folder, digest = tmp_path / "frames", hashlib.sha256()
    folder.mkdir()
    for name in ("1.png", "notes.txt"):
        (folder / name).write_bytes(name.encode())
        digest.update(name.encode() + b"\0" + name.encode())
    old = replace(decomposition, info=replace(decomposition.info, source=str(folder), sha256=digest.hexdigest()))
    assert old.find_source() == folder


def test_a_folder_is_hashed_over_names_and_contents(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / "1.png").write_bytes(b"a")
    (folder / "2.png").write_bytes(b"b")
    first = source_hash(folder)
    assert first == source_hash(folder)
    (folder / "2.png").rename(folder / "3.png")
    assert first != source_hash(folder)
    (folder / "3.png").rename(folder / "2.png")
    assert first == source_hash(folder)
    (folder / "2.png").write_bytes(b"c")
    assert first != source_hash(folder)


def test_saving_over_the_file_it_came_from(tmp_path, decomposition):
    path = tmp_path / "a.safetensors"
    decomposition.save(path)
    Decomposition.load(path).with_edit({"name": "a"}, z_id=np.ones(10)).save(path)
    assert Decomposition.load(path).operations == ({"name": "a"},)
    with TensorFile.open(path) as store:
        np.testing.assert_array_equal(store.read("x_T"), decomposition.x_T[:])


def test_a_file_with_frames_that_are_not_of_its_video_is_refused(tmp_path, decomposition):
    for rows in ([0, 1, 1, 2], [0, 1, 2, 6], [-1, 0, 1, 2], [3, 2, 1, 0]):
        decomposition.store.write("frame_index", 0, rows)
        decomposition.save(tmp_path / "a.safetensors")
        with pytest.raises(DVAError, match="that its video does not have"):
            Decomposition.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("key", "value"),
    [("frames", '"6"'), ("frames", "0"), ("width", "true"), ("rate", '"1/0"'), ("rate", "25"), ("rate", '"-3"'), ("start", "NaN")]
    + [
        ("length", '"all"'),
        ("track", "[]"),
        ("clamp", "3"),
        ("source", "null"),
        ("every", "0"),
        ("operations", "[[1]]"),
        ("power", "[" * 100_000),
    ],
)
def test_damaged_records_are_one_sentence(tmp_path, decomposition, key, value):
    decomposition.save(tmp_path / "a.safetensors")
    with TensorFile.open(tmp_path / "a.safetensors") as store:
        store.save(tmp_path / "b.safetensors", store.metadata | {key: value})
    with pytest.raises(DVAError, match="lacks part of what"):
        Decomposition.load(tmp_path / "b.safetensors")


def test_saving_spares_the_source(tmp_path, decomposition, video):
    """It was asked to keep the video where the video lies, or a link to it."""
    before = video.read_bytes()
    (tmp_path / "link.safetensors").symlink_to(video)
    for path in (video, tmp_path / "link.safetensors"):
        with pytest.raises(DVAError, match="would overwrite"):
            decomposition.save(path)
    assert video.read_bytes() == before


ROWS = np.arange(24).reshape(4, 6)


@pytest.fixture
def rows():
    return Rows(store_of(ROWS), "a")


def store_of(array):
    store = TensorMemory({"a": Spec.of(array.dtype, *array.shape)}, {})
    store.write("a", 0, array)
    return store


@given(st.data())
def test_rows_have_numpys_meaning(data):
    count = data.draw(st.integers(0, 5))
    array = np.arange(count * 3).reshape(count, 3)
    rows = Rows(store_of(array), "a")
    number = st.integers(-count, count - 1) if count else st.nothing()
    index = data.draw(
        st.slices(count)
        | number
        | number.map(np.int16)
        | st.lists(number)
        | st.lists(st.booleans(), min_size=count, max_size=count).map(np.array)
        if count
        else st.slices(0) | st.just([])
    )
    np.testing.assert_array_equal(rows[index], array[index])


@pytest.mark.parametrize(
    "index", [(2, 1), True, 1.0, [0.5], [[0, 1]], "1", None, ..., 4, -5, [4], [True, False], np.array(1), np.zeros((4, 6), bool)]
)
def test_rows_refuse_what_is_not_clear(rows, index):
    with pytest.raises(IndexError):
        rows[index]


def test_rows_as_an_array(rows):
    np.testing.assert_array_equal(np.asarray(rows), ROWS)
    with pytest.raises(ValueError, match="copy"):
        rows.__array__(copy=False)


def test_a_file_is_let_go(tmp_path, decomposition):
    path = tmp_path / "a.safetensors"
    decomposition.save(path)
    with Decomposition.load(path) as loaded:
        edited = loaded.with_edit({"name": "a"}, z_id=np.ones(10))
        assert loaded.x_T[0].shape == (3, 8, 8)
    for closed in (loaded, edited):
        with pytest.raises(DVAError, match=r"a\.safetensors has been closed; load it again\."):
            _ = closed.x_T[0]
    with decomposition:
        pass
    assert decomposition.x_T[0].shape == (3, 8, 8)  # what is in memory has no file
