"""The noise predictor against the published keys and the reference numbers."""

from __future__ import annotations

import json
import math

import pytest
import torch

from dva_core.errors import DVAError
from dva_core.networks import build_network
from dva_core.networks.normalisation import normalise
from dva_core.networks.unet import UNet, is_added
from dva_core.networks.unet_blocks import AttentionBlock

from .reference import TINY, shapes, tiny_unet, tiny_unet_numbers


def test_keys_and_shapes_equal_the_published_ones(shared):
    published = json.loads(shared("reference/official_checkpoints.json").read_text())
    tensors = published["diffusion_video_autoencoder.ckpt"]["tensors_per_prefix"]
    with torch.device("meta"):
        network = UNet()
    assert shapes(network) == {key: shape for key, shape in tensors.items() if not key.startswith("encoder.")}
    assert shapes(UNet(**TINY)) == json.loads(shared("reference/unet_tiny_keys.json").read_text())


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_noise_equals_the_reference(shared, memory_format):
    golden = tiny_unet_numbers(shared)
    network = tiny_unet(shared).to(memory_format=memory_format)
    for t in (0, 17, 500, 999):
        with torch.no_grad():
            eps = network(golden["x_t"].to(memory_format=memory_format), torch.full((2,), t), golden["z_face"])
        torch.testing.assert_close(eps, golden[f"eps_t{t}"], atol=1e-4, rtol=0)


def test_patches_heads_and_gradients():
    network = UNet(image_size=16, patch_size=2, base_channels=16, channel_multipliers=(1, 2), num_res_blocks=1,
                   attention_resolutions=(8,), embedding_channels=32, condition_channels=24, num_heads=2)  # fmt: skip
    x_t, t, z_face = torch.randn(2, 3, 16, 16), torch.tensor([3, 700]), torch.randn(2, 24)
    assert network.input_blocks[0][0].in_channels == 12  # 2 x 2 pixels of 3 channels
    assert any("qkv" in key for key in shapes(network.input_blocks[1]))  # attention sizes are counted after the patches
    assert network(x_t, t, z_face).abs().max() == 0  # an untrained network predicts no noise
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    eps = network(x_t, t, z_face)
    assert eps.shape == x_t.shape
    eps.square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in network.parameters())
    network.eval().bfloat16()
    assert network(x_t.bfloat16(), t, z_face).dtype == torch.bfloat16


@pytest.mark.parametrize(("dtype", "atol", "rtol"), [(torch.float32, 1e-5, 1e-4), (torch.bfloat16, 4e-2, 2e-2)])
@pytest.mark.parametrize(("channels", "size"), [(32, 8), (96, 16), (20, 5)])
@pytest.mark.parametrize("conditions", [0, 1, 3])
def test_small_maps_are_normalised_as_by_torch(channels, size, dtype, atol, rtol, conditions):
    norm = torch.nn.GroupNorm(math.gcd(32, channels), channels).requires_grad_(False)
    for parameter in (norm.weight, norm.bias):
        torch.nn.init.normal_(parameter)
    x = (5 + 3 * torch.randn(3, channels, size, size)).to(memory_format=torch.channels_last)
    norm.forward, expected = pytest.fail, torch.nn.functional.group_norm(x, norm.num_groups, norm.weight, norm.bias)
    condition = torch.rand(conditions, 2 * channels) if conditions else None
    if conditions:
        expected = expected * (1 + condition[:, :channels, None, None]) + condition[:, channels:, None, None]
    inputs = x.to(dtype, copy=True)
    with torch.no_grad():
        normalised = normalise(norm.to(dtype), inputs, condition.to(dtype) if conditions else None)
    assert normalised.dtype == dtype
    torch.testing.assert_close(normalised.float(), expected, atol=(1 + bool(conditions)) * atol, rtol=rtol)
    assert torch.equal(inputs, x.to(dtype)), "the map is needed again, beside the block"
    assert normalised.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_memory_used_again_changes_nothing(shared, memory_format):
    """Where no gradient is wanted, maps are overwritten: by none that is still needed, nor what was handed in."""
    network = tiny_unet(shared).to(memory_format=memory_format)
    inputs = [torch.randn(2, 3, 32, 32).to(memory_format=memory_format), torch.full((2,), 400), torch.randn(2, 64)]
    conditions = network.face_conditions(inputs[2])
    expected, kept = network(*inputs), [value.clone() for value in (*inputs, *conditions)]
    with torch.inference_mode():
        for face in (inputs[2], conditions):
            torch.testing.assert_close(network(*inputs[:2], face), expected, atol=1e-5, rtol=1e-5)
    assert all(torch.equal(value, before) for value, before in zip((*inputs, *conditions), kept))


def test_conditions_are_computed_once_and_change_nothing(shared):
    network = tiny_unet(shared)
    x_t, z_face, one_t = torch.randn(3, 3, 32, 32), torch.randn(3, 64), torch.full((1,), 400)
    counts = {"time": 0, "face": 0}
    for name, layer in network.named_modules():
        for kind, ending in (("time", "emb_layers.1"), ("face", "cond_emb_layers.1")):
            if name.endswith("." + ending):
                layer.register_forward_hook(lambda _, inputs, out, kind=kind: counts.update({kind: counts[kind] + len(out)}))
    with torch.no_grad():
        expected = [network(x_t, torch.full((3,), t), z_face) for t in (400, 500)]
        blocks = counts["face"] // 6
        counts.update(time=0, face=0)
        conditions = network.face_conditions(z_face)
        noises = [network(x_t, (one_t + more).expand(3), conditions) for more in (0, 100)]
    assert counts == {"time": 2 * blocks, "face": 3 * blocks}
    for eps, reference in zip(noises, expected):
        torch.testing.assert_close(eps, reference, atol=1e-5, rtol=1e-5)


def test_layers_come_from_operations_and_parameters_lie_in_leaves():
    class Operations:
        class Conv1d(torch.nn.Conv1d): ...

        class Conv2d(torch.nn.Conv2d): ...

        class Linear(torch.nn.Linear): ...

        class GroupNorm(torch.nn.GroupNorm): ...

    for module in UNet(**TINY, operations=Operations).modules():
        if list(module.parameters(recurse=False)):
            assert type(module).__qualname__.startswith("test_layers_come_from_operations")
            assert not list(module.children())


def test_impossible_configurations_are_named():
    with pytest.raises(DVAError, match="multiple of 32"):
        UNet(image_size=100)
    with pytest.raises(DVAError, match="no network of type 'unnet'"):
        build_network({"type": "unnet"})
    with pytest.raises(DVAError, match="widht"):
        build_network({"type": "unet", "widht": 3})


HEAD = {"spatial_channels": 4, "spatial_size": 4, "detail_channels": 8}
TEXTURE = {"texture_rank": 3, "texture_size": 8, "identity_channels": 6}


def small_unet(**changes) -> UNet:
    torch.manual_seed(3)
    network = UNet(image_size=16, patch_size=2, base_channels=8, channel_multipliers=(1, 2), num_res_blocks=1, attention_resolutions=(4,),
                   embedding_channels=16, condition_channels=16, dropout=0.0, **changes).eval()  # fmt: skip
    torch.nn.init.normal_(network.out[-1].weight)
    return network


def test_a_new_spatial_condition_changes_nothing_and_a_trained_one_acts_in_a_place():
    plain, spatial = small_unet(), small_unet(spatial_channels=4, spatial_size=4)
    spatial.load_state_dict({k: v for k, v in spatial.state_dict().items() if is_added(k)} | plain.state_dict())
    x, t, z = torch.randn(2, 3, plain.image_size, plain.image_size), torch.tensor([10, 10]), torch.randn(2, plain.condition_channels)
    with torch.no_grad():
        assert torch.equal(spatial(x, t, z), plain(x, t, z))
        spatial.out[-1].weight.normal_()
        for name, values in spatial.named_parameters():
            if ".spatial." in name:
                values.normal_()
        conditions = spatial.face_conditions(z)
        assert torch.allclose(spatial(x, t, conditions), spatial(x, t, z), atol=1e-5)
        (_, added), *_ = conditions
        assert added.shape[2:] == (4, 4) and added.std((2, 3)).min() > 0  # not the same everywhere


def test_a_new_detail_head_changes_nothing_and_a_trained_one_follows_time_pixels_and_features():
    plain, detail = small_unet(), small_unet(detail_channels=8)
    for parameter in plain.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    detail.load_state_dict({k: v for k, v in detail.state_dict().items() if is_added(k)} | plain.state_dict())
    x, t, z = torch.randn(2, 3, plain.image_size, plain.image_size), torch.tensor([10, 10]), torch.randn(2, plain.condition_channels)
    with torch.no_grad():
        assert torch.equal(detail(x, t, z), plain(x, t, z))
        for parameter in detail.detail.parameters():
            torch.nn.init.normal_(parameter, std=0.3)

        def added(x, t, z):
            return detail(x, t, z) - plain(x, t, z)

        first = added(x, t, z)
        assert first.abs().mean() > 0.01
        assert not torch.allclose(added(x, t + 500, z), first, atol=1e-3)
        assert not torch.allclose(added(x, t, -z), first, atol=1e-3)  # by the features, which know the face
        assert torch.allclose(detail(x, t, detail.face_conditions(z)), detail(x, t, z), atol=1e-5)
        one = detail(x, t[:1].expand(2), z)  # a timestep embedded once for all
        assert torch.allclose(one, detail(x, t, z), atol=1e-5)


def test_a_new_texture_changes_nothing_and_a_fitted_one_is_blended_into_the_output():
    plain, textured = small_unet(**HEAD), small_unet(**HEAD, **TEXTURE)
    textured.load_state_dict({k: v for k, v in textured.state_dict().items() if is_added(k)} | plain.state_dict())
    x, t, z = torch.randn(2, 3, plain.image_size, plain.image_size), torch.tensor([10, 10]), torch.randn(2, plain.condition_channels)
    with torch.no_grad():
        out = plain(x, t, z)
        assert torch.equal(textured(x, t, z), out)
        torch.nn.init.normal_(textured.texture.patterns.weight, std=0.2)
        textured.texture.weights.bias[3:] = 0.6  # half of what is shown whole
        *_, texture = conditions = textured.face_conditions(z)
        assert texture.shape == (2, 24, 8, 8) and texture.abs().mean() > 0.01
        gates = torch.tensor([2.0, 0.5, 0.25, 0.3])
        textured.texture_blend.gates.weight.zero_()
        textured.texture_blend.gates.bias.copy_(gates)
        a, b = (torch.nn.functional.pixel_shuffle(part, 2) for part in texture.chunk(2, 1))
        kept = (1 + b) / (1 + gates[3] * b)
        expected = out + gates[0] * (1 - gates[3] * kept) * a + (kept - 1) * (gates[1] * x + gates[2] * out)
        torch.testing.assert_close(textured(x, t, conditions), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(textured(x, t, z), expected, rtol=1e-4, atol=1e-4)
        before = textured.face_conditions(z)[0][1]
        torch.nn.init.normal_(textured.texture_map.weight)
        for name, values in textured.named_parameters():
            if ".spatial." in name:
                values.normal_()
        assert not torch.allclose(textured.face_conditions(z)[0][1], before, atol=1e-2)
    with pytest.raises(DVAError, match="needs spatial_channels"):
        small_unet(**TEXTURE)


@pytest.mark.parametrize("heads", [1, 4])
def test_attention_is_the_same_in_both_layouts_and_copies_nothing_where_channels_lie_together(heads):
    torch.manual_seed(0)
    block, x = AttentionBlock(32, heads).double(), torch.randn(3, 32, 4, 6, dtype=torch.float64)
    for values in block.parameters():
        torch.nn.init.normal_(values)
    expected, together = block(x), x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(block(together), expected, rtol=1e-9, atol=1e-9)
    block.qkv.forward = block.proj_out.forward = None  # neither is called
    assert block(together).is_contiguous(memory_format=torch.channels_last)

    class Cast(torch.nn.Conv1d):
        """A host's layer, which does more than its weights say."""

        def forward(self, x):
            return 2 * super().forward(x)

    block.proj_out = Cast(32, 32, 1, dtype=torch.float64)
    block.proj_out.weight.data.normal_()
    del block.qkv.forward
    torch.testing.assert_close(block(together), block(x), rtol=1e-9, atol=1e-9)
