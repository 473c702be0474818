"""ComfyUI's prompt of a job: a graph of this pack's nodes, or the user's own workflow with its inputs set."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import DVAError
from ..faces.choice import is_people
from .fields import LARGEST
from .jobs import Job, Plan
from .masks import make_mask_files, mask_file

AUTO = "auto"
SAVER = "SaveVideo"
Prompt = dict[str, dict[str, Any]]


def read_workflow(path: Path) -> Prompt:
    """Read a workflow in API format that saves one video. DVAError for a missing file or another format."""
    try:
        workflow = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DVAError(f"The workflow {path} cannot be read ({type(error).__name__}); check the path.") from error
    except (ValueError, RecursionError) as error:
        raise DVAError(f"The workflow {path} is not valid JSON; save it anew from ComfyUI.") from error
    if isinstance(workflow, dict) and isinstance(workflow.get("nodes"), list):
        raise DVAError(f"The workflow {path} is as the page saves it; use ComfyUI's Export (API) instead.")
    nodes = list(workflow.values()) if isinstance(workflow, dict) else []
    if not nodes or not all(
        isinstance(n, dict) and isinstance(n.get("inputs"), dict) and isinstance(n.get("class_type"), str) for n in nodes
    ):
        raise DVAError(f"The workflow {path} is none in API format; use ComfyUI's Export (API).")
    savers = [key for key, node in workflow.items() if node["class_type"] == SAVER]
    if len(savers) != 1:
        raise DVAError(f"The workflow {path} has {len(savers)} nodes Save Video where one is needed; its video is the result.")
    if not any("file" in node["inputs"] and not isinstance(node["inputs"]["file"], list) for node in nodes):
        raise DVAError(f"The workflow {path} loads no video: no node has a `file` of its own; use Load Video (DVA) or Load Video.")
    return workflow


def fill_in(workflow: Prompt, inputs: Mapping[str, Any]) -> Prompt:
    """Set these values in all inputs of those names; linked inputs are not changed."""
    workflow = copy.deepcopy(workflow)
    for node in workflow.values():
        for name in inputs.keys() & node["inputs"].keys():
            if not isinstance(node["inputs"][name], list):
                node["inputs"][name] = inputs[name]
    return workflow


def files_of(plan: Plan, job: Job) -> list[Path]:
    """List the files that a server needs for a job: the video, a reference picture, masks, directions."""
    kind, _, picture = job.face.partition(":")
    masks = mask_file(plan, job)
    others = [*([Path(picture)] if kind == "reference" else []), *([] if masks is None else [masks])]
    return [job.video, *others, *(plan.place(name) for name in job.spec.directions)]


def saver_of(workflow: Prompt | None) -> str:
    """Find the node whose video is the result."""
    return "save" if workflow is None else next(key for key, node in workflow.items() if node["class_type"] == SAVER)


def make_prompt(plan: Plan, workflow: Prompt | None, job: Job, file_names: Mapping[Path, str], prefix: str) -> Prompt:
    """Make the graph of a job. `file_names`: names on the server of the files of `files_of`."""
    if workflow is not None:
        inputs = {"attributes": json.dumps(job.spec.attributes), **plan.manifest.inputs, **job.spec.inputs}
        inputs |= {"file": file_names[job.video], "filename_prefix": prefix}
        if not job.spec.attributes:
            inputs.pop("attributes")
        return fill_in(workflow, inputs)
    return graph(plan, job, file_names, prefix)


def graph(plan: Plan, job: Job, file_names: Mapping[Path, str], prefix: str) -> Prompt:
    """Make the graph that loads, encodes, edits, decodes and saves with the settings of the plan."""
    settings, spec = plan.settings, job.spec
    prompt: Prompt = {}

    def node(key: str, kind: str, **inputs: Any) -> list[Any]:
        prompt[key] = {"class_type": kind, "inputs": {name: value for name, value in inputs.items() if value is not None}}
        return [key, 0]

    model = node("model", "DVALoadModel", model=settings.model, precision=settings.precision)
    video = node(
        "video", "DVALoadVideo", file=file_names[job.video], start=settings.start, length=settings.length or 0.0, every=settings.every
    )
    people = job.face if is_people(job.face) else None
    kind, _, place = (LARGEST if people else job.face).partition(":")
    x, y = (float(part) for part in place.split(",")) if kind == "position" else (0.5, 0.5)
    reference = node("reference", "LoadImage", image=file_names[Path(place)]) if kind == "reference" else None
    decomposition = node(
        "encode",
        "DVAEncodeDecomposed",
        model=model,
        video=video,
        reference=reference,
        **encode_inputs(plan),
        face=kind,
        face_x=x,
        face_y=y,
        rate=25.0,
        max_images=1,
        people=people,
    )
    whom = job.whom or None
    if spec.text is not None:
        decomposition = node("text", "DVAEditIdentityCLIP", decomposition=decomposition, model=model, **text_inputs(spec.text), person=whom)
    if spec.attributes:
        scales = json.dumps(spec.attributes)
        decomposition = node(
            "edit",
            "DVAEditIdentityClassifier",
            decomposition=decomposition,
            model=model,
            attributes=scales,
            normalize=spec.normalize,
            person=whom,
        )
    for number, (name, scale) in enumerate(spec.directions.items()):
        direction = node(f"direction{number}", "DVALoadDirection", file=file_names[plan.place(name)])
        decomposition = node(
            f"apply{number}", "DVAApplyDirection", decomposition=decomposition, model=model, direction=direction, scale=scale, person=whom
        )
    keep, masks = None, mask_file(plan, job)
    if masks is not None and masks.suffix == ".png":
        keep = node("keep", "LoadImageMask", image=file_names[masks], channel="red")
    elif masks is not None:
        film = node("keep_video", "DVALoadVideo", file=file_names[masks], start=0.0, length=0.0, every=1)
        keep = node("keep", "ImageToMask", image=node("keep_frames", "GetVideoComponents", video=film), channel="red")
    look = plan.look(job)
    result = node(
        "decode",
        "DVADecodeDDIM",
        decomposition=decomposition,
        model=model,
        detail=settings.detail,
        quality=settings.quality,
        batch_size=settings.batch_size or 0,
        max_images=1,
        compare=False,
        guidance=look["guidance"] or 0.0,
        tone=look["tone"] or AUTO,
        region=look["region"] or AUTO,
        keep=keep,
    )
    node("save", SAVER, video=result, filename_prefix=prefix, format="auto", codec="auto")
    return prompt


def encode_inputs(plan: Plan) -> dict[str, Any]:
    """Settings as inputs of Encode Decomposed; missing ones take the defaults of `encode`."""
    from ..diffusion.solvers import SOLVER, STEPS

    settings = plan.settings
    return {
        "steps": settings.steps or STEPS,
        "solver": settings.solver or SOLVER,
        "power": settings.power or 0.0,
        "clamp": settings.clamp,
        "detector": settings.detector,
        "batch_size": settings.batch_size or 0,
        "max_frames": settings.max_frames or 0,
        **({"keep": True} if plan.manifest.keep_clips else {}),
    }


def text_inputs(text: Any) -> dict[str, Any]:
    """Inputs of Edit Identity (CLIP); missing ones take the defaults of the library."""
    from ..edit.text_model import DEFAULT
    from ..edit.text_settings import TextSettings

    names = ("images", "settle", "clip_weight", "identity_weight", "l1_weight", "learning_rate", "save_memory")
    return {
        "source": text.source,
        "target": text.target,
        "scale": text.scale,
        "clip_model": text.clip_model or DEFAULT,
        "frames": "0",
        "steps": text.iterations,
        "seed": text.seed,
        **{name: getattr(TextSettings, name) for name in names},
    }


def check_for_servers(plan: Plan) -> None:
    """Check that the nodes can do all edits (else DVAError), and write the masks to be uploaded.

    It imports the library, so call it before the event loop starts.
    """
    settings = plan.settings
    encode_inputs(plan)
    if settings.codec != "h264" or settings.compatible:
        raise DVAError("ComfyUI's Save Video writes h264 as it comes; leave out codec and compatible, or run the batch with --ray.")
    for name, edit in plan.manifest.all_edits():
        curves = [key for key, scale in edit.directions.items() if isinstance(scale, dict)]
        if curves or (edit.text is not None and isinstance(edit.text.scale, dict)):
            raise DVAError(f"The edit {name} has a direction or a text over time, which the graph does not do; use --ray or a workflow.")
    make_mask_files(plan)
