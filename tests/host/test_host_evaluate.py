"""The Evaluate node behind Decode DDIM."""

from __future__ import annotations

import numpy as np

from .graphs import example, of_class, quick


def test_an_edit_is_measured_against_its_source(server, videos):
    prompt = quick(example("edit_by_attribute"))
    encode, decode, load = (of_class(prompt, kind)[0] for kind in ("DVAEncodeDecomposed", "DVADecodeDDIM", "DVALoadModel"))
    inputs = {"decomposition": [encode, 0], "model": [load, 0], "video": [decode, 0]}
    prompt["90"] = {"class_type": "DVAEvaluate", "inputs": inputs}
    prompt["91"] = {"class_type": "PreviewAny", "inputs": {"source": ["90", 0]}}
    prompt["92"] = {"class_type": "PreviewImage", "inputs": {"images": ["90", 1]}}
    answer = server.run(prompt)
    assert answer.succeeded, answer.error
    rows = dict(line.strip("| ").split(" | ") for line in answer.outputs["91"]["text"][0].splitlines() if line.startswith("| "))
    assert 0.9 < float(rows["TL-ID"]) < 1.1 and float(rows["change in face"]) > 0
    assert float(rows["change outside"]) < 1  # the codec's, in another colour space; the frames themselves are equal there
    from PIL import Image

    plot = np.asarray(Image.open(server.file(answer.outputs["92"]["images"][0])))
    assert plot.std() > 10
