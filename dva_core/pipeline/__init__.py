"""Encoding, decoding, previews and contact sheets of whole videos."""

from __future__ import annotations

from .decoding import DETAILS, DecodeReport, decode, decode_crops
from .encoding import encode

__all__ = ["DETAILS", "DecodeReport", "decode", "decode_crops", "encode"]
