"""Save Decomposition, Load Decomposition."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from comfy_api.latest import io

from dva_core.decomposition import Decomposition
from dva_core.decomposition.info import is_source
from dva_core.errors import DVAError
from dva_core.files import replaced

from . import folders, status
from .cache import WeighedClip
from .schema import need_text, schema
from .types import CATEGORY, Clip

USUAL_NAME = "dva/clip"


class SaveDecomposition(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVASaveDecomposition",
            display_name="Save Decomposition",
            category=CATEGORY,
            description="Keeps a clip that was taken apart, with its edits, as one file in the output folder. The video itself is not "
            "in it; one that ComfyUI would throw away (of images, or from its temporary folder) is copied to the file's side.",
            search_aliases=["cache", "save latent", "keep"],
            inputs=[
                Clip.Input("decomposition", display_name="decomposition", tooltip="The clip to keep."),
                io.String.Input(
                    "filename_prefix",
                    default=USUAL_NAME,
                    display_name="file name",
                    tooltip="Name in the output folder, folders included; a number is added. May hold %year%, %month%, %day% and the like.",
                ),
            ],
            outputs=[io.String.Output("path", display_name="path", tooltip="The file that was written.")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, decomposition, filename_prefix: str) -> io.NodeOutput:
        path = folders.output_path(filename_prefix, ".safetensors", USUAL_NAME)
        try:
            kept, about = keep_source(decomposition, path.parent)
        except DVAError as error:
            kept, about = decomposition, f". {error}"
        kept.save(path)
        status.tell(cls.hidden.unique_id, f"Saved {path.name} ({path.stat().st_size / 1e6:.1f} MB){about}")
        return io.NodeOutput(str(path), ui={"text": [str(path)]})


def keep_source(clip: Decomposition, folder: Path) -> tuple[Decomposition, str]:
    """The clip with a copy of its source in `folder`, if a clip saved there would not find it later; and what to say of that."""
    recorded = Path(clip.info.source)
    if recorded.exists() and not folders.is_temporary(recorded):
        return clip, ""
    source = clip.find_source(cure="without it the clip cannot be decoded")
    kept = folder / clip.info.source_name
    if kept.exists() and not is_source(kept, clip.info.sha256):  # temporary files are numbered anew in every session
        kept = kept.with_name(f"{clip.info.sha256[:12]}_{kept.name}")
    if not kept.exists():
        try:
            with replaced(kept) as partial:
                shutil.copyfile(source, partial)
        except OSError as error:
            raise DVAError(f"The source cannot be kept as {kept} ({error.strerror}); make room there or choose another name.") from error
    return replace(clip, info=replace(clip.info, source=str(kept))), f" and its source {kept.name} ({kept.stat().st_size / 1e6:.1f} MB)"


class LoadDecomposition(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVALoadDecomposition",
            display_name="Load Decomposition",
            category=CATEGORY,
            description="Opens a clip that was saved, with its edits. Its noise maps stay on disk until they are needed.",
            search_aliases=["cache", "load latent", "open"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=folders.saved_files(),
                    display_name="file",
                    tooltip="A file that Save Decomposition or `python -m dva_core encode` wrote, in the output or the input folder.",
                ),
            ],
            outputs=[Clip.Output("decomposition", display_name="decomposition", tooltip="The clip as it was saved, edits included.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        try:
            need_text(file)
            return file is None or bool(folders.chosen_file(file, "decomposed clip"))
        except DVAError as error:
            return str(error)

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None) -> float:
        return folders.changed_at(file, "decomposed clip")

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        clip = Decomposition.load(folders.chosen_file(file, "decomposed clip"))
        status.tell(cls.hidden.unique_id, f"{clip.faces} of {clip.info.frames} frames with a face; {len(clip.operations)} edits")
        return io.NodeOutput(WeighedClip.of(clip))
