"""Run by ComfyUI's own interpreter, in its folder: the nodes' own code, without a server. Prints nothing when all holds."""
# ruff: noqa: E402 (the device and the folders are chosen before anything asks for them)

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

HERE = Path(__file__).resolve()
sys.path[:0] = [str(Path.cwd()), str(HERE.parents[1]), str(HERE.parent)]

import utils.install_util  # noqa: F401 (before a module of the environment takes the name)
from comfy.cli_args import args

args.cpu = True
BASE = tempfile.TemporaryDirectory()
args.base_directory = BASE.name

import folder_paths
from load_pack import load_pack

nodes = load_pack()
face, folders, models, status = (load_pack(f"nodes.{name}") for name in ("face", "folders", "models", "status"))

from dva_core.errors import DVAError
from dva_core.faces.choice import PeopleChoice

INPUT, OUTPUT, TEMP = (Path(folder_paths.get_directory_by_type(kind)) for kind in ("input", "output", "temp"))
for folder in (INPUT, OUTPUT, TEMP):
    folder.mkdir(parents=True, exist_ok=True)
models.register_models_folder()


def refused(act, says: str) -> None:
    """`act` ends in a sentence with `says` in it."""
    try:
        act()
    except DVAError as error:
        assert says in str(error) and "\n" not in str(error), error
    else:
        raise AssertionError(f"not refused: {says}")


def links_are_followed_and_dead_ones_left_out() -> None:
    """What ComfyUI lists while it loads the pack is never a reason not to load it."""
    with tempfile.TemporaryDirectory() as elsewhere:
        theirs = Path(elsewhere)
        for name in ("video.mp4", "small.safetensors"):
            (theirs / name).write_bytes(b"1234")
            (INPUT / name).symlink_to(theirs / name)
        (theirs / "pictures").mkdir()
        (INPUT / "pictures").symlink_to(theirs / "pictures")
        for folder in (INPUT, OUTPUT):
            (folder / "dead.safetensors").symlink_to(theirs / "none")
        (INPUT / "dead.mp4").symlink_to(theirs / "none")
        (OUTPUT / "large.safetensors").write_bytes(bytes(100))
        assert folders.input_videos() == [*folders.EXAMPLE_VIDEOS, "video.mp4"]  # the pack brings the others
        assert folders.saved_files() == ["large.safetensors [output]", "small.safetensors"]
        assert folders.saved_files(smaller_than=100) == ["small.safetensors"]
        assert all(node.define_schema() for node in nodes.NODES)
        assert folders.listed_file("video.mp4", "video") == INPUT / "video.mp4"
        assert nodes.LoadVideo.validate_inputs("video.mp4") is True
        assert folders.input_folder("pictures") == INPUT / "pictures"
        for name in ("dead.mp4", "../video.mp4", "pictures/../../input/../x", str(theirs / "video.mp4"), "a\0b", "", "."):
            refused(lambda name=name: folders.listed_file(name, "video"), "There is no video")
        for name in ("..", "pictures/../..", str(theirs), ".", " ", "none", "video.mp4"):
            refused(lambda name=name: folders.input_folder(name), "There is no folder")
        for path in (*INPUT.iterdir(), *OUTPUT.iterdir()):
            path.unlink()


def a_name_from_another_node_is_not_known_to_the_cache() -> None:
    """It arrives as None; what raises there runs again every time."""
    (INPUT / "with").mkdir()
    (INPUT / "with" / "a.png").write_bytes(b"1")
    (INPUT / "with" / "dead.png").symlink_to(INPUT / "none")
    for node in (nodes.LoadDecomposition, nodes.LoadDirection):
        assert node.fingerprint_inputs(file=None) == 0
    assert nodes.LoadVideo.fingerprint_inputs(file=None, start=0.0, length=0.0, every=1) == 0
    assert nodes.LoadModel.fingerprint_inputs(model=None, precision="auto", compile=False) == 0
    assert nodes.OwnAttribute.fingerprint_inputs(name="x", with_folder=None, without_folder=None) == []
    assert len(nodes.OwnAttribute.fingerprint_inputs(name="x", with_folder="with", without_folder=None)) == 1


def a_file_without_a_name_gets_the_usual_one() -> None:
    for prefix in ("", " ", ".", "./"):
        path = folders.output_path(prefix, ".safetensors", "dva/clip")
        assert path == OUTPUT / "dva" / "clip_00001_.safetensors", path
    assert folders.output_path("mine", ".safetensors", "dva/clip").name == "mine_00001_.safetensors"
    refused(lambda: folders.output_path("../mine", ".safetensors"), "leads out")


def empty_texts_are_refused_before_anything_runs() -> None:
    assert "The expression is empty" in nodes.EditExpression.validate_inputs(scale="0.5", expression=" ")
    assert nodes.EditExpression.validate_inputs(scale="0.5", expression="Smiling") is True
    assert nodes.EditExpression.validate_inputs(scale=None, expression=None) is True
    rest = {"scale": 1.0, "clip_model": "", "frames": "0", "images": 1, "steps": 5, "settle": True, "seed": 0, "save_memory": False}
    rest |= {"clip_weight": 3.0, "identity_weight": 5.0, "l1_weight": 5.0, "learning_rate": 0.002, "decomposition": None, "model": None}
    refused(lambda: nodes.EditIdentityCLIP.execute(source=" ", target="a beard", **rest), "The source text is empty")
    refused(lambda: nodes.EditIdentityCLIP.execute(source="a face", target="", **rest), "The target text is empty")


def the_text_of_people_counts_before_face() -> None:
    """Where it is empty, face counts; chosen then means the person seen most."""
    for text, way, expected in (
        ("", "largest", "largest"),
        (" ", "chosen", PeopleChoice()),
        ("1, 3", "largest", PeopleChoice((1, 3))),
        ("all", "chosen", PeopleChoice(None)),
        ('{"people": [2]}', "chosen", PeopleChoice((2,))),
    ):
        assert face.people_or_face(text, way) == expected
    refused(lambda: face.people_or_face("one", "chosen"), "Cannot choose people by")
    assert nodes.EncodeDecomposed.validate_inputs(people=" ") is True and nodes.EncodeDecomposed.validate_inputs() is True
    for node, name in (
        (nodes.EncodeDecomposed, "people"),
        (nodes.LoadVideo, "file"),
        (nodes.SplitPeople, "person"),
        (nodes.Sheet, "scales"),
    ):
        assert "is no text" in node.validate_inputs(**{name: 3})


def a_node_that_got_another_id_is_replaced() -> None:
    """In prompts that were saved before, where the host can; older ones are left alone."""
    import server
    from comfy_api.latest import io

    renamed = [{"old_id": "clip", "new_id": "decomposition"}]
    old = {"old_node_id": "DVAOldName", "new_node_id": "DVASaveDecomposition", "input_mapping": renamed}
    saved = {"1": {"class_type": "DVAOldName", "inputs": {"clip": ["0", 0]}, "_meta": {}}}
    has_replacements = hasattr(io, "NodeReplace")
    host = SimpleNamespace()
    if has_replacements:
        from app.node_replace_manager import NodeReplaceManager

        host.node_replace_manager = NodeReplaceManager()
    with patch.object(nodes, "REPLACEMENTS", [old]), patch.object(server.PromptServer, "instance", host, create=True):
        asyncio.run(nodes.DVAExtension().on_load())
    if has_replacements:
        import nodes as comfyui

        with patch.dict(comfyui.NODE_CLASS_MAPPINGS, DVASaveDecomposition=nodes.SaveDecomposition):
            host.node_replace_manager.apply_replacements(saved)
        assert saved["1"]["class_type"] == "DVASaveDecomposition" and saved["1"]["inputs"] == {"decomposition": ["0", 0]}


CHECKS = [
    links_are_followed_and_dead_ones_left_out,
    a_name_from_another_node_is_not_known_to_the_cache,
    a_file_without_a_name_gets_the_usual_one,
    empty_texts_are_refused_before_anything_runs,
    the_text_of_people_counts_before_face,
    a_node_that_got_another_id_is_replaced,
]


def run(checks: list) -> None:
    """Those named on the command line, or all."""
    for check in checks:
        if len(sys.argv) < 2 or check.__name__ in sys.argv[1:]:
            check()
    BASE.cleanup()


if __name__ == "__main__":
    run(CHECKS)
