"""The script beside the API examples: a folder of videos times a list of edits, over /prompt and the websocket."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from waiting import LONG, until

from dva_core.video import open_video

from .comfy_server import PROMPT_SECONDS
from .graphs import EXAMPLES, FRAMES, example, quick


def test_a_folder_of_videos_times_a_list_of_edits(server, videos, tmp_path):
    (tmp_path / "videos").mkdir()
    for name in ("face.mp4", "nobody.mp4"):
        shutil.copyfile(videos[name], tmp_path / "videos" / name)
    (tmp_path / "edits.json").write_text(json.dumps({"younger": {"Young": 0.8}, "female": {"Male": -0.8}}))
    (tmp_path / "graph.json").write_text(json.dumps(quick(example("edit_by_attribute"))))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "face_younger.mp4").write_bytes(b"done before")
    command = [server.python, EXAMPLES / "api" / "queue_folder.py", tmp_path / "videos", tmp_path / "edits.json", tmp_path / "out"]
    command += ["--server", server.url, "--workflow", tmp_path / "graph.json"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=PROMPT_SECONDS)
    assert done.returncode == 1, done.stderr  # nobody.mp4 fails, in a sentence, and the others are done
    assert "nobody_female.mp4: No face was found" in done.stderr and "Traceback" not in done.stderr
    results = [path.name for path in (tmp_path / "out").iterdir() if path.name != ".dva-batch"]  # what it keeps for itself
    assert sorted(results) == ["face_female.mp4", "face_younger.mp4"]
    assert (tmp_path / "out" / "face_younger.mp4").read_bytes() == b"done before"
    with open_video(tmp_path / "out" / "face_female.mp4") as reader:
        assert reader.count_frames() == FRAMES and reader.info.has_audio


def heed_interrupts() -> None:
    """In a program about to start: SIGINT ends it, though a background shell has what it starts ignore that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl-C to one process alone")
def test_a_server_that_does_not_answer_and_a_prompt_that_is_taken_back(server, videos, tmp_path):
    """In a line each; after Ctrl-C nothing of ours is left on the server."""
    (tmp_path / "videos").mkdir()
    shutil.copyfile(videos["face.mp4"], tmp_path / "videos" / "face.mp4")
    (tmp_path / "edits.json").write_text(json.dumps({"younger": {"Young": 0.8}}))
    (tmp_path / "graph.json").write_text(json.dumps(quick(example("edit_by_attribute"), steps=500)))
    command = [server.python, EXAMPLES / "api" / "queue_folder.py", tmp_path / "videos", tmp_path / "edits.json", tmp_path / "out"]
    done = subprocess.run([*command, "--server", "http://127.0.0.1:9"], capture_output=True, text=True, timeout=LONG)
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1 and "does not answer" in done.stderr
    command += ["--server", server.url, "--workflow", tmp_path / "graph.json"]
    until(lambda: not any(server.get("/queue").values()))  # of other tests
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts if os.name == "posix" else None)
    until(lambda: server.get("/queue")["queue_running"])
    running.send_signal(signal.SIGINT)
    output = running.communicate(timeout=LONG)[1]
    assert running.returncode == 1 and "Stopped" in output and "Traceback" not in output
    until(lambda: not any(server.get("/queue").values()))
