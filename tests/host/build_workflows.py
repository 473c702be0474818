"""Writes example_workflows/: PYTHONPATH=.:tests python -m host.build_workflows http://127.0.0.1:8188 (a ComfyUI with this pack).

A version after the address also freezes copies in saved/, as the promise not to break them.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

from .workflows import to_page, widget_names

OUT = Path(__file__).resolve().parents[2] / "example_workflows"
SAVED = Path(__file__).resolve().parent / "saved"
COLUMN, ROW = 380, 880  # a row is as high as Decode DDIM with its player and the face it has worked on

ENCODE = {
    "steps": 20,
    "solver": "order2",
    "face": "largest",
    "face_x": 0.5,
    "face_y": 0.5,
    "batch_size": 0,
    "max_frames": 0,
    "rate": 25.0,
    "max_images": 64,
}
DECODE = {"detail": "transfer", "quality": 18, "batch_size": 0, "max_images": 64, "compare": True}


class Graph:
    """An API prompt that grows node by node, and where the page shows each."""

    def __init__(self, note: str) -> None:
        self.prompt: dict[str, Any] = {}
        self.places: dict[str, tuple[int, int]] = {}
        self.note = note

    def add(self, kind: str, title: str, column: float, row: float, **inputs: Any) -> str:
        key = str(len(self.prompt) + 1)
        self.prompt[key] = {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}
        self.places[key] = (round(column * COLUMN), round(row))
        return key

    def clip(self, model: str, file: str, row: float = 0) -> str:
        """Load Video and Encode Decomposed."""
        video = self.add("DVALoadVideo", "Load Video (DVA)", 0, row + 190, file=file, start=0.0, length=0.0, every=1)
        return self.add("DVAEncodeDecomposed", "Encode Decomposed", 1, row, model=[model, 0], video=[video, 0], **ENCODE)

    def edit(self, clip: str, model: str, row: float, title: str = "Edit Identity (Classifier)", **scales: float) -> str:
        inputs = {"decomposition": [clip, 0], "model": [model, 0], "attributes": json.dumps(scales), "normalize": True}
        return self.add("DVAEditIdentityClassifier", title, 2, row, **inputs)

    def show(self, clip: str, model: str, row: float, name: str) -> str:
        """Decode DDIM and Save Video."""
        decoded = self.add("DVADecodeDDIM", "Decode DDIM", 3, row, decomposition=[clip, 0], model=[model, 0], **DECODE)
        self.add("SaveVideo", "Save Video", 4, row, video=[decoded, 0], filename_prefix=f"dva/{name}", format="auto", codec="auto")
        return decoded

    def model(self) -> str:
        return self.add("DVALoadModel", "Load DVA Model", 0, 0, model="starter", precision="auto")


def edit_by_attribute() -> Graph:
    graph = Graph(
        "## Edit by attribute\n\nChoose a video with a face in **Load Video**, set the strengths in **Edit Identity**, run.\n\n"
        "A second run with other strengths keeps the encoding: only the edit and the decoding are done again."
    )
    model = graph.model()
    clip = graph.clip(model, "face.mp4")
    graph.show(graph.edit(clip, model, 0, Male=-0.8), model, 0, "edit")
    return graph


def several_attributes() -> Graph:
    graph = Graph(
        "## Several attributes, side by side\n\nTwo edits of one clip, each of several attributes. The crops before and after are "
        "stitched together, for a look at what changed."
    )
    model = graph.model()
    clip = graph.clip(model, "face.mp4")
    for row, name, scales in ((0, "younger", {"Young": 0.8, "Smiling": 0.5}), (ROW, "older", {"Young": -0.8, "Beard": 0.5})):
        decoded = graph.show(graph.edit(clip, model, row, name.capitalize(), **scales), model, row, name)
        side = {"direction": "right", "match_image_size": True, "spacing_width": 4, "spacing_color": "white"}
        pair = graph.add("ImageStitch", "Before and after", 4, row + 490, image1=[decoded, 1], image2=[decoded, 2], **side)
        graph.add("PreviewImage", "Crops", 5, row, images=[pair, 0])
    return graph


def encode_once() -> Graph:
    graph = Graph(
        "## Encode once, edit many\n\nThe clip is taken apart once, and kept in the output folder: **Load Decomposition** opens it in a "
        "later session, without encoding anew. Each edit then costs only its decoding."
    )
    model = graph.model()
    clip = graph.clip(model, "face.mp4")
    graph.add("DVASaveDecomposition", "Save Decomposition", 2, -190, decomposition=[clip, 0], filename_prefix="dva/clip")
    for row, (name, scales) in enumerate({"younger": {"Young": 0.8}, "male": {"Male": 0.8}, "smiling": {"Smiling": 0.8}}.items()):
        graph.show(graph.edit(clip, model, ROW * row, name.capitalize(), **scales), model, ROW * row, name)
    return graph


def switch() -> Graph:
    graph = Graph(
        "## Switch identity and motion\n\nTwo clips, taken apart by the same model. Above, the first clip with the other person's "
        "identity; below, the first person with the other's pose and expression. The shorter clip is repeated."
    )
    model = graph.model()
    clip, other = graph.clip(model, "face.mp4"), graph.clip(model, "other.mp4", ROW)
    for row, (feature, title) in enumerate({"identity": "Identity of the other", "motion": "Motion of the other"}.items()):
        choice = {name: name == feature for name in ("identity", "motion", "background", "random_noise")}
        inputs = {"decomposition": [clip, 0], "model": [model, 0], "other": [other, 0], **choice, "seed": 0}
        graph.show(graph.add("DVASwitchFeatures", title, 2, ROW * row, **inputs), model, ROW * row, f"switched_{feature}")
    return graph


GRAPHS = {
    "edit_by_attribute": edit_by_attribute,
    "several_attributes_and_comparison": several_attributes,
    "encode_once_edit_many": encode_once,
    "switch_identity_and_motion": switch,
}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(url: str, version: str = "") -> None:
    with urllib.request.urlopen(f"{url}/object_info") as answer:
        info = json.load(answer)
    for name, build in GRAPHS.items():
        graph = build()
        page = to_page(graph.prompt, info, graph.places, graph.note)
        write(OUT / f"{name}.json", page)
        write(OUT / "api" / f"{name}.json", graph.prompt)
        if version:
            widgets = {node["class_type"]: widget_names(info[node["class_type"]]) for node in graph.prompt.values()}
            write(SAVED / f"{version}_{name}.json", {"page": page, "api": graph.prompt, "widgets": widgets})


if __name__ == "__main__":
    main(*sys.argv[1:])
