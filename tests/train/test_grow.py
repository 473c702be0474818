"""A network that begins with the weights of a smaller one: larger pictures, a detail head."""

import pytest
import torch

from dva_core.diffusion.schedule import Schedule
from dva_core.errors import DVAError
from dva_core.model.bundle import read_bundle
from dva_core.networks.unet import UNet
from dva_core.train.grow import fit_detail_head, spread_patches

from .runs import CONFIG, training, write_start

SIZES = {"base_channels": 32, "channel_multipliers": (1, 2), "num_res_blocks": 1, "attention_resolutions": (), "embedding_channels": 16}


def unet(size: int, patch: int) -> UNet:
    torch.manual_seed(0)
    network = UNet(image_size=size, patch_size=patch, condition_channels=8, **SIZES)
    for values in network.parameters():
        torch.nn.init.normal_(values, std=0.1)
    return network.eval()


@pytest.mark.parametrize("small, large", [(1, 2), (2, 4), (2, 6)])
def test_a_picture_twice_as_large_gives_the_same_twice_as_large(small, large):
    k = large // small
    one, other = unet(16 * small, small), unet(16 * large, large)
    other.load_state_dict(spread_patches(one.state_dict(), small, large))
    x, t, z = torch.randn(2, 3, 16 * small, 16 * small), torch.tensor([3, 500]), torch.randn(2, 8)
    expected = one(x, t, z)
    assert expected.std() > 0.01
    grown = other(x.repeat_interleave(k, 2).repeat_interleave(k, 3), t, z)
    torch.testing.assert_close(grown, expected.repeat_interleave(k, 2).repeat_interleave(k, 3), rtol=1e-4, atol=1e-4)


def test_patches_that_do_not_divide():
    with pytest.raises(DVAError, match="Patches of 2 pixels do not divide patches of 3"):
        spread_patches(unet(32, 2).state_dict(), 2, 3)


@pytest.mark.parametrize("prediction", ["v", "epsilon"])
def test_a_detail_head_is_fitted_to_what_the_rest_does_not_say(prediction):
    torch.manual_seed(0)
    network, schedule = (
        UNet(image_size=16, patch_size=2, condition_channels=16, detail_channels=4, **SIZES).eval(),
        Schedule(prediction=prediction),
    )
    x_0, z_face = torch.rand(24, 3, 16, 16) * 2 - 1, torch.randn(24, 16)
    fresh, other = torch.rand(8, 3, 16, 16) * 2 - 1, torch.randn(8, 16)

    @torch.no_grad()
    def error(t):
        at, noise = torch.full((8,), t), torch.randn(fresh.shape, generator=torch.Generator().manual_seed(t))
        x_t = schedule.add_noise(fresh, at, noise)
        return (schedule.as_output(noise, x_t, at) - network(x_t, at, other)).square().mean().item()

    before = [error(t) for t in (150, 400, 700)]
    fit_detail_head(network, schedule, x_0, z_face, torch.Generator().manual_seed(1))
    after = [error(t) for t in (150, 400, 700)]
    # white pictures of variance 1/3: what a linear estimate leaves is known
    a = schedule.alphas_cumprod[[150, 400, 700]]
    best = (1 / 3 if prediction == "v" else a / 3) / (a / 3 + 1 - a)
    assert all(now < was for now, was in zip(after, before))
    assert all(now < 1.1 * float(least) + 0.002 for now, least in zip(after, best))
    assert not network.detail.proj_out.weight[:, 12:].any()  # the part with the features begins with no effect


def test_what_a_bundle_brings_of_a_detail_head_is_kept(tmp_path):
    config = CONFIG | {"noise_predictor": {**CONFIG["noise_predictor"], "patch_size": 2, "detail_channels": 4}}
    bundle = write_start(tmp_path, config)
    run = training(bundle, tmp_path / "run", 1, config=config)
    run.start_from(bundle)
    tensors = read_bundle(bundle).tensors
    head = {k.removeprefix("noise_predictor."): v.float() for k, v in tensors.items() if ".detail." in k}
    assert head and all(torch.equal(run.unet.state_dict()[k], v) for k, v in head.items())
