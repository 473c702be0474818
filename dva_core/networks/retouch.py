"""What edits do to the pixels of a face themselves: where they move to, and how much of the skin's texture stays.

Not in Kim et al. 2023. A mouth that smiles is moved, and a younger face has smoother skin: both are done to the frame's own pixels (see
faces/retouch.py), which no decoded crop is as sharp as. The maps are in the coordinates of the mean face, as the patterns of a
`FaceTexture` are, and are placed by the same landmarks.
"""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dva_core.networks.texture import FaceTexture, affine_to_mean
from dva_core.networks.unet_blocks import zero_weights

PARTS = 3  # shift right, shift down, smoothing
TEETH = (0.55, 0.75)  # of an expression, between which the lips part
PARTED = 2.0  # of `FaceRetouch.closed`: decoded crops show the pattern, in frames the lips themselves part


class FaceRetouch(nn.Module):
    """Amounts of the patterns of a texture -> the shift of each pixel and the smoothing of the skin, from maps of `size` x `size` texels.

    A pixel p becomes what is at p + shift; shifts are in widths of the crop. Smoothing 1 takes all of the skin's texture away, -1 doubles
    it. `closed` is 1 for the patterns that are drawn on closed mouths only: teeth, for those of a mouth that talks are seen themselves. It
    is PARTED for those that are not drawn, as the frame's own lips part instead (see faces/opening.py).
    `rigid` is 1 for those of what is worn, which does not bend with the face. All of it is fitted, not trained (train/fit_texture.py).
    """

    def __init__(self, rank: int, size: int, operations: ModuleType | type = nn) -> None:
        super().__init__()
        self.size = size
        self.patterns = zero_weights(operations.Linear(rank, PARTS * size**2, bias=False))
        self.closed = zero_weights(operations.Linear(1, rank, bias=False))
        self.rigid = zero_weights(operations.Linear(1, rank, bias=False))

    def on_mouths(self, z_face: Tensor, edit: Tensor, amounts: Tensor, closed: Tensor) -> tuple[Tensor, Tensor]:
        """What an edit draws, `edit` [B, rank], without teeth on mouths that are not closed [B], 0..1, or that smile little.

        And how far the lips part [B], 0..1. amounts [B, rank]: of `FaceTexture.read_edit`; z_face [B, F]: of these faces.
        """
        teeth = closed[:, None] * ((amounts - TEETH[0]) / (TEETH[1] - TEETH[0])).clamp(0, 1)
        of_closed = self.closed(z_face.new_ones(1, 1)).float()
        part = (of_closed == PARTED).float()
        return edit + of_closed.clamp(max=1) * ((1 - part) * teeth - edit), (part * teeth).amax(1)

    def forward(self, texture: FaceTexture, z_face: Tensor, amounts: Tensor, size: int) -> Tensor:
        """Place the maps on faces with the landmarks that `texture` reads from z_face [B, F]; amounts [B, rank] in -1..1.

        Returns float32 [B, 3, size, size]: shift right and down, smoothing in -1..1.
        """
        maps = self.patterns(amounts.to(z_face.dtype)).reshape(-1, PARTS, self.size, self.size).float()
        points, mean = texture.landmarks(z_face)
        placed = F.grid_sample(maps, texture.coordinates(points, mean, size), align_corners=False)  # 0 outside of it
        matrix, _ = affine_to_mean(points, mean)  # a shift on the mean face is the shift here @ matrix
        (a, b), (c, d) = (row.unbind(1) for row in matrix.unbind(1))
        determinant = a * d - b * c
        inverse = torch.stack([d, -b, -c, a], 1).reshape(-1, 2, 2) / determinant[:, None, None]
        shift = torch.einsum("bihw,bij->bjhw", placed[:, :2], inverse)
        return torch.cat([shift, placed[:, 2:].clamp(-1, 1)], 1)
