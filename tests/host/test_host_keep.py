"""What stays in front, by the masks of ComfyUI's own nodes: one for a video, one a frame, of the frame and of the crops."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from video_helpers import pictures

from dva_core.video import Frame, VideoInfo, VideoWriter

from .graphs import FRAMES, example, of_class, quick

EDIT, DECODE, PREVIEW = "DVAEditIdentityClassifier", "DVADecodeDDIM", "DVAPreviewEdit"


def masked(prompt):
    """The example, decoded without a mask (20), with one for all frames (21), with one a frame (22); a preview, one of the crop (23)."""
    graph = quick(prompt)
    (edit,), (decode,), (model,) = of_class(graph, EDIT), of_class(graph, DECODE), of_class(graph, "DVALoadModel")
    graph[edit]["inputs"]["attributes"] = '{"Male": -0.9, "Young": -0.9}'
    settings = {**graph[decode]["inputs"], "compare": False}
    graph = {key: node for key, node in graph.items() if node["class_type"] not in (DECODE, "SaveVideo")}
    solid = {
        "10": {"value": 1.0, "width": 180, "height": 288},
        "11": {"value": 0.0, "width": 360, "height": 288},
        "12": {"value": 1.0, "width": 128, "height": 128},
    }
    graph |= {key: {"class_type": "SolidMask", "inputs": inputs} for key, inputs in solid.items()}
    composite = {"destination": ["11", 0], "source": ["10", 0], "x": 0, "y": 0, "operation": "add"}
    graph["13"] = {"class_type": "MaskComposite", "inputs": composite}
    graph["14"] = {"class_type": "LoadVideo", "inputs": {"file": "bars.mp4"}}
    graph["15"] = {"class_type": "GetVideoComponents", "inputs": {"video": ["14", 0]}}
    graph["16"] = {"class_type": "ImageToMask", "inputs": {"image": ["15", 0], "channel": "red"}}
    for key, keep in (("20", None), ("21", "13"), ("22", "16")):
        graph[key] = {"class_type": DECODE, "inputs": {**settings, **({} if keep is None else {"keep": [keep, 0]})}}
    inputs = {"decomposition": [edit, 0], "model": [model, 0], "frame": 0, "steps": 2, "detail": "transfer", "keep": ["12", 0]}
    graph["23"] = {"class_type": PREVIEW, "inputs": inputs}
    return graph


@pytest.fixture(scope="module")
def bars(server, videos) -> np.ndarray:
    """bars.mp4 in the input folder: a white bar over the face, in another place in each frame; bool [FRAMES, H, W]."""
    masks = np.zeros((FRAMES, 288, 360), bool)
    info = VideoInfo.for_images(360, 288, 25, FRAMES)
    with VideoWriter(server.base / "input" / "bars.mp4", info, quality=0) as writer:
        for i, mask in enumerate(masks):
            mask[:, 140 + 8 * i : 160 + 8 * i] = True
            writer.write(Frame.from_rgb(np.repeat(np.uint8(255 * mask)[..., None], 3, 2), i, time_base=info.time_base))
    return masks


def test_masks_of_comfyuis_own_nodes_keep_what_they_cover(server, videos, bars):
    graph = masked(example("edit_by_attribute"))
    answer = server.run(graph)
    assert answer.succeeded, answer.error
    source = pictures(videos["face.mp4"])
    plain, half, barred = (pictures(server.file(answer.outputs[key]["images"][0])) for key in ("20", "21", "22"))
    left = np.zeros(source.shape[:3], bool)
    left[:, :, :180] = True
    for kept, inside in ((half, left), (barred, bars)):
        assert np.array_equal(kept[inside], source[inside])
        for was, now, before, there in zip(plain, kept, source, inside):
            assert (was != before)[there].any() and (now != before)[~there].any()
        away = np.stack([cv2.distanceTransform(np.uint8(there), cv2.DIST_L2, 5) > 8 for there in ~inside])
        assert np.array_equal(kept[away], plain[away])
    after, before = (cv2.imread(str(server.file(answer.outputs["23"][kind][0]))) for kind in ("images", "dva_before"))
    assert np.array_equal(after, before)


def test_a_mask_that_fits_nothing_is_told_in_a_sentence(server, videos):
    graph = masked(example("edit_by_attribute"))
    graph = {key: node for key, node in graph.items() if key not in ("20", "22", "23")}
    for size, batch, says in (
        ((200, 60), 1, "is 200x60, which is the shape neither"),
        ((360, 288), FRAMES + 1, f"There are {FRAMES + 1} masks"),
    ):
        graph["11"]["inputs"].update(width=size[0], height=size[1])
        graph["18"] = {"class_type": "MaskToImage", "inputs": {"mask": ["11", 0]}}
        graph["19"] = {"class_type": "RepeatImageBatch", "inputs": {"image": ["18", 0], "amount": batch}}
        graph["30"] = {"class_type": "ImageToMask", "inputs": {"image": ["19", 0], "channel": "red"}}
        graph["21"]["inputs"]["keep"] = ["30", 0]
        answer = server.run(json.loads(json.dumps(graph)))
        assert not answer.succeeded and says in answer.error and "\n" not in answer.error, answer.error
