"""The nodes, one file for each stage of the graph. They call dva_core and compute nothing themselves."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import models
from .choose_faces import ChooseFaces
from .decode import DecodeDDIM
from .direction_files import LoadDirection, SaveDirection
from .directions import ApplyDirection, CombineDirections
from .edit_classifier import EditIdentityClassifier
from .edit_clip import EditIdentityCLIP
from .encode import EncodeDecomposed
from .evaluate import Evaluate
from .expression import EditExpression
from .files import LoadDecomposition, SaveDecomposition
from .load_model import LoadModel
from .load_video import LoadVideo
from .own_attribute import OwnAttribute
from .people import CombinePeople, SplitPeople
from .preview import PreviewEdit
from .routes import add_routes, register_replacements
from .sheet import Sheet
from .switch import SwitchFeatures

NODES = [
    LoadModel,
    LoadVideo,
    EncodeDecomposed,
    EditIdentityClassifier,
    SwitchFeatures,
    DecodeDDIM,
    SaveDecomposition,
    LoadDecomposition,
    EditExpression,
    OwnAttribute,
    Sheet,
    PreviewEdit,
    EditIdentityCLIP,
    SaveDirection,
    LoadDirection,
    ApplyDirection,
    CombineDirections,
    Evaluate,
    SplitPeople,
    CombinePeople,
    ChooseFaces,
]


REPLACEMENTS: list[dict] = []  # arguments of io.NodeReplace, for every node whose id has changed


class DVAExtension(ComfyExtension):
    """The pack's extension, which lists its nodes."""

    async def on_load(self) -> None:
        """Register replacements of old nodes; older hosts do not call this."""
        await register_replacements(REPLACEMENTS)

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        models.register_models_folder()
        add_routes()
        return NODES
