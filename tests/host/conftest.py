"""One ComfyUI for all host tests; without one, or without the starter, they are skipped with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import need_shared
from made_people import ANNA, BERT, HEIGHT, WIDTH, draw_people

from dva_core.model.bundle import SHIPPED
from dva_core.video import Frame, VideoInfo, VideoWriter, open_video

from .comfy_server import CannotRun, Server, comfy_python, find_comfy, missing_packages
from .graphs import FRAMES, HERE, SHOT, SIDE
from .page import browser, mode, page  # noqa: F401 (fixtures)
from .panels import panel  # noqa: F401 (a fixture)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in Path(item.fspath).parents:
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="package")
def comfy() -> Path:
    """The ComfyUI to test in."""
    comfy = find_comfy()
    if comfy is None:
        pytest.skip("no ComfyUI was found: set COMFYUI_DIR, install the pack in one, or put one at ~/comfy/ComfyUI")
    problem = missing_packages(comfy_python(comfy))
    if problem:
        pytest.skip(f"{comfy} cannot run here: {problem}")
    if not (SHIPPED / "starter.safetensors").is_file():
        pytest.skip("the starter model is not there, so no face can be found")
    return comfy


@pytest.fixture(scope="package")
def server(comfy, tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("comfy"), comfy, comfy_python(comfy))
    try:
        try:
            running.start()
        except CannotRun as error:
            pytest.skip(f"{comfy} cannot run here: {error}")
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="package")
def info(server) -> dict[str, Any]:
    """What the server says of its nodes."""
    return server.get("/object_info")


@pytest.fixture(scope="package")
def videos(server, tmp_path_factory) -> dict[str, Path]:
    """Short videos in the input folder: two people (one with two frames fewer), both side by side, and one with nobody."""
    videos = {}
    for name, source, frames in (("face.mp4", "swiz3n.mpg", FRAMES), ("other.mp4", "brbk7n.mpg", FRAMES - 2)):
        videos[name] = server.base / "input" / name
        reader = open_video(need_shared(f"data/clips/{source}"), start=1.0, length=frames / 25)
        with reader, VideoWriter(videos[name], reader.info, quality=10, audio_from=reader.path) as writer:
            for frame in reader:
                writer.write(frame)
    videos["dva_example.mp4"] = server.base / "input" / "dva_example.mp4"  # a real person in place of the pack's own
    shutil.copyfile(videos["face.mp4"], videos["dva_example.mp4"])
    videos["two.mp4"] = side_by_side(server.base / "input" / "two.mp4", "swiz3n", "brbk7n")
    videos["dva_example_two.mp4"] = server.base / "input" / "dva_example_two.mp4"
    shutil.copyfile(videos["two.mp4"], videos["dva_example_two.mp4"])
    videos["nobody.mp4"] = server.base / "input" / "nobody.mp4"
    info = VideoInfo.for_images(160, 120, 25, FRAMES)
    with VideoWriter(videos["nobody.mp4"], info) as writer:
        for i in range(FRAMES):
            writer.write(Frame.from_rgb(np.full((120, 160, 3), 40 + i, np.uint8), i, time_base=info.time_base))
    return videos


def side_by_side(path: Path, *people: str) -> Path:
    """A video of the middle of each of these, SIDE pixels wide, with the sound of the first."""
    sources = [need_shared(f"data/clips/{name}.mpg") for name in people]
    columns = []
    for source in sources:
        with open_video(source, start=1.0, length=FRAMES / 25) as reader:
            columns.append([frame.rgb[:, 60 : 60 + SIDE] for frame in reader])
    info = VideoInfo.for_images(len(people) * SIDE, columns[0][0].shape[0], 25, FRAMES)
    with VideoWriter(path, info, quality=0, audio_from=sources[0]) as writer:
        for i, row in enumerate(zip(*columns)):
            writer.write(Frame.from_rgb(np.ascontiguousarray(np.hstack(row)), i, time_base=info.time_base))
    return path


@pytest.fixture(scope="package")
def crowd(server, videos):
    """Three people for a shot, the first two of them in another light for a second one."""
    people = [(ANNA, lambda n: (80.0, True)), ("swiz3n", lambda n: (240.0, True)), (BERT, lambda n: (400.0, True))]
    pictures = [frame.rgb for frame in draw_people(SHOT, people)] + [
        np.minimum(frame.rgb, 205) + 50 for frame in draw_people(15, people[:2])
    ]
    path = server.base / "input" / "crowd.mp4"
    with VideoWriter(path, VideoInfo.for_images(WIDTH, HEIGHT, 25, len(pictures)), quality=8) as writer:
        for index, rgb in enumerate(pictures):
            writer.write(Frame.from_rgb(rgb, index))
    return path
