"""Several people of one video: chosen, taken apart, put together, saved and opened."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from dva_core.decomposition import Decomposition, People, combine, load_decomposition, pick
from dva_core.decomposition.arrays import Steps, array_specs
from dva_core.decomposition.info import DecompositionInfo
from dva_core.decomposition.people import choose, edit_people, one_person, parse_whom, with_info
from dva_core.decomposition.tensorfile import TensorFile, TensorMemory
from dva_core.errors import DVAError

OF_ONE = {  # what a file of one person has always held
    *("format", "version", "source", "sha256", "width", "height", "rate", "frames", "start", "length", "every", "max_frames", "track"),
    *("model_name", "model_fingerprint", "image_size", "steps", "solver", "precision", "dva_version", "power", "clamp", "operations"),
}


def another(decomposition, seed, faces=3, **info):
    """Somebody else in the same video."""
    store = TensorMemory(array_specs(faces, 8, 16, 10, 6), {})
    for name, spec in store.specs.items():
        store.write(name, 0, np.random.default_rng([seed, len(name)]).random(spec.shape) * 100)
    store.write("frame_index", 0, np.arange(faces) + 1)
    return Decomposition(store, replace(decomposition.info, **info))


@pytest.fixture
def two(decomposition):
    anna = with_info(decomposition, person=1, person_name="Anna")
    return People([another(decomposition, 1, person=3), anna])  # in the order of their numbers, whatever was given


def test_both_survive_a_file_with_their_own_edits(tmp_path, two):
    steps = (Steps(np.ones((3, 1)), np.ones((1, 6))),)
    edited = edit_people(two, "Anna", lambda one: one.with_edit({"name": "attributes", "scales": {"Young": -0.6}}, z_id=np.arange(10)))
    edited = edit_people(edited, 3, lambda one: one.with_edit({"name": "direction"}, motion_steps=steps))
    edited.save(tmp_path / "two.safetensors")
    loaded = load_decomposition(tmp_path / "two.safetensors")
    assert isinstance(loaded, People) and [one.info for one in loaded] == [one.info for one in two]
    assert [len(one.operations) for one in loaded] == [1, 1] and loaded[0].operations[0]["name"] == "attributes"
    np.testing.assert_array_equal(loaded[0].current_z_id, np.arange(10))
    np.testing.assert_allclose(loaded[1].current_z_motion(slice(0, 3)), two[1].z_motion[:] + 1, rtol=1e-6)
    for one, before in zip(loaded, two):
        for name in ("x_T", "rebuilt", "crops", "masks", "z_motion", "z_id_frames"):
            np.testing.assert_array_equal(getattr(one, name)[:], getattr(before, name)[:])
        np.testing.assert_array_equal(one.quads, before.quads)
    assert not loaded.without_edits().is_edited


def test_readers_of_one_person_refuse_it_in_a_sentence(tmp_path, two):
    two.save(tmp_path / "two.safetensors")
    with safe_open(tmp_path / "two.safetensors", "numpy") as file:
        assert file.metadata()["version"] == "3"  # readers of versions 1 and 2 refuse every other
    with pytest.raises(DVAError, match="holds several people"):
        Decomposition.load(tmp_path / "two.safetensors")


def test_a_file_of_one_person_is_written_as_ever(tmp_path, decomposition, two):
    decomposition.save(tmp_path / "one.safetensors")
    with safe_open(tmp_path / "one.safetensors", "numpy") as file:
        assert set(file.metadata()) == OF_ONE and file.metadata()["version"] == "1"
        assert set(file.keys()) == set(decomposition.store.specs)
    two.save(tmp_path / "two.safetensors")
    anna, rest = pick(load_decomposition(tmp_path / "two.safetensors"), "anna")
    assert type(anna) is Decomposition and rest.info.person == 3
    anna.save(tmp_path / "anna.safetensors")
    with safe_open(tmp_path / "anna.safetensors", "numpy") as file:
        assert set(file.metadata()) == OF_ONE | {"person", "person_name"} and set(file.keys()) == set(decomposition.store.specs)
    assert load_decomposition(tmp_path / "anna.safetensors").info == anna.info


def test_a_file_is_replaced_by_all_of_its_people_only(tmp_path, two, decomposition):
    path = tmp_path / "two.safetensors"
    two.save(path)
    loaded = load_decomposition(path)
    with pytest.raises(DVAError, match="which is read"):
        loaded[0].save(path)
    with pytest.raises(DVAError, match="which is read"):
        loaded[0].save(two.info.source)
    edit_people(loaded, None, lambda one: one.with_edit({"name": "a"}, z_id=np.zeros(10))).save(path)
    assert all(one.operations for one in load_decomposition(path))
    three = combine(two, another(decomposition, 2, person=2))
    three.save(path)
    with pytest.raises(DVAError, match="which is read"):  # two of three
        pick(load_decomposition(path), "1,2")[0].save(path)


def test_whom(two):
    assert choose(two) == choose(two, "") == choose(two, "All") == choose(two, " 1 , 3") == [0, 1]
    assert choose(two, 3) == choose(two, "3") == choose(two, [3]) == choose(two, np.int64(3)) == [1] and choose(two, "ANNA") == [0]
    assert one_person(two, "anna").info.person == 1
    with pytest.raises(DVAError, match=r"A sheet looks at one person, and there are Anna \(1\) and 3; say which"):
        one_person(two, None, "A sheet")
    for whom, word in (
        (2, "There is no person 2 in this decomposition, which holds people Anna"),
        ("Bert", "no person Bert"),
        ("1,,3", "Cannot"),
    ):
        with pytest.raises(DVAError, match=word):
            choose(two, whom)


def test_one_person_is_number_one(decomposition):
    assert choose(decomposition, "1") == choose(decomposition, "all") == [0]
    with pytest.raises(DVAError, match="There is no person 2 in this decomposition, which holds one person, 1"):
        choose(decomposition, "2")


def test_an_edit_leaves_the_others_alone(two):
    edited = edit_people(two, "3", lambda one: one.with_edit({"name": "a"}, z_id=np.zeros(10)))
    assert edited[0] is two[0] and edited[1].is_edited and not two.is_edited and edited.is_edited


def test_apart_and_together_again(two, decomposition):
    anna, rest = pick(two, "Anna")
    again = combine(rest, anna)
    assert [one.info.who for one in again] == ["Anna (1)", "3"] and all(a is b for a, b in zip(again, two))
    counted = combine(two, another(decomposition, 2), another(decomposition, 4))  # encoded apart: the lowest free numbers
    assert [one.info.person for one in counted] == [1, 2, 3, 4]
    assert combine(decomposition) is decomposition and pick(two, "all")[1] is None


def test_who_cannot_be_put_together(two, decomposition):
    with pytest.raises(DVAError, match="Person 1 is there twice"):
        combine(two, with_info(decomposition, person=1))
    with pytest.raises(DVAError, match="Person anna is there twice"):
        combine(two, with_info(decomposition, person=2, person_name="anna"))
    with pytest.raises(DVAError, match="different videos"):
        combine(two, with_info(decomposition, person=2, sha256="0" * 64))
    with pytest.raises(DVAError, match="different videos"):
        combine(two, with_info(decomposition, person=2, frames=7))


@given(st.text() | st.lists(st.text() | st.integers() | st.none() | st.floats()) | st.integers() | st.floats() | st.booleans())
def test_any_choice_is_one_or_refused(whom):
    try:
        parts = parse_whom(whom)
    except DVAError:
        return
    assert parts is None or parts


@given(st.one_of(st.text(), st.sampled_from(["[]", "[1]", "{}", '[{"person": "1"}]', '[{"person": "1"}, {"person": "1"}]', "null"])))
def test_a_damaged_list_of_people_is_refused(tmp_path_factory, people):
    path = tmp_path_factory.mktemp("damaged") / "a.safetensors"
    with TensorFile.create(path, {}, {"format": "dva-decomposition", "version": "3", "people": people}) as file:
        file.commit()
    with pytest.raises(DVAError):
        load_decomposition(path)


@given(
    st.sampled_from(["person", "person_name", "sha256", "operations", "version"]), st.sampled_from(["0", "-1", '"x"', "null", "[]", "7"])
)
def test_a_damaged_record_is_refused_or_means_something(tmp_path_factory, name, value):
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "video.mp4").write_bytes(b"frames")
    info = DecompositionInfo(str(folder / "video.mp4"), "0" * 64, 64, 48, Fraction(25), 6)
    base = Decomposition(TensorMemory(array_specs(3, 8, 16, 10, 6), {}), info)
    two = People([another(base, 1, person=1), another(base, 2, person=2)])
    two.save(folder / "two.safetensors")
    with safe_open(folder / "two.safetensors", "numpy") as file:
        metadata = file.metadata()
    records = json.loads(metadata["people"])
    records[0][name] = value
    store = TensorFile.open(folder / "two.safetensors")
    store.metadata["people"] = json.dumps(records)
    try:
        People.from_store(store, folder)
    except DVAError as error:
        assert "\n" not in str(error)
    finally:
        store.close()


@pytest.mark.parametrize("wrong", [[()], [[1]], [None], ["two.safetensors"]])
def test_only_decompositions_are_put_together(wrong):
    with pytest.raises(DVAError, match="cannot be put together with others; give decompositions"):
        combine(*wrong)


def test_bytes_are_nobody():
    with pytest.raises(DVAError, match="Cannot choose people by"):
        parse_whom(b"2")
