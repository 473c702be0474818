"""Save Decomposition, Load Decomposition."""

from __future__ import annotations

import shutil
from pathlib import Path

from comfy_api.latest import io

from dva_core.decomposition import Decomposition, load_decomposition
from dva_core.decomposition.info import is_source
from dva_core.decomposition.people import AnyDecomposition, people_of, with_info
from dva_core.errors import DVAError
from dva_core.files import atomic_write

from . import folders, status
from .cache import cached
from .schema import check_texts, file_name_input, schema
from .types import CATEGORY, DecompositionType

USUAL_NAME = "dva/clip"


class SaveDecomposition(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVASaveDecomposition",
            display_name="Save Decomposition",
            category=CATEGORY,
            description="Saves a decomposition with its edits as one file in the output folder. The video itself is not in it; one that "
            "ComfyUI would delete (made of images, or in its temporary folder) is copied beside the file.",
            search_aliases=["cache", "save latent", "keep"],
            inputs=[
                DecompositionType.Input("decomposition", display_name="decomposition", tooltip="The decomposition to save."),
                file_name_input(USUAL_NAME),
            ],
            outputs=[io.String.Output("path", display_name="path", tooltip="The file that was written.")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, decomposition, filename_prefix: str) -> io.NodeOutput:
        path = folders.output_path(filename_prefix, ".safetensors", USUAL_NAME)
        try:
            copy, about = keep_source(decomposition, path.parent)
        except DVAError as error:
            copy, about = decomposition, f". {error}"
        copy.save(path)
        status.tell(cls.hidden.unique_id, f"Saved {path.name} ({path.stat().st_size / 1e6:.1f} MB){about}")
        return io.NodeOutput(str(path), ui={"text": [str(path)]})


def keep_source(decomposition: AnyDecomposition, folder: Path) -> tuple[AnyDecomposition, str]:
    """Copy a source that ComfyUI would delete to `folder`: the decomposition with that source, and a message about the copy."""
    source_path = Path(decomposition.info.source)
    if source_path.exists() and not folders.is_temporary(source_path):
        return decomposition, ""
    source = decomposition.find_source(cure="without it the decomposition cannot be decoded")
    copy = folder / decomposition.info.source_name
    if copy.exists() and not is_source(copy, decomposition.info.sha256):  # temporary files are numbered anew in every session
        copy = copy.with_name(f"{decomposition.info.sha256[:12]}_{copy.name}")
    if not copy.exists():
        try:
            with atomic_write(copy) as partial:
                shutil.copyfile(source, partial)
        except OSError as error:
            raise DVAError(f"The source cannot be kept as {copy} ({error.strerror}); make room there or choose another name.") from error
    return with_info(decomposition, source=str(copy)), f" and its source {copy.name} ({copy.stat().st_size / 1e6:.1f} MB)"


class LoadDecomposition(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVALoadDecomposition",
            display_name="Load Decomposition",
            category=CATEGORY,
            description="Loads a decomposition that was saved, with its edits. Its noise maps stay on disk until they are needed.",
            search_aliases=["cache", "load latent", "open"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=folders.saved_files(),
                    display_name="file",
                    tooltip="A file that Save Decomposition or `python -m dva_core encode` wrote, in the output or the input folder.",
                ),
            ],
            outputs=[DecompositionType.Output("decomposition", display_name="decomposition", tooltip="The decomposition with its edits.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return check_texts(lambda name: folders.listed_file(name, "decomposition"), file)

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None) -> float:
        return folders.modified_at(file, "decomposition")

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        decomposition = load_decomposition(folders.listed_file(file, "decomposition"))
        status.tell(
            cls.hidden.unique_id,
            "; ".join(describe(one) for one in people_of(decomposition)),
        )
        return io.NodeOutput(cached(decomposition))


def describe(one: Decomposition) -> str:
    """Describe one person's frames and edits."""
    who = f"person {one.info.who}: " if one.info.person else ""
    return f"{who}{one.faces} of {one.info.frames} frames with a face; {len(one.operations)} edits"
