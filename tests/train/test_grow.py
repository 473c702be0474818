"""A network for larger pictures that begins with the weights of a smaller one."""

import pytest
import torch

from dva_core.errors import DVAError
from dva_core.networks.unet import UNet
from dva_core.train.grow import spread_patches

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
