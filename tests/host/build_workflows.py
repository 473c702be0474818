"""Writes example_workflows/: PYTHONPATH=.:tests python -m host.build_workflows http://127.0.0.1:8188 (a ComfyUI with this pack).

A version after the address also freezes copies in saved/, as the promise not to break them.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .graphs import page_of
from .workflows import to_page, widget_names

OUT = Path(__file__).resolve().parents[2] / "example_workflows"
SAVED = Path(__file__).resolve().parent / "saved"
COLUMN, ROW = 350, 700  # a row is as high as Decode DDIM with its player
CLIP, TWO = "dva_example.mp4", "dva_example_two.mp4"  # come with the pack

ENCODE = {
    "steps": 12,
    "solver": "angle2c",
    "face": "largest",
    "face_x": 0.5,
    "face_y": 0.5,
    "batch_size": 0,
    "max_frames": 0,
    "rate": 25.0,
    "max_images": 64,
    "power": 0,
}
TEXT = {
    "source": "face",
    "target": "face with beard",
    "scale": 1.0,
    "clip_model": "ViT-B-16-quickgelu",
    "frames": "0",
    "images": 5,
    "steps": 2000,
    "settle": True,
    "clip_weight": 3.0,
    "identity_weight": 5.0,
    "l1_weight": 5.0,
    "learning_rate": 0.002,
    "seed": 0,
    "save_memory": False,
}
DECODE = {"detail": "transfer", "quality": 18, "batch_size": 0, "max_images": 64, "compare": True}
PARTS = ("brows", "nose", "eyes", "mouth")  # of a face, that may move


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

    def decomposition(self, model: str, row: float = 0, **changes: Any) -> str:
        """Load Video and Encode Decomposed; `changes` of the inputs of either."""
        part = {"file": CLIP, "start": 0.0, "length": 0.0, "every": 1}
        part |= {name: changes.pop(name) for name in part.keys() & changes.keys()}
        video = self.add("DVALoadVideo", "Load Video (DVA)", 0, row + 190, **part)
        return self.add("DVAEncodeDecomposed", "Encode Decomposed", 1, row, model=[model, 0], video=[video, 0], **ENCODE | changes)

    def edit(
        self, decomposition: str, model: str, row: float, title: str = "Edit Identity (Classifier)", output: int = 0, **scales: float
    ) -> str:
        inputs = {"decomposition": [decomposition, output], "model": [model, 0], "attributes": json.dumps(scales), "normalize": True}
        return self.add("DVAEditIdentityClassifier", title, 2, row, **inputs)

    def express(self, decomposition: str, model: str, title: str, expression: str, scale: str, moving: Sequence[str] = PARTS) -> str:
        inputs = {"decomposition": [decomposition, 0], "model": [model, 0], "expression": expression, "scale": scale}
        inputs |= {"neutral_frame": 0, "expressive_frame": 0, **{part: part in moving for part in PARTS}, "project": True}
        return self.add("DVAEditExpression", title, 2, ROW, **inputs)

    def show(self, decomposition: str, model: str, row: float, name: str, column: int = 3) -> str:
        """Decode DDIM and Save Video."""
        decoded = self.add("DVADecodeDDIM", "Decode DDIM", column, row, decomposition=[decomposition, 0], model=[model, 0], **DECODE)
        self.add("SaveVideo", "Save Video", column + 1, row, video=[decoded, 0], filename_prefix=f"dva/{name}", format="auto", codec="auto")
        return decoded

    def model(self) -> str:
        return self.add("DVALoadModel", "Load DVA Model", 0, 0, model="starter", precision="auto")


def edit_by_attribute() -> Graph:
    graph = Graph(
        "## Edit by attribute\n\nRun it as it is, or choose a video with a face in **Load Video**; set the strengths in "
        "**Edit Identity**.\n\n"
        "A second run with other strengths keeps the encoding: only the edit and the decoding are done again."
    )
    model = graph.model()
    decomposition = graph.decomposition(model)
    graph.show(graph.edit(decomposition, model, 0, Eyeglasses=1.0), model, 0, "edit")
    return graph


def several_attributes() -> Graph:
    graph = Graph(
        "## Several attributes, side by side\n\nTwo edits of one video, each of several attributes. The crops before and after are "
        "stitched together, for a look at what changed."
    )
    model = graph.model()
    decomposition = graph.decomposition(model)
    for row, name, scales in ((0, "made_up", {"Heavy_Makeup": 0.8, "Young": 0.4}), (ROW, "older", {"Young": -0.8, "Beard": 0.8})):
        decoded = graph.show(graph.edit(decomposition, model, row, name.replace("_", " ").capitalize(), **scales), model, row, name)
        side = {"direction": "right", "match_image_size": True, "spacing_width": 4, "spacing_color": "white"}
        pair = graph.add("ImageStitch", "Before and after", 4, row + 490, image1=[decoded, 1], image2=[decoded, 2], **side)
        graph.add("PreviewImage", "Crops", 5, row, images=[pair, 0])
    return graph


def encode_once() -> Graph:
    graph = Graph(
        "## Encode once, edit many\n\nThe video is taken apart once, and kept in the output folder: **Load Decomposition** opens it in a "
        "later session, without encoding anew. Each edit then costs only its decoding."
    )
    model = graph.model()
    decomposition = graph.decomposition(model)
    graph.add("DVASaveDecomposition", "Save Decomposition", 2, -190, decomposition=[decomposition, 0], filename_prefix="dva/clip")
    edits = {"glasses": {"Eyeglasses": 1.0}, "bearded": {"Beard": 1.0}, "older": {"Young": -1.0}}
    for row, (name, scales) in enumerate(edits.items()):
        graph.show(graph.edit(decomposition, model, ROW * row, name.capitalize(), **scales), model, ROW * row, name)
    return graph


def switch() -> Graph:
    graph = Graph(
        "## Switch identity and motion\n\nTwo videos, taken apart by the same model. Above, the first video with the other person's "
        "identity; below, the first person with the other's pose and expression. The shorter video is repeated.\n\n"
        "As it is opened, the other person is the first one edited, later in the video: choose another video in the second **Load Video**, "
        "and bypass **The other person**."
    )
    model = graph.model()
    decomposition, other = graph.decomposition(model), graph.decomposition(model, ROW, start=0.8)
    other = graph.edit(other, model, 2 * ROW, "The other person", Male=0.5, Young=-0.3)
    for row, (feature, title) in enumerate({"identity": "Identity of the other", "motion": "Motion of the other"}.items()):
        choice = {name: name == feature for name in ("identity", "motion", "background", "random_noise")}
        inputs = {"decomposition": [decomposition, 0], "model": [model, 0], "other": [other, 0], **choice, "seed": 0}
        graph.show(graph.add("DVASwitchFeatures", title, 2, ROW * row, **inputs), model, ROW * row, f"switched_{feature}")
    return graph


def text_edit() -> Graph:
    graph = Graph(
        "## Edit by text\n\nSay what is to be seen now and what shall be seen. **Edit Identity (CLIP)** searches on one frame, which takes "
        "minutes; its direction is kept as a file and applied at another strength without a search, made independent of sex.\n\n"
        "Needs `pip install open_clip_torch` and CLIP's weights in `models/dva/open_clip` (the message of the node says which file, and "
        "where it comes from)."
    )
    model = graph.model()
    decomposition = graph.decomposition(model)
    inputs = {"decomposition": [decomposition, 0], "model": [model, 0], **TEXT}
    text = graph.add("DVAEditIdentityCLIP", "Edit Identity (CLIP)", 2, 0, **inputs)
    graph.show(text, model, 0, "text")
    graph.add("PreviewImage", "The search's images", 5, 0, images=[text, 2])
    graph.add("DVASaveDirection", "Save Direction", 5, 400, direction=[text, 1], filename_prefix="dva/beard")
    pure = {"operation": "orthogonal", "factor": 1.0, "other_factor": 1.0, "attribute": "Male"}
    pure = graph.add("DVACombineDirections", "Combine Directions", 2, ROW, model=[model, 0], direction=[text, 1], **pure)
    applied = {"decomposition": [decomposition, 0], "model": [model, 0], "direction": [pure, 0], "scale": 1.5}
    applied = graph.add("DVAApplyDirection", "Apply Direction", 2, ROW + 320, **applied)
    graph.show(applied, model, ROW, "text_pure")
    return graph


def edit_over_time() -> Graph:
    graph = Graph(
        "## Edit over time\n\nA strength may be a curve: moments in seconds (`0s`) or frames (`36`), and the strength there. Above, the "
        "person ages in 1.5 s; below, a smile comes and goes, of the mouth alone. **Preview Edit** shows one frame in a moment."
    )
    model = graph.model()
    decomposition = graph.decomposition(model)
    ageing = graph.edit(decomposition, model, 0, "Ageing", Young={"0s": 0.0, "1.5s": -1.0, "curve": "smooth"})
    graph.show(ageing, model, 0, "ageing")
    graph.add("DVAPreviewEdit", "Preview Edit", 5, 0, decomposition=[ageing, 0], model=[model, 0], frame=30, steps=6, detail="transfer")
    smile = graph.express(decomposition, model, "A smile", "Smiling", "0s:-0.5, 0.8s:1, 1.6s:-0.5, smooth", ("mouth",))
    graph.show(smile, model, ROW, "smile")
    return graph


def expressions() -> Graph:
    graph = Graph(
        "## Change the expression\n\nExpressions are sliders of **Edit Identity** like any other: above, a mouth that opens under raised "
        "brows. Below, **Edit Expression** with a curve over time: a wink. It also takes the expression from one frame of the video to the "
        "others: write `two frames`, and the numbers of a frame without it and of one with it."
    )
    model = graph.model()
    decomposition = graph.decomposition(model)
    graph.show(graph.edit(decomposition, model, 0, "Surprise", Open_Mouth=0.8, Raised_Eyebrows=1.0), model, 0, "surprise")
    wink = graph.express(decomposition, model, "A wink", "Wink_Right", "0s:0.2, 1s:1, 1.6s:1, smooth")
    graph.show(wink, model, ROW, "wink")
    return graph


def attribute_sheet() -> Graph:
    graph = Graph(
        "## Attribute sheet\n\nAll attributes of the model at five strengths, on one frame, before choosing. Then edit: **Preview Edit** "
        "shows that frame with the edit, and **Decode DDIM** the whole video."
    )
    model = graph.model()
    decomposition = graph.decomposition(model)
    inputs = {"attributes": "", "scales": "-0.8, -0.4, 0, 0.4, 0.8", "frame": 0, "steps": 0, "tile": 160}
    sheet = graph.add("DVASheet", "Attribute Sheet", 2, ROW, decomposition=[decomposition, 0], model=[model, 0], **inputs)
    graph.add("SaveImage", "Save Image", 3, ROW, images=[sheet, 0], filename_prefix="dva/sheet")
    edited = graph.edit(decomposition, model, 0, Mustache=1.0)
    graph.show(edited, model, 0, "chosen")
    graph.add("DVAPreviewEdit", "Preview Edit", 5, 0, decomposition=[edited, 0], model=[model, 0], frame=0, steps=6, detail="transfer")
    return graph


def own_attribute() -> Graph:
    graph = Graph(
        "## An attribute of your own\n\n**Own Attribute** learns from pictures of faces with something and without it, and its score tells "
        "how well left-out pictures are told apart. As it is opened, the pictures are frames of the video after another edit "
        "and before it.\n\n"
        "For something of your own, connect pictures of both kinds instead (five of each at least, better ten), or name two folders of "
        "them in ComfyUI's input folder; turn **pairs** off where they show different people."
    )
    model = graph.model()
    decomposition = graph.decomposition(model, every=4)
    (video,) = (key for key, node in graph.prompt.items() if node["class_type"] == "DVALoadVideo")
    decoded = graph.show(graph.edit(decomposition, model, 0, "What is to be learnt", Beard=0.8), model, 0, "learnt_from")
    with_it = graph.add("GetVideoComponents", "Pictures with it", 0, ROW, video=[decoded, 0])
    without = graph.add("GetVideoComponents", "Pictures without it", 0, ROW + 130, video=[video, 0])
    choice = {"name": "My beard", "space": "identity", "pairs": True, "with_folder": "", "without_folder": ""}
    folders = {"with_it": [with_it, 0], "without": [without, 0]}
    own = graph.add("DVAOwnAttribute", "Own Attribute", 1, ROW, model=[model, 0], **folders, **choice)
    graph.add("DVASaveDirection", "Save Direction", 1, ROW + 400, direction=[own, 0], filename_prefix="dva/my_attribute")
    inputs = {"decomposition": [decomposition, 0], "model": [model, 0], "direction": [own, 0], "scale": 0.8}
    graph.show(graph.add("DVAApplyDirection", "Apply Direction", 2, ROW, **inputs), model, ROW, "own_attribute")
    return graph


def two_people() -> Graph:
    graph = Graph(
        "## Two people, two edits\n\nBoth are encoded in one pass; **Split People** takes the first out, each gets an edit of their own, "
        "and **Combine People** puts them together for one video.\n\n"
        "With another video, press **Find faces** on **Encode Decomposed** and click whom you mean; **Split People** then names who goes "
        "the upper way. For the same edit on everybody, leave out Split and Combine."
    )
    model = graph.model()
    decomposition = graph.decomposition(model, file=TWO, face="chosen", people=json.dumps({"people": [1, 2]}))
    split = graph.add("DVASplitPeople", "Split People", 2, 0, decomposition=[decomposition, 0], person="1")
    edits = {"Glasses": {"Eyeglasses": 1.0}, "Make-up": {"Heavy_Makeup": 0.8, "Young": 0.4}}
    branches = [graph.edit(split, model, 170 + 520 * output, title, output, **edit) for output, (title, edit) in enumerate(edits.items())]
    both = graph.add("DVACombinePeople", "Combine People", 3, 0, a=[branches[0], 0], b=[branches[1], 0])
    graph.show(both, model, 0, "two_people", column=4)
    return graph


GRAPHS = {
    "edit_by_attribute": edit_by_attribute,
    "several_attributes_and_comparison": several_attributes,
    "encode_once_edit_many": encode_once,
    "switch_identity_and_motion": switch,
    "edit_over_time": edit_over_time,
    "attribute_sheet": attribute_sheet,
    "own_attribute": own_attribute,
    "text_edit": text_edit,
    "two_people": two_people,
    "expressions": expressions,
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
        write(page_of(name), page)
        write(OUT / "api" / f"{name}.json", graph.prompt)
        if version:
            widgets = {node["class_type"]: widget_names(info[node["class_type"]]) for node in graph.prompt.values()}
            write(SAVED / f"{version}_{name}.json", {"page": page, "api": graph.prompt, "widgets": widgets})


if __name__ == "__main__":
    main(*sys.argv[1:])
