import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from bundles import IDENTITY, tiny_config, tiny_tensors, write_tiny
from safetensors.numpy import save_file

from dva_core.decomposition import Decomposition
from dva_core.edit import apply_attributes, apply_direction, apply_operations
from dva_core.edit.directions import (
    Direction,
    add_directions,
    encoder_fingerprint,
    from_attribute,
    identity_std,
    orthogonal_to,
    scale_direction,
)
from dva_core.edit.scores import logits, measure_direction, probability, table
from dva_core.errors import DVAError
from dva_core.model.loader import load_model

from .decompositions import draw_decomposition

FRAMES, MOTION = 3, 102


def make_decomposition(model) -> Decomposition:
    sizes = {"image_size": 16, "crop_size": 32, "identity_dim": IDENTITY, "motion_dim": MOTION}
    return draw_decomposition(range(FRAMES), **sizes, model_fingerprint=model.fingerprint, model_name="tiny")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    std = {"attributes.identity.std": torch.linspace(0.2, 2, IDENTITY)}  # uneven, so that it matters where it is left out
    return load_model(write_tiny(tmp_path_factory.mktemp("model") / "tiny.safetensors", **std), device="cpu")


@pytest.fixture
def decomposition(model):
    return make_decomposition(model)


def direction_of(model, values, name="mine", space="identity", **changes) -> Direction:
    return Direction(np.asarray(values, np.float32), space, name, encoder_fingerprint(model, space), **changes)


def random_direction(model, seed, name="mine"):
    return direction_of(model, np.random.default_rng(seed).standard_normal(IDENTITY), name)


def test_the_file_is_small_and_gives_everything_back(model, tmp_path):
    direction = direction_of(
        model, np.linspace(-1, 1, IDENTITY), "Bart", range=(-0.5, 2), made={"how": "text", "target": "face with beard"}
    )
    path = direction.save(tmp_path / "beard.safetensors")
    assert path.stat().st_size < 4000 and list(tmp_path.iterdir()) == [path]
    again = Direction.load(path)
    np.testing.assert_array_equal(again.vector, direction.vector)
    assert again.to_json() == direction.to_json() and again.range == (-0.5, 2.0) and again.made["target"] == "face with beard"
    assert Direction.from_json(json.loads(json.dumps(direction.to_json()))).vector.tobytes() == direction.vector.tobytes()


def test_an_identity_direction_is_added_and_normalised(model, decomposition):
    direction = random_direction(model, 1)
    edited = apply_direction(decomposition, model, direction, -0.3)
    expected = decomposition.z_id - 0.3 * direction.vector
    np.testing.assert_allclose(edited.current_z_id, expected / np.linalg.norm(expected), atol=1e-6)
    np.testing.assert_array_equal(edited.z_motion[:], decomposition.z_motion[:])
    assert edited.is_edited and not decomposition.is_edited


def test_a_motion_direction_shifts_every_frame(model, decomposition):
    shift = np.random.default_rng(3).standard_normal(MOTION).astype(np.float32)
    edited = apply_direction(
        apply_direction(decomposition, model, direction_of(model, shift, space="motion"), 0.5),
        model,
        direction_of(model, shift, space="motion"),
    )
    np.testing.assert_allclose(edited.current_z_motion(slice(None)), decomposition.z_motion[:] + 1.5 * shift, atol=1e-5)
    np.testing.assert_array_equal(edited.current_z_id, decomposition.z_id)


def test_a_curve_changes_the_strength_over_time(model, decomposition):
    direction = random_direction(model, 1)
    edited = apply_direction(decomposition, model, direction, {"0": 0, "2": 0.4})
    identities = edited.current_identity([0, 1, 2])
    for row, scale in enumerate((0, 0.2, 0.4)):
        expected = decomposition.z_id + scale * direction.vector
        np.testing.assert_allclose(identities[row], expected / np.linalg.norm(expected), atol=1e-6)
    constant = apply_direction(decomposition, model, direction, {"0": 0.4, "2": 0.4})
    np.testing.assert_array_equal(constant.current_z_id, apply_direction(decomposition, model, direction, 0.4).current_z_id)


@pytest.mark.parametrize("name", ["Young", "Smiling"])
def test_an_attribute_as_a_direction_is_the_same_edit(model, decomposition, name):
    direct = apply_attributes(decomposition, model, {name: 0.4})
    by_direction = apply_direction(decomposition, model, from_attribute(model, name), 0.4)
    np.testing.assert_allclose(by_direction.current_z_id, direct.current_z_id, atol=1e-6)
    np.testing.assert_allclose(by_direction.current_z_motion([0]), direct.current_z_motion([0]), atol=1e-6)


def test_edits_survive_the_decompositions_file_and_can_be_repeated_without_the_directions(model, decomposition, tmp_path):
    edited = apply_direction(decomposition, model, random_direction(model, 4), 0.7)
    edited = apply_direction(edited, model, random_direction(model, 5), {"0s": 0, "0.08s": 1})
    edited.save(tmp_path / "edited.safetensors")
    loaded = Decomposition.load(tmp_path / "edited.safetensors")
    np.testing.assert_array_equal(loaded.current_identity([0, 2]), edited.current_identity([0, 2]))
    again = apply_operations(decomposition, model, loaded.operations)
    np.testing.assert_array_equal(again.current_identity([0, 2]), edited.current_identity([0, 2]))
    assert again.operations == edited.operations and edited.operations[0]["direction"]["name"] == "mine"


def test_scale_0_is_recorded_and_changes_nothing(model, decomposition):
    edited = apply_direction(decomposition, model, random_direction(model, 4), 0)
    assert not edited.is_edited and len(edited.operations) == 1


def test_the_fingerprint_is_the_encoders_alone(model, tmp_path):
    tensors = tiny_tensors()
    other = {name: value + 0.01 if name.startswith(("noise_predictor", "fusion")) else value for name, value in tensors.items()}
    trained_on = load_model(write_tiny(tmp_path / "further.safetensors", **other), device="cpu")
    half = load_model(write_tiny(tmp_path / "half.safetensors", precision="fp16"), device="cpu")
    for space in ("identity", "motion"):
        ours = encoder_fingerprint(model, space)
        assert encoder_fingerprint(trained_on, space) == ours == encoder_fingerprint(half, space)
    key = next(name for name in tensors if name.startswith("identity_encoder") and name.endswith("weight"))
    changed = load_model(write_tiny(tmp_path / "other.safetensors", **{key: tensors[key] * 1.1}), device="cpu")
    assert encoder_fingerprint(changed, "identity") != encoder_fingerprint(model, "identity")
    assert encoder_fingerprint(changed, "motion") == encoder_fingerprint(model, "motion")
    direction = random_direction(model, 1)
    assert apply_direction(make_decomposition(trained_on), trained_on, direction, 1).is_edited
    with pytest.raises(DVAError, match="made with another identity encoder") as refused:
        apply_direction(make_decomposition(changed), changed, direction, 1)
    assert str(refused.value).count(". ") == 0


def test_another_models_decomposition_is_refused(model, decomposition):
    with pytest.raises(DVAError, match="encoded with the model"):
        apply_direction(
            replace(decomposition, info=replace(decomposition.info, model_fingerprint="beef")), model, random_direction(model, 1)
        )


def test_adding_and_scaling(model):
    a, b = random_direction(model, 1, "a"), random_direction(model, 2, "b")
    total = add_directions([a, b], [2, -0.5])
    np.testing.assert_allclose(total.vector, 2 * a.vector - 0.5 * b.vector, atol=1e-6)
    np.testing.assert_allclose(scale_direction(a, -3).vector, -3 * a.vector, atol=1e-6)
    assert total.name == "2 a + -0.5 b" and total.made["factors"] == [2.0, -0.5] and total.made["of"] == ["a", "b"]


def test_orthogonal_to_several_others_that_are_not_orthogonal_to_each_other(model):
    a, b, c = (random_direction(model, seed, str(seed)) for seed in (1, 2, 3))
    c = add_directions([b, c], [1.0, 0.2])
    rest = orthogonal_to(a, [b, c, scale_direction(b, 2)])
    assert abs(rest.vector @ b.vector) < 1e-4 and abs(rest.vector @ c.vector) < 1e-4
    assert rest.vector @ a.vector > 0.1
    assert orthogonal_to(a, []) is a
    with pytest.raises(DVAError, match="Nothing is left of"):
        orthogonal_to(b, [c, add_directions([c, b])])


def test_one_attribute_without_changing_another_by_the_classifiers(model):
    young, male = from_attribute(model, "Young"), from_attribute(model, "Male")
    pure = orthogonal_to(young, [male], identity_std(model))
    z = np.random.default_rng(0).standard_normal(IDENTITY).astype(np.float32)
    z *= 1000 / np.linalg.norm(z)  # so long that normalising again plays no part
    moved = {score.name: score.change for score in measure_direction(pure, model, z, 1000)}
    before = {score.name: score.change for score in measure_direction(young, model, z, 1000)}
    assert abs(before["Male"]) > 0.05 and abs(moved["Male"]) < 0.02 * abs(before["Male"]) + abs(norm_share(model, pure, z)["Male"])
    assert moved["Young"] > 0.5 * before["Young"] > 0


def norm_share(model, direction, z):
    """What the logits change by the length alone: the step makes z longer, and unit length shortens it again."""
    from dva_core.edit.attributes import AttributeSet

    attributes = AttributeSet.from_model(model)
    w, std = attributes.tensors["identity.weight"], attributes.tensors["identity.std"]
    unit, moved = z / np.linalg.norm(z), z + 1000 * direction.vector
    shorter = (np.linalg.norm(z) / np.linalg.norm(moved) - 1) * unit
    return {entry.name: float(w[entry.index] / std @ shorter) for entry in attributes.entries if entry.space == "identity"}


def test_scores_are_the_classifiers(model):
    z = np.random.default_rng(1).standard_normal(IDENTITY)
    t = {key: value.double().numpy() for key, value in model.state_dict().items() if key.startswith("attributes.identity")}
    unit = z / np.linalg.norm(z)
    expected = t["attributes.identity.weight"] @ ((unit - t["attributes.identity.mean"]) / t["attributes.identity.std"])
    expected += t["attributes.identity.bias"]
    from dva_core.edit.attributes import AttributeSet

    np.testing.assert_allclose(list(logits(AttributeSet.from_model(model), 7 * z).values()), expected, atol=1e-6)
    (smiling,) = measure_direction(scale_direction(from_attribute(model, "Smiling"), 2), model, z, 0.5)
    assert smiling.name == "Smiling" and smiling.change == pytest.approx(1.0, abs=1e-5)
    assert "Smiling  +1.00" in table([smiling]) and probability(0.0) == 0.5 and probability(1000.0) == 1.0


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda m, c, d: apply_direction(c, m, d, 99), "The scale 99 of mine makes no sense; use a number from -1 to 1"),
        (lambda m, c, d: apply_direction(c, m, d, float("nan")), "makes no sense"),
        (lambda m, c, d: apply_direction(c, m, {"vector": "???"}, 1), "record of a direction is damaged"),
        (lambda m, c, d: add_directions([d], [1, 2]), "1 directions and 2 factors"),
        (lambda m, c, d: scale_direction(d, float("inf")), "The factor inf of mine"),
        (
            lambda m, c, d: add_directions([d, direction_of(m, np.ones(MOTION), "smile", "motion")]),
            "identity and smile one of motion",
        ),
        (lambda m, c, d: add_directions([d, replace(d, encoder="other", name="theirs")]), "mine and theirs were made with different"),
        (lambda m, c, d: replace(d, vector=np.full(IDENTITY, np.nan)), "not finite"),
        (lambda m, c, d: replace(d, space="hair"), "not known"),
        (lambda m, c, d: d.save("x.pt"), "call it x.safetensors"),
        (lambda m, c, d: Direction.load("/nowhere/x.safetensors"), "There is no direction"),
    ],
)
def test_mistakes_are_said_in_a_sentence(model, decomposition, act, message):
    with pytest.raises(DVAError, match=message) as error:
        act(model, decomposition, random_direction(model, 1))
    assert str(error.value).count(". ") == 0 and "\n" not in str(error.value)


def test_other_files_are_refused(model, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"no tensors here")
    with pytest.raises(DVAError, match="damaged"):
        Direction.load(path)
    save_file({"vector": np.ones(3, np.float32)}, path)
    with pytest.raises(DVAError, match="is not a direction"):
        Direction.load(path)
    save_file({"vector": np.ones(3, np.float32)}, path, metadata={"format": "dva-direction", "version": "9"})
    with pytest.raises(DVAError, match="version 9"):
        Direction.load(path)
    save_file({"vector": np.ones(3, np.float32)}, path, metadata={"format": "dva-direction", "version": "1", "direction": '{"name": "x"}'})
    with pytest.raises(DVAError, match="damaged"):
        Direction.load(path)
    with pytest.raises(DVAError, match="not a direction"):
        Direction.load(write_tiny(path, config=tiny_config()))


def test_nobody_can_change_a_direction_after_it_was_made(model):
    values = np.ones(IDENTITY, np.float32)
    direction = direction_of(model, values)
    values[:] = 5
    assert (direction.vector == 1).all()
    with pytest.raises(ValueError):
        direction.vector[0] = 2
    assert torch.from_numpy(direction.vector.copy()).dtype == torch.float32
