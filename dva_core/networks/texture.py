"""Textures in the coordinates of the face, placed in the image by its landmarks, so that z_face acts at exact places of the face.

Not in Kim et al. 2023. There z_face scales and shifts whole channels, so that the network itself must find the place of a rim or a lip.
z_face is a linear function of the identity and the landmarks (sec. 3.2), so a linear layer reads the landmarks from it. What the texture
shows is blended into the estimate of x_0 at each timestep: x_0 + A + B x_0, with A = alpha colour and B = -alpha for a drawing of that
colour.
"""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dva_core.networks.unet_blocks import zero_weights

LANDMARKS = 51
CHANNELS = 6  # A and B in red, green and blue
BOX = (0.125, 0.21875, 0.75)  # left, top and side of the square of the mean face that a texture covers, in 0..1 of the crop
SOFT, FALL = 0.03, 2.0  # of the weight (d^2 + SOFT^2)^-FALL of a landmark at distance d, in 0..1 of the crop
RIGID = slice(10, 31)  # landmarks that move with the head only: nose and eyes
TIP, EYES = 13, slice(19, 31)  # of the nose, and both eyes, six each
HINGE, EAR = 1.07, 1.25  # where the temples of glasses begin and end on a frontal face: from its middle, in distances of the eyes
NOSE_DEPTH, HEAD_DEPTH = 0.65, 1.35  # of the tip of the nose before the eyes, and of the ears behind the hinges, the same unit
WRAP = 0.3  # depth of glasses at a distance of the eyes from their middle, by its square: they follow the face
MOST_TURN = 1.0  # tangent of the turn of a head; landmarks that say more are wrong
LEAST_TEMPLE = 0.02  # of its length on a frontal face; a shorter one is not seen
DARKEST = 0.18  # of the light of what lies under shades
LEAST_LENGTH = 1e-3
LEAST_SPREAD = 1e-6  # of landmarks, so that points in one place have a transform too
MAP_SIZE = 64  # pixels of the map of coordinates, which is smooth and then enlarged
NOTHING, ALL = 0.3, 0.8  # of a reading: faces read up to .3 by chance
LEAST_EDIT, WHOLE_EDIT = 0.1, 1.1  # of what an edit changes a reading of the identity by, between which it is drawn more and more
LEAST_MOTION = 0.05  # of an expression, that does not move a pixel: rounding, and what another expression has of it
WHOLE_MOTION = 0.5  # the same of the motion: landmarks moved half way show half an expression, but teeth are never half there
USUAL_LENGTH = 0.54  # of the remainder of an identity, whose own length is 1
SAME, OTHER = 0.025, 0.06  # relative changes of the remainder of z_face: by rounding, bfloat16 up to .015, and by an edit that is not drawn
LEAST_SEEN = 0.05  # of what lies under a drawing, so that it can be divided by
PIECE = 4  # images whose map is computed at once, except in training: a map takes more memory than the rest of the network


def affine_to_mean(points: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Least-squares affine transform from landmarks to the mean face: points, mean [B, N, 2] -> matrix [B, 2, 2], offset [B, 1, 2]."""
    centre, mean_centre = points.mean(1, keepdim=True), mean.mean(1, keepdim=True)
    (x, y), to = (points - centre).unbind(2), mean - mean_centre
    xx, yy, xy = (x * x).mean(1) + LEAST_SPREAD, (y * y).mean(1) + LEAST_SPREAD, (x * y).mean(1)
    inverse = torch.stack([yy, -xy, -xy, xx], 1).reshape(-1, 2, 2) / (xx * yy - xy * xy)[:, None, None]
    covariance = torch.stack([(axis[..., None] * to).mean(1) for axis in (x, y)], 1)
    matrix = (inverse[..., None] * covariance[:, None]).sum(2)
    return matrix, mean_centre - transform(centre, matrix)


def transform(points: Tensor, matrix: Tensor) -> Tensor:
    """points [B, N, 2] @ matrix [B, 2, 2], in the precision of the points also under autocast."""
    return (points[..., None] * matrix[:, None]).sum(2)


def face_coordinates(points: Tensor, mean: Tensor, size: int) -> Tensor:
    """Place of each pixel in the mean face: landmarks and mean face [B, N, 2] in 0..1 of the crop -> [B, 2, size, size], x and y in 0..1.

    An affine transform of the whole face, and the displacements that it leaves at the landmarks, interpolated by inverse distances
    (Shepard 1968).
    """
    at = (torch.arange(size, device=points.device, dtype=points.dtype) + 0.5) / size
    matrix, offset = affine_to_mean(points, mean)
    left_over = mean - transform(points, matrix) - offset
    across, down = ((at[:, None] - axis[:, None]).square() for axis in points.unbind(2))  # [B, size, N]
    weights = (across[:, None] + down[:, :, None] + SOFT**2).pow(-FALL)
    weights = weights / weights.sum(3, keepdim=True)
    places = []
    for axis in range(2):
        of_face = at * matrix[:, 0, axis, None, None] + at[:, None] * matrix[:, 1, axis, None, None] + offset[:, :, axis, None]
        places.append(of_face + (weights * left_over[:, None, None, :, axis]).sum(3))
    return torch.stack(places, 1)


def rigid_coordinates(points: Tensor, mean: Tensor, size: int) -> Tensor:
    """As `face_coordinates`, by the affine transform of nose and eyes alone, and by the depth of glasses on a turned head."""
    at = (torch.arange(size, device=points.device, dtype=points.dtype) + 0.5) / size
    matrix, offset = affine_to_mean(points[:, RIGID], mean[:, RIGID])
    across, down = at.expand(size, size), at[:, None].expand(size, size)
    places = transform(torch.stack([across, down], -1).reshape(1, -1, 2).expand(len(points), -1, -1), matrix) + offset
    x, y = places.movedim(1, 2).reshape(len(points), 2, size, size).unbind(1)
    return torch.stack([on_glasses(x, points, mean), y], 1)


def on_glasses(x: Tensor, points: Tensor, mean: Tensor) -> Tensor:
    """x [B, size, size] on the mean face becomes x on glasses that a turned head wears: their near half is wider, with a longer temple.

    What lies deeper shows by its depth times the tangent of the turn more on the side that turns to the camera, and less on the other one;
    the tangent is that of the tip of the nose before the eyes. points, mean [B, 51, 2].
    """
    middle, unit, straight = eyes_and_nose(mean)
    beside = (x - middle[:, 0, None, None]) / unit[:, None, None]
    turn = ((eyes_and_nose(points)[2] - straight) / NOSE_DEPTH).clamp(-MOST_TURN, MOST_TURN)
    nearer = -beside.sign() * turn[:, None, None]  # the tangent, less than 0 on the far side
    length = (1 + HEAD_DEPTH / (EAR - HINGE) * nearer).clamp(min=LEAST_TEMPLE)
    hinge = HINGE + WRAP * HINGE**2 * nearer  # where it is seen
    rims, beyond = torch.minimum(beside.abs(), hinge), (beside.abs() - hinge).clamp(min=0)
    along = rims + (HINGE / hinge - 1) / hinge * rims.square() + beyond / length
    return middle[:, 0, None, None] + beside.sign() * along * unit[:, None, None]


def eyes_and_nose(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The middle of the eyes [B, 2], their distance [B], and how far the tip of the nose is to the right of it, in distances [B]."""
    left, right = points[:, EYES].unflatten(1, (2, 6)).mean(2).unbind(1)
    across, middle = right - left, (left + right) / 2
    distance = across.norm(dim=1).clamp(min=LEAST_LENGTH)
    return middle, distance, ((points[:, TIP] - middle) * across).sum(1) / distance.square()


def opaque_at_most(placed: Tensor) -> Tensor:
    """A and B [B, 6, S, S] of patterns that lie over each other, not more than opaque."""
    opacity = -placed[:, CHANNELS // 2 :]
    return placed / torch.cat([opacity, opacity], 1).clamp(min=1)


def not_black(placed: Tensor) -> Tensor:
    """A and B [B, 6, S, S] of which shades that lie over each other, as a beard and a moustache, leave a face DARKEST of its light.

    A pixel's light x + 1 becomes (1 + B) (x + 1) + A - B: what has a light of its own, as teeth, may cover all.
    """
    addition, factor = placed.chunk(2, dim=1)
    own = addition - factor
    factor = torch.maximum(factor, DARKEST * (1 - own / DARKEST).clamp(0, 1) - 1)
    return torch.cat([factor + own, factor], 1)


class FaceTexture(nn.Module):
    """z_face [B, F] -> A and B in the places of the landmarks, [B, 6 p^2, S / p, S / p] for patches of p pixels: the channels of A first.

    They are sums of `rank` patterns of `size` x `size` texels, 0 initially. `weights` reads from z_face how much of each is meant: up to
    NOTHING it is not shown, from ALL on whole, so that people without it are not changed and an edit does not flicker. Its first `rank`
    values are of the identity and are divided by the length that FaceRemainder finds in it, the other `rank` are added: an edit that
    restores the identity's length so leaves the readings of all other patterns as they are. `points` reads the
    displacements of the landmarks from z_face, `mean` holds the landmarks of the mean face. All of it is fitted, not trained
    (train/fit_texture.py). The motion encoder must see the whole crop. Coordinates are computed in float32, as half precision is up to
    half a pixel off.
    """

    def __init__(
        self, condition_channels: int, rank: int, size: int, image_size: int, patch_size: int, operations: ModuleType | type = nn
    ) -> None:
        super().__init__()
        self.size, self.image_size, self.patch_size = size, image_size, patch_size
        self.points = operations.Linear(condition_channels, 2 * LANDMARKS)
        self.mean = operations.Linear(1, 2 * LANDMARKS, bias=False)
        self.weights = operations.Linear(condition_channels, 2 * rank)
        self.patterns = zero_weights(operations.Linear(rank, CHANNELS * size**2))

    @property
    def finest(self) -> int:
        """Pixels of a crop that show each texel once."""
        return round(self.size / BOX[2])

    def landmarks(self, z_face: Tensor) -> tuple[Tensor, Tensor]:
        """The landmarks of z_face [B, F] and of the mean face, float32 [B, 51, 2] each, in 0..1 of the crop."""
        mean = self.mean(z_face.new_ones(len(z_face), 1)).float().reshape(-1, LANDMARKS, 2)
        return mean + self.points(z_face).float().reshape(-1, LANDMARKS, 2), mean

    def coordinates(self, points: Tensor, mean: Tensor, size: int, rigid: bool = False) -> Tensor:
        """Place of each of size x size pixels in the texture: landmarks and those of the mean face [B, 51, 2] -> [B, size, size, 2].

        -1..1 within the texture. `rigid`: of what is worn, which follows the head, and not brows and lips.
        """
        at = (rigid_coordinates if rigid else face_coordinates)(points, mean, min(MAP_SIZE, size))
        left, top, side = BOX
        at = torch.stack([at[:, 0] - left, at[:, 1] - top], 1) * (2 / side) - 1
        return F.interpolate(at, (size, size), mode="bilinear").movedim(1, -1)

    def read_edit(self, step: Tensor, after_length: Tensor, before: Tensor, before_length: Tensor) -> tuple[Tensor, Tensor]:
        """How much of each pattern an edit by `step` adds to z_face `before`, [B, F] each: [B, rank] in 0..1, the same for all faces.

        And the amounts [B, rank] in -1..1 by which a `FaceRetouch` moves the face: the same of the identity, but of the motion as far as it
        moves the landmarks.
        In parts of the identity before the edit, as a step of an edit is the same for all; lengths [B, 1] as of `forward`. The step is read
        by itself, for in half precision the difference of two readings would be off by as much as a small edit.
        """
        added, added_motion = linear_change(self.weights, step).chunk(2, dim=1)
        own = self.weights(before).float().chunk(2, dim=1)[0]
        of_identity = ((own + added) / after_length - own / before_length) * before_length / USUAL_LENGTH
        drawn, drawn_motion = (
            ((change - LEAST_EDIT) / (whole - LEAST_EDIT)).clamp(0, 1)
            for change, whole in ((of_identity, WHOLE_EDIT), (added_motion, WHOLE_MOTION))
        )
        moved = added_motion.sign() * ((added_motion.abs() - LEAST_MOTION) / (1 - LEAST_MOTION)).clamp(min=0)
        return (drawn + drawn_motion).clamp(max=1), (drawn + moved).clamp(-1, 1)

    def place(self, z_face: Tensor, meant: Tensor, size: int, rigid: Tensor | None = None) -> Tensor:
        """Place `meant` [B, rank], 0..1, of the patterns: A and B of size x size pixels of the crop, float32 [B, 6, size, size].

        rigid [1, rank]: 1 for patterns of what is worn, else 0.
        """
        if rigid is None:
            return opaque_at_most(self.lay(z_face, meant, size))
        laid = []
        for part, worn in ((meant * (1 - rigid), False), (meant * rigid, True)):
            if part.device.type != "cpu" or part.any():
                layer = opaque_at_most(self.lay(z_face, part, size, worn))
                laid.append(layer if worn else not_black(layer))
        if not laid:
            return z_face.new_zeros(len(z_face), CHANNELS, size, size).float()
        if len(laid) == 1:
            return laid[0]
        (addition, factor), (of_worn, factor_of_worn) = (layer.chunk(2, dim=1) for layer in laid)  # the second covers the first
        return torch.cat([of_worn + (1 + factor_of_worn) * addition, (1 + factor_of_worn) * (1 + factor) - 1], 1)

    def lay(self, z_face: Tensor, meant: Tensor, size: int, rigid: bool = False) -> Tensor:
        """The sum of the patterns where they lie, as of `place`."""
        textures = self.patterns(meant.to(z_face.dtype)).reshape(-1, CHANNELS, self.size, self.size).float()
        points, mean = self.landmarks(z_face)
        finer = max(1, round(self.finest / (2 * size)))  # so that each texel is seen by a sample
        piece, pieces = len(points) if self.training else PIECE, []
        for texture, of_points, of_mean in zip(textures.split(piece), points.split(piece), mean.split(piece)):
            placed = F.grid_sample(texture, self.coordinates(of_points, of_mean, finer * size, rigid), align_corners=False)  # 0 outside
            pieces.append(F.avg_pool2d(placed, finer) if finer > 1 else placed)
        return torch.cat(pieces)

    def forward(self, z_face: Tensor, length: Tensor) -> Tensor:
        """z_face [B, F] and `FaceRemainder.length` of it [B, 1] -> A and B."""
        identity, others = self.weights(z_face).chunk(2, dim=1)
        meant = ((identity / length + others - NOTHING) / (ALL - NOTHING)).clamp(0, 1)
        return F.pixel_unshuffle(self.place(z_face, meant, self.image_size), self.patch_size).to(z_face.dtype)


class FaceRemainder(nn.Module):
    """z_face [B, F] without the steps of the identity that the texture shows, for the rest of the network, which would show them again.

    `identity` reads the identity without these steps, `others` what z_face says of anything else; a unit vector of the one goes back by
    `fusion`. Whatever the steps that an edit adds to an identity and however its length is restored, the result is the same.
    """

    def __init__(self, condition_channels: int, identity_channels: int, operations: ModuleType | type = nn) -> None:
        super().__init__()
        self.identity = operations.Linear(condition_channels, identity_channels)
        self.fusion = zero_weights(operations.Linear(identity_channels, condition_channels, bias=False))
        self.others = zero_weights(operations.Linear(condition_channels, condition_channels))
        if self.others.weight is not None:  # the layers of a host may be empty until a file is loaded
            nn.init.eye_(self.others.weight)  # initially all of z_face

    def forward(self, z_face: Tensor) -> Tensor:
        return self.others(z_face) + self.fusion(F.normalize(self.identity(z_face), dim=1))

    def identities(self, step: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """What is left of the identity after an edit by `step` and before it, float32, from z_face [B, F]."""
        own = self.identity(before).float()
        return own + linear_change(self.identity, step), own

    def change(self, step: Tensor, before: Tensor) -> Tensor:
        """Whether an edit by `step` changes z_face `before`, [B, F] each, for the rest of the network: [B], 0 if not, 1 if it does."""
        after, own = (F.normalize(identity, dim=1) for identity in self.identities(step, before))
        change = linear_change(self.others, step) + self.fusion((after - own).to(step.dtype)).float()
        relative = change.norm(dim=1) / self(before).float().norm(dim=1).clamp(min=LEAST_LENGTH)
        return ((relative - SAME) / (OTHER - SAME)).clamp(0, 1)

    def length(self, z_face: Tensor) -> Tensor:
        """Length [B, 1] of what is left of the identity."""
        return length_of(self.identity(z_face))


def length_of(vectors: Tensor) -> Tensor:
    """Lengths [B, 1] of vectors [B, V], not 0."""
    return vectors.norm(dim=1, keepdim=True).clamp(min=LEAST_LENGTH)


def linear_change(layer: nn.Module, step: Tensor) -> Tensor:
    """What a linear layer's output changes by, float32, as its input changes by `step` [B, F]."""
    return layer(step).float() - layer(torch.zeros_like(step[:1])).float()


class TextureBlend(nn.Module):
    """Blend a texture into the estimate of x_0 of a patch at each timestep, as far as x_t does not show it already.

    The estimate x shows a share s of it anyway, for x_t does: x = y + s (A + B y) of a picture y. It becomes y + A + B y =
    k x + (1 - s k) A with k = (1 + B) / (1 + s B): what is opaque (B = -1) is A at any s, so that nothing shines through it.

    In terms of the prediction, which with x_t gives the estimate, this takes four functions of t alone, fitted by train/fit_texture.py:
    out + g_1 (1 - s k) A + (k - 1) (g_2 x_t + g_3 out), and s.
    """

    def __init__(self, embedding_channels: int, operations: ModuleType | type = nn) -> None:
        super().__init__()
        self.gates = operations.Linear(embedding_channels, 4)

    def forward(self, out: Tensor, patches: Tensor, texture: Tensor, embedding: Tensor) -> Tensor:
        """out, patches [B, 3 p^2, H, W], texture [B, 6 p^2, H, W], embedding [B or 1, E] -> [B, 3 p^2, H, W]."""
        of_texture, of_image, of_out, shown = self.gates(F.silu(embedding)).float()[..., None, None].split(1, dim=1)
        addition, factor = texture.float().chunk(2, dim=1)
        kept = (1 + factor) / (1 + shown * factor).clamp(min=LEAST_SEEN)
        change = of_texture * (1 - shown * kept) * addition + (kept - 1) * (of_image * patches.float() + of_out * out.float())
        return out + change.to(out.dtype)  # in float32, as both parts of it are large where the noise is weak
