"""ComfyUI's prompt of a job: a graph of this pack's nodes, or the user's own workflow with its inputs set."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import DVAError
from ..faces.choice import is_people
from .fields import LARGEST
from .jobs import Job, Plan
from .masks import make_mask_files, mask_file

AUTO = "auto"
NAME_LENGTH = 40  # characters of a job's name in the server's name of its result; ComfyUI adds more
SAVER = "SaveVideo"
Prompt = dict[str, dict[str, Any]]
Link = list[Any]  # to an output: [node key, number]


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
        raise DVAError(f"The workflow {path} is not in API format; use ComfyUI's Export (API).")
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


def name_on_server(job: Job, prompt_id: str) -> str:
    """The prefix of the result's file on a server, which may run on another system; ComfyUI replaces what stands between %."""
    name = re.sub(r"[^\w .()+-]", "-", Path(job.name).name)[:NAME_LENGTH]
    return f"dva/{name}_{prompt_id[:8]}"


def make_prompt(plan: Plan, workflow: Prompt | None, job: Job, file_names: Mapping[Path, str], prefix: str) -> Prompt:
    """Make the graph of a job. `file_names`: names on the server of the files of `files_of`."""
    if workflow is not None:
        inputs = {"attributes": json.dumps(job.spec.attributes), **plan.manifest.inputs, **job.spec.inputs}
        inputs |= {"file": file_names[job.video], "filename_prefix": prefix}
        if not job.spec.attributes:
            inputs.pop("attributes")
        return fill_in(workflow, inputs)
    return graph(plan, job, file_names, prefix)


class Graph:
    """A prompt under construction: node key -> class and inputs. A node's output is the link [key, 0]."""

    def __init__(self, plan: Plan, job: Job, file_names: Mapping[Path, str]) -> None:
        self.plan, self.job, self.file_names = plan, job, file_names
        self.prompt: Prompt = {}

    def add(self, key: str, kind: str, **inputs: Any) -> Link:
        """Add a node, without the inputs that are None, and return the link to its output."""
        self.prompt[key] = {"class_type": kind, "inputs": {name: value for name, value in inputs.items() if value is not None}}
        return [key, 0]

    def load_video(self) -> Link:
        """Add the node that loads the selected part of the job's video."""
        part = self.plan.settings
        name = self.file_names[self.job.video]
        return self.add("video", "DVALoadVideo", file=name, start=part.start, length=part.length or 0.0, every=part.every)

    def encode(self, model: Link, video: Link) -> Link:
        """Add the nodes that encode the job's face, or its people."""
        people = self.job.face if is_people(self.job.face) else None
        kind, _, place = (LARGEST if people else self.job.face).partition(":")
        x, y = (float(part) for part in place.split(",")) if kind == "position" else (0.5, 0.5)
        picture = self.add("reference", "LoadImage", image=self.file_names[Path(place)]) if kind == "reference" else None
        face = {"reference": picture, "face": kind, "face_x": x, "face_y": y, "people": people}
        return self.add(
            "encode", "DVAEncodeDecomposed", model=model, video=video, rate=25.0, max_images=1, **encode_inputs(self.plan), **face
        )

    def edit(self, decomposition: Link, model: Link) -> Link:
        """Add a node for the text, the attributes and each direction of the job, in this order."""
        spec, person = self.job.spec, self.job.whom or None
        if spec.text is not None:
            inputs = text_inputs(spec.text)
            decomposition = self.add("text", "DVAEditIdentityCLIP", decomposition=decomposition, model=model, person=person, **inputs)
        if spec.attributes:
            inputs = {"attributes": json.dumps(spec.attributes), "normalize": spec.normalize, "person": person}
            decomposition = self.add("edit", "DVAEditIdentityClassifier", decomposition=decomposition, model=model, **inputs)
        for number, (name, scale) in enumerate(spec.directions.items()):
            direction = self.add(f"direction{number}", "DVALoadDirection", file=self.file_names[self.plan.place(name)])
            inputs = {"direction": direction, "scale": scale, "person": person}
            decomposition = self.add(f"apply{number}", "DVAApplyDirection", decomposition=decomposition, model=model, **inputs)
        return decomposition

    def load_masks(self) -> Link | None:
        """Add the nodes that load the masks of what stays in front; None without masks."""
        masks = mask_file(self.plan, self.job)
        if masks is None:
            return None
        if masks.suffix == ".png":
            return self.add("keep", "LoadImageMask", image=self.file_names[masks], channel="red")
        film = self.add("keep_video", "DVALoadVideo", file=self.file_names[masks], start=0.0, length=0.0, every=1)
        return self.add("keep", "ImageToMask", image=self.add("keep_frames", "GetVideoComponents", video=film), channel="red")

    def decode(self, decomposition: Link, model: Link, keep: Link | None) -> Link:
        """Add the node that decodes the edited video."""
        settings, look = self.plan.settings, self.plan.look(self.job)
        output = {"detail": settings.detail, "quality": settings.quality, "batch_size": settings.batch_size or 0}
        shown = {"guidance": look["guidance"] or 0.0, "tone": look["tone"] or AUTO, "region": look["region"] or AUTO, "keep": keep}
        inputs = {**output, "max_images": 1, "compare": False, **shown}
        return self.add("decode", "DVADecodeDDIM", decomposition=decomposition, model=model, **inputs)


def graph(plan: Plan, job: Job, file_names: Mapping[Path, str], prefix: str) -> Prompt:
    """Make the graph that loads, encodes, edits, decodes and saves with the settings of the plan."""
    nodes = Graph(plan, job, file_names)
    model = nodes.add("model", "DVALoadModel", model=plan.settings.model, precision=plan.settings.precision)
    decomposition = nodes.encode(model, nodes.load_video())
    video = nodes.decode(nodes.edit(decomposition, model), model, nodes.load_masks())
    nodes.add("save", SAVER, video=video, filename_prefix=prefix, format="auto", codec="auto")
    return nodes.prompt


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
        raise DVAError(
            "ComfyUI's Save Video writes h264 only, without settings; leave out codec and compatible, or run the batch with --ray."
        )
    for name, edit in plan.manifest.all_edits():
        curves = [key for key, scale in edit.directions.items() if isinstance(scale, dict)]
        if curves or (edit.text is not None and isinstance(edit.text.scale, dict)):
            raise DVAError(f"The edit {name} has a direction or a text over time, which the graph does not do; use --ray or a workflow.")
    make_mask_files(plan)
