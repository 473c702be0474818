"""The networks of a text edit, for computing gradients."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .differentiable import GRADIENT_MEMORY, Differentiable
from .text_model import ImageTextModel

IMAGE_TEXT = "text_edit_image_text"  # its name for the host


class TextNetworks(Differentiable):
    """The model's networks and the image-text model, which the host may release when the context ends."""

    def __init__(self, model, text_model: ImageTextModel) -> None:
        super().__init__(model)
        self.text_model = text_model

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.host.forget(IMAGE_TEXT)

    def images(self, images: Tensor) -> Tensor:
        """Features [n, E] of images [n, 3, H, W] in [-1, 1]."""
        self._use_text_model(len(images))
        return self.text_model.encode_images(images)

    def texts(self, texts: list[str]) -> Tensor:
        """Features [n, E] of texts, on the device."""
        self._use_text_model(len(texts))
        return self.text_model.encode_texts(texts).to(self.device)

    def _use_text_model(self, count: int) -> None:
        if isinstance(self.text_model, nn.Module):
            per_item = getattr(self.text_model, "activations_per_image", 2**24)
            self.host.use(IMAGE_TEXT, self.text_model, GRADIENT_MEMORY * count * per_item)
