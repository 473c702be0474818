"""Identity directions freed of light: without this, much of what an edit does is to make the whole face darker or redder.

L_reg asks that the face come from z_face, and so its colour and light must too, though the identity is not meant to hold them.
Attributes go along with colour in the pictures (men's are darker), so their directions take it along. The model itself tells which way
that is: the gradient of the face's mean colour in the estimated image by z_id. Shifts of the motion are left as they are: taking colour
out of a smile bends it.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from dva_core.finder import to_images
from dva_core.networks.hull import hull_mask

TIMESTEPS = (300, 500, 700, 900)
PICTURES = 32


def tone_gradients(model, pictures: np.ndarray, seed: int = 0) -> np.ndarray:
    """Mean gradients of the face's red, green and blue by z_id: float64 [3, D].

    Of the image estimated at TIMESTEPS from noisy pictures; `pictures` uint8 [N, S, S, 3], PICTURES of which are used.
    """
    images = to_images(pictures[np.linspace(0, len(pictures) - 1, min(PICTURES, len(pictures))).astype(int)])
    size, generator, total = model.image_size, torch.Generator().manual_seed(seed), 0.0
    with torch.no_grad():
        z_id, z_motion = model.encode_identity(images), model.encode_motion(images)
        face = hull_mask(model.encode_landmarks(images), size)
        x_0 = F.interpolate(images, (size, size), mode="area")
    for timestep in TIMESTEPS:
        t = torch.full((len(images),), timestep)
        x_t = model.schedule.add_noise(x_0, t, torch.randn(x_0.shape, generator=generator))
        a, z = model.schedule.at(t, x_t), z_id.clone().requires_grad_(True)
        with torch.enable_grad():
            estimate = (x_t - (1 - a).sqrt() * model.predict_noise(x_t, t, model.fuse(z, z_motion))) / a.sqrt()
            tone = ((estimate * face).sum((2, 3)) / face.sum((2, 3)).clamp(min=1)).mean(0)
            rows = [torch.autograd.grad(colour, z, retain_graph=True)[0].sum(0) for colour in tone]
        total = total + torch.stack(rows).double().numpy()
    return total / len(TIMESTEPS)


def without_tone(steps: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """`steps` [K, D] changed as little as can be so that no `gradients` [3, D] sees them: s - s G^T (G G^T)^-1 G."""
    return steps - steps @ np.linalg.pinv(gradients) @ gradients
