import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dva_core.edit.text_losses import clip_loss, directional_loss, identity_loss, masked_l1, text_direction
from dva_core.edit.text_prompts import sentences, templates
from dva_core.errors import DVAError


@pytest.fixture
def golden(shared):
    return {key: torch.from_numpy(np.asarray(value)) for key, value in np.load(shared("reference/clip_direction.npz")).items()}


def test_agrees_with_the_reference(golden):
    direction = text_direction(golden["text_source"], golden["text_target"])
    torch.testing.assert_close(direction, golden["text_direction"], atol=1e-6, rtol=0)
    d = directional_loss(golden["image_source"], golden["image_target"], direction)
    assert d.shape == (5,)
    assert d.mean().item() == pytest.approx(golden["loss_direction"].item(), abs=1e-5)
    assert clip_loss(d).item() == pytest.approx(golden["loss_clip"].item(), abs=1e-5)


def test_features_of_any_length_count_the_same(golden):
    direction = text_direction(3 * golden["text_source"], 7 * golden["text_target"])
    torch.testing.assert_close(direction, golden["text_direction"], atol=1e-6, rtol=0)
    d = directional_loss(2 * golden["image_source"], 0.1 * golden["image_target"], direction)
    assert d.mean().item() == pytest.approx(golden["loss_direction"].item(), abs=1e-5)


def test_a_change_as_the_text_says_costs_nothing_and_the_opposite_most():
    source, target = F.normalize(torch.tensor([[1.0, 0.2, 0], [1, 0, 0.3]]), dim=-1), F.normalize(torch.tensor([[1.0, 0, 0.1]]), dim=-1)
    direction = F.normalize(target - source[:1], dim=-1)
    along = directional_loss(source[:1], target, direction)
    against = directional_loss(target, source[:1], direction)
    assert along.item() == pytest.approx(0, abs=1e-5) and against.item() == pytest.approx(2, abs=1e-5)
    assert clip_loss(along).item() == pytest.approx(0, abs=1e-5) and clip_loss(against).item() > 10
    assert clip_loss(torch.ones(3)).item() == pytest.approx(np.log(2))


def test_the_floor_gives_a_gradient_where_nothing_has_changed_and_little_else():
    source, direction = F.normalize(torch.randn(1, 8, generator=torch.Generator().manual_seed(0)), dim=-1), torch.eye(8)[:1]
    target = source.clone().requires_grad_(True)
    directional_loss(source, target, direction, floor=0.03).sum().backward()
    expected = direction - (source @ direction[0])[:, None] * source  # on the sphere
    torch.testing.assert_close(target.grad, -expected / 0.03, rtol=1e-3, atol=1e-3)
    far = F.normalize(source + 0.5 * torch.ones(1, 8), dim=-1)
    plain, floored = (directional_loss(source, far, direction, floor) for floor in (0.0, 0.03))
    assert plain.item() == pytest.approx(floored.item(), abs=0.02)


def test_the_other_terms():
    z = torch.tensor([[1.0, 0, 0], [0, 2, 0]])
    assert identity_loss(z, 3 * z).item() == pytest.approx(0)
    assert identity_loss(z, -z).item() == pytest.approx(2)
    images, originals, mask = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4)
    mask[:, :, :2] = 1
    images[0, :, 2:] = 5  # outside
    images[1, :, :1] = -1  # inside: a quarter of the pixels
    np.testing.assert_allclose(masked_l1(images, originals, mask), [0, 0.25])


def test_texts_that_say_the_same_are_refused(golden):
    with pytest.raises(DVAError, match="mean the same"):
        text_direction(golden["text_source"], golden["text_source"])


def test_the_sentences_are_many_different_and_hold_the_text():
    assert len(set(templates())) == len(templates()) > 70
    assert all(template.count("{}") == 1 for template in templates())
    assert all(text.count("face with beard") == 1 for text in sentences(" face with beard "))
    assert all("a an " not in text for text in sentences("an old man")) and "a photo of an old man" in sentences("an old man")
