"""The diffusion video autoencoder (Kim et al. 2023): encoders, fusion layer and noise predictor as one model."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from dva_core.diffusion.schedule import Schedule
from dva_core.errors import DVAError
from dva_core.hosts.devices import choose_dtype, exactly, to_device
from dva_core.hosts.plain import PlainHost
from dva_core.model.evaluation import ThreadedEvaluation, activation_bytes
from dva_core.networks import build_network
from dva_core.networks.bisenet import face_area
from dva_core.networks.hull import hull_mask
from dva_core.networks.parser import parts_of

JAW, POINTS = 17, 51  # of the 68 landmarks the first 17, which the motion vector leaves out, and the rest
REGION_SIZE = 32  # of a region's map
FROZEN = ("identity_encoder", "motion_encoder", "face_parser", "detector", "landmarks")
SAME_AS_MOTION, HULL = "motion_encoder", "landmark_hull"  # types of `landmarks` and `face_parser` that need no network of their own
PARTS_PARSER = "compact_parser"  # type of a `face_parser` that also segments what is in front of the face
HULL_GROWTH = 1.15  # in training, where hair and ears belong to the face too


def network_or_none(config: dict[str, Any] | None, without: str, operations: ModuleType | type) -> nn.Module | None:
    """The network of `config`, or None without a configuration or if its type is `without`."""
    return None if config is None or config.get("type") == without else build_network(config, operations)


def attribute_buffers(config: dict[str, Any]) -> nn.Module:
    """Empty `identity.{weight, bias, mean, std[, direction][, step]}` and `motion.shift`, with a row for each attribute of the space."""
    spaces = [attribute["space"] for attribute in config.get("attributes") or ()]
    rows, dim = spaces.count("identity"), config["identity_dim"]
    shapes = {
        "identity": {"weight": (rows, dim), "bias": (rows,), "mean": (dim,), "std": (dim,)},
        "motion": {"shift": (spaces.count("motion"), config["motion_dim"])},
    }
    if config.get("identity_directions"):  # directions of edits, if they are not the classifiers' weights
        shapes["identity"]["direction"] = shapes["identity"]["weight"]
    if config.get("identity_steps"):  # steps at scale 1, if computed from pairs
        shapes["identity"]["step"] = shapes["identity"]["weight"]
    if config.get("motion_components"):  # main components of real landmark motion, if the bundle has them
        shapes["motion"]["components"] = (config["motion_components"], config["motion_dim"])
    attributes = nn.Module()
    for space, tensors in shapes.items():
        if space in spaces:
            part = nn.Module()
            for name, shape in tensors.items():
                part.register_buffer(name, torch.zeros(shape))
            attributes.add_module(space, part)
    return attributes


def region_buffers(config: dict[str, Any]) -> nn.Module:
    """Empty `maps` and `landmarks` for the regions that the configuration lists (see faces.regions); nothing if it lists none."""
    regions = nn.Module()
    if count := len(config.get("regions") or ()):
        regions.register_buffer("maps", torch.zeros(count, REGION_SIZE, REGION_SIZE))
        regions.register_buffer("landmarks", torch.zeros(JAW + POINTS, 2))
    return regions


class DiffusionVideoAutoencoder(nn.Module):
    """The model of a bundle's configuration (the published one or the starter), with untrained weights.

    Images are RGB in [-1, 1], [B, 3, H, W]; encoders take square crops of any size. The encoders are frozen. Every network is
    evaluated through `host`, which moves it to its device. `operations` supplies the noise predictor's layers.
    Raises DVAError for a configuration whose parts do not fit together.
    """

    def __init__(self, config: dict[str, Any], operations: ModuleType | type = nn) -> None:
        super().__init__()
        self.config = config
        self.image_size, self.crop_size = config["image_size"], config["crop_size"]
        self.identity_dim, self.motion_dim, self.face_dim = config["identity_dim"], config["motion_dim"], config["face_dim"]
        self.schedule = Schedule(**config["diffusion"])
        self.host: Any = PlainHost("cpu")
        self.evaluate: Any = ThreadedEvaluation()
        self.fingerprint = ""
        self.path: Path | None = None  # the file it was loaded from

        self.noise_predictor = build_network(config["noise_predictor"], operations)
        self.fusion = nn.Linear(self.identity_dim + self.motion_dim, self.face_dim)
        self.identity_encoder = build_network(config["identity_encoder"])
        self.motion_encoder = build_network(config["motion_encoder"])
        self.face_parser = network_or_none(config.get("face_parser"), HULL, nn)
        self.detector = network_or_none(config.get("detector"), "", nn)
        self.landmarks = network_or_none(config.get("landmarks"), SAME_AS_MOTION, nn)
        self.attributes, self.regions = attribute_buffers(config), region_buffers(config)
        for part in self.frozen():
            part.requires_grad_(False).eval()

        channels = getattr(self.noise_predictor, "condition_channels", self.face_dim)
        if channels != self.face_dim:
            raise DVAError(f"The noise predictor takes {channels} condition channels and face_dim is {self.face_dim}; make them equal.")

    @property
    def motion_window(self) -> tuple[float, float]:
        """The part of the crop that the motion encoder sees: (start, end) in 0..1, for both axes."""
        return getattr(self.motion_encoder, "window", (0.0, 1.0))

    def frozen(self) -> list[nn.Module]:
        """The parts that are never trained."""
        return [part for name in FROZEN if (part := getattr(self, name)) is not None]

    def train(self, mode: bool = True) -> DiffusionVideoAutoencoder:
        """As `nn.Module.train`, but the frozen parts stay in evaluation mode."""
        super().train(mode)
        for part in self.frozen():
            part.eval()
        return self

    def to(self, *args: Any, **kwargs: Any) -> DiffusionVideoAutoencoder:
        """As `nn.Module.to`, through the host: `device` for all networks, `dtype` for the noise predictor (the others stay float32).

        Raises DVAError for a device that this machine lacks, a precision other than float32, float16 and bfloat16, and if a host program
        manages both.
        """
        device, dtype, _, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        if memory_format is not None:
            super().to(memory_format=memory_format)
        if dtype is not None:
            choose_dtype(dtype)
        if device is not None or dtype is not None:
            self.host.place(self.noise_predictor, device, dtype)
        if dtype is not None:
            for name, part in self.named_children():
                part.to(dtype if name == "noise_predictor" else torch.float32)
        return self if device is None else super().to(self.host.device)

    def cpu(self) -> DiffusionVideoAutoencoder:
        return self.to("cpu")

    def cuda(self, device: int | torch.device | None = None) -> DiffusionVideoAutoencoder:
        return self.to(torch.device("cuda", device) if isinstance(device, int) else device or "cuda")

    def float(self) -> DiffusionVideoAutoencoder:
        return self.to(torch.float32)

    def half(self) -> DiffusionVideoAutoencoder:
        return self.to(torch.float16)

    def bfloat16(self) -> DiffusionVideoAutoencoder:
        return self.to(torch.bfloat16)

    def double(self) -> DiffusionVideoAutoencoder:
        return self.to(torch.float64)

    def run(self, name: str, *inputs: Tensor, dtype: torch.dtype = torch.float32) -> Any:
        """Evaluate the part called `name` on `inputs`, on the host's device, in `dtype` (integers keep theirs).

        Raises DVAError where this model has no such part.
        """
        part = getattr(self, name)
        if part is None:
            raise DVAError(f"This model has no {name.replace('_', ' ')} of its own; load one that has, such as the starter.")
        device = self.host.use(name, part, activation_bytes(part, inputs[0], dtype, self.host.device))
        return part(*move_inputs(inputs, device, dtype))

    @torch.no_grad()
    def encode_identity(self, images: Tensor) -> Tensor:
        """Encode the identity z_id: images [B, 3, S, S] in [-1, 1] -> [B, identity_dim], unit length (Kim et al. 2023, sec. 3.2)."""
        return self.run("identity_encoder", images)

    @torch.no_grad()
    def encode_motion(self, images: Tensor) -> Tensor:
        """Encode the motion z_lnd: images [B, 3, S, S] in [-1, 1] -> [B, motion_dim], x0, y0, x1, ... of 51 landmarks (sec. 3.2).

        In 0..1 of what the motion encoder sees: the whole crop, or the published one's centre window.
        """
        return self.run("motion_encoder", images)[:, JAW:].flatten(1)

    @torch.no_grad()
    def encode_landmarks(self, images: Tensor) -> Tensor:
        """The motion encoder's 68 landmarks: images [B, 3, S, S] in [-1, 1] -> [B, 68, 2], (x, y) in 0..1 of the crop."""
        start, end = self.motion_window
        return start + (end - start) * self.run("motion_encoder", images)

    @torch.no_grad()
    def track_landmarks(self, images: Tensor) -> Tensor:
        """As `encode_landmarks`, by the network for tracking in frames. Raises DVAError if this model has none."""
        if (self.config.get("landmarks") or {}).get("type") == SAME_AS_MOTION:
            return self.encode_landmarks(images)
        return self.run("landmarks", images)

    @torch.no_grad()
    def encode_crops(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z_id, z_lnd and face mask of images [B, 3, S, S] in [-1, 1], as by `encode_identity`, `encode_motion` and `face_mask`.

        The masks of a model whose `tells_front` is true are [B, 3, S, S]: the parts of `face_parts`, and the hull of the landmarks.
        """
        return self.end_crops(images.shape[-1], *self.begin_crops(images))

    @torch.no_grad()
    def begin_crops(self, images: Tensor) -> tuple[Tensor, ...]:
        """The networks' part of `encode_crops`, for which no device is waited for; `end_crops` takes what it returns.

        z_id [B, D], the motion encoder's landmarks [B, 68, 2], and, of a model with a face parser, its masks [B, 1 or 2, S, S].
        """
        outputs = self.encode_identity(images), self.run("motion_encoder", images)
        if self.face_parser is None:
            return outputs
        return *outputs, self.face_parts(images) if self.tells_front else self.face_mask(images)

    def end_crops(self, size: int, z_id: Tensor, points: Tensor, parsed: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The results of `encode_crops` for crops of `size` pixels from those of `begin_crops`, on any device; OpenCV draws the hulls."""
        z_motion = points[:, JAW:].flatten(1)
        if parsed is not None and not self.tells_front:
            return z_id, z_motion, parsed
        start, end = self.motion_window
        hull = hull_mask(start + (end - start) * points, size)
        return z_id, z_motion, hull if parsed is None else torch.cat([parsed, hull], 1)

    def fuse(self, z_id: Tensor, z_motion: Tensor) -> Tensor:
        """z_face = linear([z_id ; z_motion]): z_id [B, D], or [1, D] or [D] for all frames; z_motion [B, M] -> [B, face_dim] (sec. 3.2)."""
        return self.run("fusion", torch.cat([z_id.to(z_motion).expand(len(z_motion), -1), z_motion], dim=1))

    def face_conditions(self, z_face: Tensor) -> tuple[Tensor, ...]:
        """Precompute the noise predictor's conditioning on z_face [B, face_dim], the same at every timestep; see `predict_noise`."""
        return self.noise_predictor.face_conditions(*self.to_noise_predictor(z_face))

    def predict_noise(self, x_t: Tensor, t: Tensor, z_face: Tensor | tuple[Tensor, ...]) -> Tensor:
        """Predict the noise eps_theta: x_t [B, 3, H, W], t [B] in 0..999, z_face [B, face_dim] -> [B, 3, H, W] in x_t's precision.

        Instead of z_face it also takes its `face_conditions`, which are then not computed again for every step.
        """
        network, dtype = self.noise_predictor, self.host.dtype
        device = self.host.use("noise_predictor", network, activation_bytes(network, x_t, dtype, self.host.device))
        with exactly(device, dtype):
            output = self.evaluate(network, *move_inputs((x_t, t, z_face), device, dtype))
        return self.schedule.as_noise(output, x_t.to(output.device), t)

    @property
    def draws(self) -> bool:
        """Whether the noise predictor has a texture of the face, see `drawings`."""
        return getattr(self.noise_predictor, "texture", None) is not None

    @property
    def retouches(self) -> bool:
        """Whether the noise predictor has a retouch, so that edits move the face's own pixels."""
        return getattr(self.noise_predictor, "retouch", None) is not None

    def to_noise_predictor(self, *z_faces: Tensor) -> tuple[Tensor, ...]:
        """Bring z_face [B, face_dim] to the noise predictor's device and precision, and its weights to the device."""
        room = activation_bytes(self.noise_predictor, z_faces[0], self.host.dtype, self.host.device)  # for the batch that is evaluated next
        device = self.host.use("noise_predictor", self.noise_predictor, room)
        return tuple(z_face.to(device, self.host.dtype) for z_face in z_faces)

    @torch.no_grad()
    def change_of_rest(self, z_face: Tensor, before: Tensor) -> Tensor:
        """How far an edit changes what is not drawn: z_face after and before it [B, face_dim] -> [B], 0 not at all, 1. See `drawings`."""
        return self.noise_predictor.texture_rest.change(*self.to_noise_predictor(z_face - before, before))

    @torch.no_grad()
    def drawings(
        self, z_face: Tensor, before: Tensor, where: Tensor, size: int, switched: bool = False, closed: Tensor | None = None
    ) -> tuple[Tensor, ...] | None:
        """What an edit draws on faces: z_face after and before it [B, face_dim] -> the drawing in decoded crops, the drawing, the rest.

        A drawing changes a pixel x of the crop, in [-1, 1], by A + B x: the first three of 6 channels are A in red, green and blue, the
        others B, float32. In decoded crops [B, 6, S, S] it is the difference of the noise predictor's textures. The drawing itself
        [B, 6, F, F], with F = `size` or as fine as the texture is, is what the edit asks for, whatever is read in the faces before, at
        the landmarks of `where` [B, face_dim], another z_face of the same faces.
        Teeth are drawn on mouths that are `closed` [B], 0..1, before the edit; None: on all.
        Last, if the network has one, the retouch [B, 3, R, R] of the faces' own pixels there (see `networks.retouch.FaceRetouch`), and how
        far their lips part to show teeth [B], 0..1.
        The rest [B] is 0 where the edit does nothing else, and else 1, as always if noise maps are `switched`. On a CPU None, at no cost,
        if nothing is drawn, and zeros for decoded crops where there is no rest. Only for a model that `draws`.
        """
        network = self.noise_predictor
        z_face, step, before, where = self.to_noise_predictor(z_face, z_face - before, before, where)
        device = z_face.device
        edit, amounts = network.texture_edit(step, before)
        if device.type == "cpu" and not amounts.any():  # elsewhere the device would have to be waited for
            return None
        retouch, rigid = (), None
        if network.retouch is not None:
            closed = edit.new_ones(len(edit)) if closed is None else to_device(closed, device).to(edit.dtype)
            edit, parted = network.retouch.on_mouths(where, edit, amounts, closed)
            retouch = (network.retouch(network.texture, where, amounts, self.image_size), parted)
            rigid = network.retouch.rigid(where.new_ones(1, 1)).float()
        fine = network.texture.place(where, edit, min(network.texture.finest, size), rigid)
        rest = edit.new_ones(len(edit)) if switched else network.texture_rest.change(step, before)
        if device.type == "cpu" and not rest.any():  # then what decoded crops show is not needed
            return fine.new_zeros(len(fine), fine.shape[1], self.image_size, self.image_size), fine, rest, *retouch
        shown = network.unfold_texture(network.texture_of(z_face).float() - network.texture_of(before).float())
        return shown, fine, rest, *retouch

    @property
    def tells_front(self) -> bool:
        """Whether the face parser also segments what is in front of the face, with soft masks."""
        return (self.config.get("face_parser") or {}).get("type") == PARTS_PARSER

    @torch.no_grad()
    def face_parts(self, images: Tensor) -> Tensor:
        """Share of each pixel that is visible face, and that is in front of it: images [B, 3, S, S] in [-1, 1] -> float32 [B, 2, S, S].

        Only for a model whose `tells_front` is true.
        """
        return parts_of(self.run("face_parser", images), images.shape[-1])

    @torch.no_grad()
    def face_mask(self, images: Tensor, for_video: bool = True) -> Tensor:
        """Segment the face: images [B, 3, S, S] in [-1, 1] -> float32 [B, 1, S, S] in {0, 1}, or in 0..1 where `tells_front` is true.

        `for_video` leaves out hair, ears and neck too, which pasting should not touch (Kim et al. 2023, appendix).
        """
        size = images.shape[-1]
        if self.tells_front and for_video:
            return self.face_parts(images)[:, :1]
        if self.face_parser is None or self.tells_front:
            return hull_mask(self.encode_landmarks(images), size, 1.0 if for_video else HULL_GROWTH)
        return face_area(self.run("face_parser", images), size, for_video)


def move_inputs(inputs: tuple[Any, ...], device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    """Move tensors, or tuples of tensors, to `device`, and floating-point ones to `dtype`."""
    return tuple(move_inputs(v, device, dtype) if isinstance(v, tuple) else move_tensor(v, device, dtype) for v in inputs)


def move_tensor(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Move `tensor` to `device`, and to `dtype` if it is floating-point."""
    dtype = dtype if tensor.is_floating_point() else tensor.dtype
    if tensor.device.type == "cpu" and device.type != "cpu":
        return to_device(tensor.to(dtype), device)
    return tensor.to(device, dtype)
