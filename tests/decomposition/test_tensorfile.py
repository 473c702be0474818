import errno
import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from dva_core.decomposition import tensorfile
from dva_core.decomposition.header import Spec
from dva_core.decomposition.tensorfile import TensorFile, TensorMemory
from dva_core.errors import DVAError

SPECS = {"noise": Spec.of("f2", 5, 3, 4), "crops": Spec.of("u1", 5, 7), "quads": Spec.of("f8", 5, 4, 2), "z": Spec.of("f4", 6)}


def filled(spec, seed=0):
    return (np.random.default_rng(seed).random(spec.shape) * 200).astype(spec.dtype)


@pytest.mark.parametrize("make", ["file", "scratch", "memory"])
def test_rows_come_back_as_written(tmp_path, make):
    store = {
        "file": lambda: TensorFile.create(tmp_path / "a.safetensors", SPECS, {}),
        "scratch": lambda: TensorFile.scratch(SPECS, {}, tmp_path),
        "memory": lambda: TensorMemory(SPECS, {}),
    }[make]()
    arrays = {name: filled(spec) for name, spec in SPECS.items()}
    for name, array in arrays.items():
        for start in (2, 0):  # out of order, uneven
            store.write(name, start, array[start : start + 2])
        store.write(name, 4, array[4:])
    store.commit()
    for name, array in arrays.items():
        np.testing.assert_array_equal(store.read(name), array)
        np.testing.assert_array_equal(store.read(name, 1, 4), array[1:4])
        assert store.read(name, 2, 2).shape == (0, *array.shape[1:])
    store.close()


def test_the_safetensors_library_reads_it(tmp_path):
    path = tmp_path / "a.safetensors"
    with TensorFile.create(path, SPECS, {"format": "x"}) as store:
        for name, spec in SPECS.items():
            store.write(name, 0, filled(spec))
        store.metadata["later"] = "known only at the end"
        store.commit()
    loaded = load_file(path)
    assert set(loaded) == set(SPECS)
    for name, spec in SPECS.items():
        np.testing.assert_array_equal(loaded[name], filled(spec))
    with safe_open(path, "numpy") as file:
        assert file.metadata() == {"format": "x", "later": "known only at the end"}


def test_every_array_starts_at_a_multiple_of_its_item_size(tmp_path):
    path = tmp_path / "a.safetensors"
    TensorMemory(SPECS, {}).save(path)
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    for name, spec in SPECS.items():
        assert header[name]["data_offsets"][0] % spec.dtype.itemsize == 0


def test_it_reads_what_the_safetensors_library_wrote(tmp_path):
    path = tmp_path / "a.safetensors"
    arrays = {"b": filled(Spec.of("f4", 3, 2)), "a": filled(Spec.of("u1", 5)), "c": np.arange(4)}
    save_file(arrays, path, {"k": "v"})
    with TensorFile.open(path) as store:
        assert store.metadata == {"k": "v"}
        for name, array in arrays.items():
            np.testing.assert_array_equal(store.read(name), array)


def test_only_a_partial_is_there_until_commit_and_nothing_after_a_failure(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"what was there before")
    store = TensorFile.create(path, SPECS, {})
    (beside,) = (p.name for p in tmp_path.iterdir() if p != path)
    assert beside.startswith(".dva-") and beside.endswith(".partial")
    store.close()
    assert path.read_bytes() == b"what was there before" and len(list(tmp_path.iterdir())) == 1


def test_scratch_leaves_no_file(tmp_path):
    store = TensorFile.scratch(SPECS, {}, tmp_path)
    store.write("z", 0, np.ones(6))
    del store
    assert not list(tmp_path.iterdir())


def test_save_copies_with_replacements(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorfile, "COPY_BYTES", 2 * SPECS["crops"].row_bytes)
    memory, read = TensorMemory(SPECS, {"a": "1"}), []
    memory.write("crops", 0, filled(SPECS["crops"]))
    rows_of = memory.read
    monkeypatch.setattr(memory, "read", lambda name, start=0, stop=None: read.append((name, start, stop)) or rows_of(name, start, stop))
    memory.save(tmp_path / "a.safetensors", {"b": "2"}, {"z": np.arange(6)})
    count = SPECS["crops"].shape[0]
    assert [part[1:] for part in read if part[0] == "crops"] == [(i, min(i + 2, count)) for i in range(0, count, 2)] and count > 2
    with TensorFile.open(tmp_path / "a.safetensors") as store:
        assert store.metadata == {"b": "2"}
        np.testing.assert_array_equal(store.read("z"), np.arange(6))
        np.testing.assert_array_equal(store.read("crops"), filled(SPECS["crops"]))


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    store = TensorFile.create(tmp_path / "a.safetensors", SPECS, {})

    def full(self, offset, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TensorFile, "_write_at", full)
    with pytest.raises(DVAError, match=r"^The disk of .* is full; free some space .*\.$"):
        store.write("noise", 0, np.zeros((1, 3, 4)))
    assert not list(tmp_path.iterdir())


def test_too_little_room_is_said_before_work_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorfile.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 100})())
    for make in (TensorFile.scratch, lambda specs, meta, folder: TensorFile.create(folder / "a.safetensors", specs, meta)):
        with pytest.raises(DVAError, match="MB free and this needs"):
            make(SPECS, {}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_one_sentence(tmp_path):
    with pytest.raises(DVAError, match="does not exist"):
        TensorFile.create(tmp_path / "nowhere" / "a.safetensors", SPECS, {})


def test_foreign_and_damaged_files_are_refused(tmp_path):
    good = tmp_path / "good.safetensors"
    TensorMemory(SPECS, {}).save(good)
    data = good.read_bytes()
    bad = tmp_path / "bad.safetensors"
    damages = {
        "truncated": (data[:-1], "truncated"),
        "longer": (data + b"x", "not a safetensors file"),
        "text": (b"hello, I am a text file\n" * 10, "not a safetensors file"),
        "empty": (b"", "not a safetensors file"),
        "header only": (data[:40], "not a safetensors file"),
        "list header": ((2).to_bytes(8, "little") + b"[]", "not a safetensors file"),
        "wrong span": (data.replace(b'"data_offsets":[0,', b'"data_offsets":[1,', 1), "not a safetensors file"),
    }
    for name, (content, message) in damages.items():
        bad.write_bytes(content)
        with pytest.raises(DVAError, match=message):
            TensorFile.open(bad)
            pytest.fail(name)
    with pytest.raises(DVAError, match="no file"):
        TensorFile.open(tmp_path / "none")


def test_rows_out_of_range_are_refused():
    store = TensorMemory(SPECS, {})
    for call in (
        lambda: store.read("z", 0, 7),
        lambda: store.read("noise", -1, 2),
        lambda: store.write("noise", 4, np.zeros((2, 3, 4))),
        lambda: store.write("noise", 0, np.zeros((2, 3, 5))),
    ):
        with pytest.raises(IndexError):
            call()


def test_where_temporary_files_go_can_be_changed(tmp_path, monkeypatch):
    for folder in (tmp_path, None):
        with monkeypatch.context() as patch:
            patch.setattr(tensorfile.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100})())
            with pytest.raises(DVAError, match=r"MB free .*--scratch.*TMPDIR"):
                TensorFile.scratch(SPECS, {}, folder)
    with pytest.raises(DVAError, match=r"no folder .*nowhere.*--scratch"):
        TensorFile.scratch(SPECS, {}, tmp_path / "nowhere")


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "a.safetensors"
    link.symlink_to(tmp_path / "disk" / "there.safetensors")
    for _ in range(2):  # to a file that is not there yet, then to one that is
        TensorMemory(SPECS, {}).save(link)
        assert link.is_symlink() and TensorFile.open(tmp_path / "disk" / "there.safetensors").specs
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "disk"]


def test_a_second_writer_of_one_file_is_refused_and_the_first_one_s_numbers_stay(tmp_path):
    path = tmp_path / "a.safetensors"
    first = TensorFile.create(path, {"z": Spec.of("f4", 3)}, {"whose": "first"})
    first.write("z", 0, np.ones(3))
    with pytest.raises(DVAError, match="being written by another run"):
        TensorFile.create(path, {"z": Spec.of("f4", 3)}, {"whose": "second"})
    first.commit()
    second = TensorFile.create(path, {"z": Spec.of("f4", 3)}, {"whose": "second"})
    second.write("z", 0, np.zeros(3))
    assert (first.read("z") == 1).all() and load_file(path)["z"].tolist() == [1, 1, 1]
    second.close()
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_store_that_is_dropped_leaves_no_file(tmp_path):
    store = TensorFile.create(tmp_path / "a.safetensors", SPECS, {})
    del store
    assert not list(tmp_path.iterdir())
