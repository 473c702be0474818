"""Where the program waits for a graphics card, and why: every other wait is a defect."""

from __future__ import annotations

import sys

from card_tensors import Card

MEANT = {  # where the program waits for the card, and why
    "hosts/plain.py use": "weights are brought when they are first used",
    "hosts/devices.py to_device": "Apple's GPUs share the memory of the processor; NVIDIA's are not waited for here",
    "diffusion/schedule.py _table": "alpha_bar is brought once",
    "networks/resample.py to_size": "Apple's, as above",
    "model/checks.py weights_digest": "what a direction belongs to, once",
    "faces/finder.py embed": "who it is, a few times a video",
    "networks/hull.py hull_mask": "hulls are drawn by the processor; of a video, from landmarks that are there",
    "hosts/results.py fetch": "what is stored or pasted, and whether all is finite: once a batch, on CUDA while the next one runs; where a "
    "face is, and its landmarks: once a look, for they decide where the next frame is looked at",
    "pipeline/solving.py solve": "whether all is finite: once a still, a sheet, a batch that is computed again",
    "pipeline/solving.py own_face": "a switched video's own motion, once a batch",
    "pipeline/decoding.py edit_sizes": "how far each frame is moved, once a video's 64 frames",
    "pipeline/drawing.py only_drawn": "whether an edit is only drawn, once a video's 64 frames, a still",
    "pipeline/moves.py is_drawn": "whether a step of the motion is drawn, once an edit of a video or still",
    "pipeline/preview.py draw_row": "what is drawn, once an edit",
    "pipeline/preview.py decode_row": "the pictures, once a batch",
    "edit/text_search.py _prepare": "before a search",
    "edit/text_search.py _search": "before a search",
    "edit/text_search.py intermediate_images": "before a search",
    "edit/text_network.py texts": "before a search",
    "edit/text_network.py images": "the image-text model of these tests brings its weights",
    "edit/text_losses.py text_direction": "before a search: whether the texts differ",
    "edit/text_search.py _backward": "an iteration's loss and step, in one",
    "edit/text_search.py pictures": "the pictures, when they are shown",
    "edit/differentiable.py __enter__": "the fusion layer's weights, once",
    "edit/differentiable.py fuse": "vectors of the frames, once",
    "edit/differentiable.py encode_identity": "pictures, once",
    "edit/gradients.py mean_gradients": "a batch of noises there, its gradients back",
    "edit/gradients.py classifier_outputs": "the classifiers' weights, once",
    "edit/own.py encode_crops": "vectors of all pictures, once",
    "evaluate/reconstruction.py compare": "figures",
    "evaluate/reconstruction.py pairs": "pictures",
}
IN_STEPS = {"diffusion/schedule.py _table", "hosts/plain.py use", "hosts/devices.py to_device"}  # of those above, once and no more
TRAINING = {
    "train/objective.py __init__": "networks are brought",
    "model/checks.py weights_digest": "what the run belongs to, once",
    "train/diffusion.py skip_step": "a step without a gradient",
    "train/checkpoint.py save_run": "what is saved",
    "train/checkpoint.py resume_run": "what was saved",
    "train/checkpoint.py take_scaling": "what was saved",
    "train/diffusion.py load_parameters": "what was saved",
    "train/objective.py scaling": "before the first step",
    "train/encoders.py encode_faces": "before the first step",
    "train/diffusion.py gradient": "a step's figures, in one",
    "train/diffusion.py update": "the gradient's norm, which decides whether the step counts; of fp16 the scale too",
    "train/diffusion.py validate": "figures, every few minutes",
    "train/board.py sample_grids": "pictures, every few minutes",
    "train/state.py write_tensors": "what is saved",
    "train/state.py write_state": "what is saved",
    "networks/hull.py hull_mask": "hulls are drawn by the processor, once a batch",
    "diffusion/schedule.py _table": "alpha_bar is brought once",
    "hosts/devices.py to_device": "see above",
}


def check_waits(here: Card, meant: dict[str, str]) -> None:
    """Fails with the lines that wait and are not meant to."""
    if sys.version_info < (3, 11):
        return  # which function a line is in is known from then on
    odd = [wait for wait in here.waits if wait.place not in meant or (wait.in_steps and wait.place not in IN_STEPS)]
    assert not odd, "\n".join(f"{here.lines[wait]} waits for the card ({wait.what}) {here.waits[wait]} times" for wait in odd)
    assert sum(count for wait, count in here.waits.items() if wait.place == "diffusion/schedule.py _table") <= 1
