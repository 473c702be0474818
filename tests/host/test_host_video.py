"""VIDEO and IMAGE, to and from ComfyUI's own nodes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from video_helpers import pictures

from dva_core.video import Frame, VideoInfo, VideoWriter, open_video

from .graphs import FRAMES, example, of_class, quick


@pytest.fixture
def prompt(server, videos):
    return quick(example("edit_by_attribute"))


def saved(server, prompt, answer):
    """The video that Save Video wrote."""
    assert answer.succeeded, answer.error
    (key,) = of_class(prompt, "SaveVideo")
    return server.file(answer.outputs[key]["images"][0])


def connect(prompt, **sources):
    """Gives Encode Decomposed another source."""
    (node,) = of_class(prompt, "DVAEncodeDecomposed")
    del prompt[node]["inputs"]["video"]
    prompt[node]["inputs"].update(sources)


def test_from_comfyuis_own_load_video(server, prompt, videos):
    expected = pictures(saved(server, prompt, server.run(prompt)))
    prompt["80"] = {"class_type": "LoadVideo", "inputs": {"file": "face.mp4"}}
    connect(prompt, video=["80", 0])
    out = saved(server, prompt, server.run(prompt))
    np.testing.assert_array_equal(pictures(out), expected)


@pytest.mark.parametrize("create", [False, True], ids=["images", "Create Video"])
def test_from_images_of_other_nodes(server, prompt, videos, create, tmp_path):
    prompt["80"] = {"class_type": "LoadVideo", "inputs": {"file": "face.mp4"}}
    prompt["81"] = {"class_type": "GetVideoComponents", "inputs": {"video": ["80", 0]}}
    if create:
        prompt["82"] = {"class_type": "CreateVideo", "inputs": {"images": ["81", 0], "audio": ["81", 1], "fps": ["81", 2]}}
        connect(prompt, video=["82", 0])
    else:
        connect(prompt, images=["81", 0], rate=["81", 2])
    prompt["83"] = {"class_type": "SaveImage", "inputs": {"images": ["81", 0], "filename_prefix": "given"}}
    answer = server.run(prompt)
    out = saved(server, prompt, answer)
    with open_video(out) as reader:
        assert reader.info.rate == 25 and reader.count_frames() == FRAMES and reader.info.has_audio == create
    images = np.stack([cv2.imread(str(server.file(image)))[..., ::-1] for image in answer.outputs["83"]["images"]]).astype(int)
    assert np.abs(images - pictures(videos["face.mp4"])).mean() < 2
    untouched = pictures(written(tmp_path / "given.mp4", images))  # a video without loss has colour at half size
    changed = np.abs(pictures(out).astype(int) - untouched).max(-1)
    assert changed[:, :20].max() <= 6 and changed.max() > 20  # ComfyUI's PNG cut values off that the video rounds


def written(path, frames):
    """The frames as a video without loss."""
    info = VideoInfo.for_images(frames.shape[2], frames.shape[1], 25, len(frames))
    with VideoWriter(path, info, quality=0) as writer:
        for number, frame in enumerate(frames):
            writer.write(Frame.from_rgb(np.uint8(frame), number, time_base=info.time_base))
    return path


def test_a_saved_decomposition_of_images_outlives_their_temporary_file(server, prompt, videos):
    """ComfyUI empties its temporary folder when it starts; the frames and their sound can also be handed over again."""
    (encode,), (edit,), (decode,) = (
        of_class(prompt, f"DVA{kind}") for kind in ("EncodeDecomposed", "EditIdentityClassifier", "DecodeDDIM")
    )
    prompt["80"] = {"class_type": "LoadVideo", "inputs": {"file": "face.mp4"}}
    prompt["81"] = {"class_type": "GetVideoComponents", "inputs": {"video": ["80", 0]}}
    connect(prompt, images=["81", 0], rate=["81", 2], audio=["81", 1])
    prompt["90"] = {"class_type": "DVASaveDecomposition", "inputs": {"decomposition": [edit, 0], "filename_prefix": "images/clip"}}
    answer = server.run(prompt)
    expected = pictures(saved(server, prompt, answer))
    (output,) = answer.outputs[decode]["dva_before"]
    assert output["rate"] == 25 and "dva_rate" not in answer.outputs[decode]
    path = Path(answer.outputs["90"]["text"][0])
    for file in (server.base / "temp").glob("dva_*.*"):
        file.unlink()
    again = {key: node for key, node in prompt.items() if key not in ("90", edit, encode) and node["class_type"] != "DVALoadVideo"}
    again["91"] = {"class_type": "DVALoadDecomposition", "inputs": {"file": f"images/{path.name} [output]"}}
    again[decode]["inputs"]["decomposition"] = ["91", 0]
    answer = server.run(again)
    out = saved(server, again, answer)
    np.testing.assert_array_equal(pictures(out), expected)
    with open_video(out) as reader:
        assert reader.info.has_audio
    (kept,) = path.parent.glob("*.mkv")
    kept.unlink()
    again[decode]["inputs"]["quality"] = 1  # what is cached says nothing
    assert "is not there; connect its own video to source video" in server.run(again).error
    again[decode]["inputs"].update(images=["81", 0], audio=["81", 1], quality=0)
    (load,) = of_class(again, "DVALoadModel")
    again["92"] = {"class_type": "DVAEvaluate", "inputs": {"decomposition": ["91", 0], "model": [load, 0], "video": [decode, 0]}}
    again["92"]["inputs"].update(images=["81", 0], audio=["81", 1])
    again["93"] = {"class_type": "PreviewAny", "inputs": {"source": ["92", 0]}}
    answer = server.run(again)
    np.testing.assert_array_equal(pictures(saved(server, again, answer)), expected)
    assert "TL-ID" in answer.outputs["93"]["text"][0]


def test_a_part_of_a_video_for_other_nodes(server, prompt, videos):
    video = {"class_type": "DVALoadVideo", "inputs": {"file": "face.mp4", "start": 0.04, "length": 0.16, "every": 2}}
    graph = {
        "1": video,
        "2": {"class_type": "SaveVideo", "inputs": {"video": ["1", 0], "filename_prefix": "part", "format": "auto", "codec": "auto"}},
        "3": {"class_type": "GetVideoComponents", "inputs": {"video": ["1", 0]}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "part"}},
        "5": {"class_type": "PreviewAny", "inputs": {"source": ["1", 1]}},
        "6": {"class_type": "PreviewAny", "inputs": {"source": ["1", 2]}},
    }
    answer = server.run(graph)
    out = saved(server, graph, answer)
    source = pictures(videos["face.mp4"])[1:5:2]
    with open_video(out) as reader:
        assert reader.info.has_audio and reader.info.rate == 12.5
    assert np.abs(pictures(out).astype(int) - source).mean() < 3
    assert len(answer.outputs["4"]["images"]) == 2
    assert answer.outputs["5"]["text"] == ["2"] and float(answer.outputs["6"]["text"][0]) == 12.5


def test_which_face_and_how_many_images(server, prompt, videos):
    (node,) = of_class(prompt, "DVAEncodeDecomposed")
    prompt[node]["inputs"].update(face="reference", max_images=3, reference=["82", 0])
    prompt["80"] = {"class_type": "LoadVideo", "inputs": {"file": "face.mp4"}}
    prompt["81"] = {"class_type": "GetVideoComponents", "inputs": {"video": ["80", 0]}}
    prompt["82"] = {"class_type": "ImageFromBatch", "inputs": {"image": ["81", 0], "batch_index": 0, "length": 1}}
    prompt["83"] = {"class_type": "SaveImage", "inputs": {"images": [node, 1], "filename_prefix": "crops"}}
    prompt["84"] = {"class_type": "MaskToImage", "inputs": {"mask": [node, 2]}}
    prompt["85"] = {"class_type": "SaveImage", "inputs": {"images": ["84", 0], "filename_prefix": "masks"}}
    answer = server.run(prompt)
    assert answer.succeeded, answer.error
    assert len(answer.outputs["83"]["images"]) == len(answer.outputs["85"]["images"]) == 3
