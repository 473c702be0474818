"""CLIP itself: open_clip's own architecture, tiny and with random weights; and what is said where weights are missing or do not fit."""

import contextlib
import json
import sys
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from dva_core.edit import text_model
from dva_core.edit.text_model import DEFAULT, FOLDER, clip_names, find_weights, import_open_clip, load_clip, resize
from dva_core.errors import DVAError, MissingDependencyError

TINY = {
    "model_cfg": {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "interpolation": "bicubic", "resize_mode": "shortest"},
}


@pytest.fixture(scope="module")
def open_clip():
    library = torch.library.Library("torchvision", "FRAGMENT")  # as long as the tests run
    with contextlib.suppress(RuntimeError):  # a CUDA build beside a CPU torch lacks two operators, which nothing here calls
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    yield pytest.importorskip("open_clip", reason="open_clip is not installed (pip install open_clip_torch)", exc_type=ImportError)


@pytest.fixture(scope="module")
def home(open_clip, tmp_path_factory):
    """A models folder with a tiny model in it, the way models come from Hugging Face."""
    home = tmp_path_factory.mktemp("models")
    write_tiny_clip(home / FOLDER / "tiny-clip")
    return home


def write_tiny_clip(folder):
    import open_clip

    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(TINY))
    torch.manual_seed(0)
    network = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file({name: value.clone() for name, value in network.state_dict().items()}, folder / "open_clip_model.safetensors")


def test_features_of_images_are_the_networks(open_clip, home):
    text_model = load_clip("tiny-clip", folders=[home])
    reference = open_clip.create_model(f"local-dir:{home / FOLDER / 'tiny-clip'}").eval()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, std = (torch.tensor(TINY["preprocess_cfg"][key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    expected = reference.encode_image(((images + 1) / 2 - mean) / std)
    torch.testing.assert_close(text_model.encode_images(images), expected)
    larger = F.interpolate(images, (48, 48), mode="nearest")
    small = F.interpolate(larger, (32, 32), mode="bicubic", antialias=True)
    torch.testing.assert_close(text_model.encode_images(larger), text_model.encode_images(small), atol=1e-4, rtol=1e-3)
    texts = ["a face", "a face with beard"]
    torch.testing.assert_close(text_model.encode_texts(texts), reference.encode_text(open_clip.get_tokenizer(DEFAULT)(texts)))
    assert text_model.name == "tiny-clip" and text_model.size == 32
    text_model.device = torch.device("cpu")  # as ComfyUI's ModelPatcher does with every module


def test_gradients_reach_the_images_and_not_the_weights_even_when_loaded_in_inference_mode(open_clip, home):
    state = torch.random.get_rng_state()
    with torch.inference_mode():
        text_model = load_clip("tiny-clip", folders=[home])
    assert torch.equal(state, torch.random.get_rng_state())
    images = torch.rand(1, 3, 16, 16).requires_grad_(True)
    text_model.encode_images(images).square().sum().backward()
    assert images.grad.abs().sum() > 0 and all(weight.grad is None for weight in text_model.parameters())


def test_it_is_found_as_a_file_a_folder_or_by_its_path(open_clip, home, tmp_path):
    (tmp_path / FOLDER).mkdir()
    save_file({"a": torch.zeros(1)}, tmp_path / FOLDER / "ViT-B-32.safetensors")
    assert clip_names([tmp_path, home]) == [DEFAULT, "ViT-B-32", "tiny-clip"]
    assert find_weights("ViT-B-32", [home, tmp_path]) == tmp_path / FOLDER / "ViT-B-32.safetensors"
    path = find_weights("tiny-clip", [tmp_path, home])
    assert load_clip("whatever", weights=path).name == "whatever"


def test_a_missing_file_is_named_with_where_it_comes_from_and_where_it_goes(open_clip, tmp_path):
    with pytest.raises(DVAError) as error:
        find_weights(DEFAULT, [tmp_path / "other", tmp_path])
    text = str(error.value)
    assert "https://huggingface.co/timm/vit_base_patch16_clip_224.openai/resolve/main/open_clip_model.safetensors" in text
    assert f"{tmp_path / FOLDER / DEFAULT}.safetensors" in text and "clip_vision" in text and text.count(". ") == 0
    with pytest.raises(DVAError, match="laion") as error:
        find_weights("ViT-B-16", [tmp_path])  # OpenAI's weights would be wrong with this GELU
    assert "openai" not in str(error.value)
    with pytest.raises(DVAError, match="no name of an image-text model"):
        find_weights("../secret", [tmp_path])


def test_what_does_not_fit_is_refused(open_clip, home, tmp_path):
    path = tmp_path / "x.safetensors"
    weights = load_file(home / FOLDER / "tiny-clip" / "open_clip_model.safetensors")
    save_file({f"vision_model.{name}": value for name, value in weights.items()}, path)
    with pytest.raises(DVAError, match="as ComfyUI's clip_vision files are"):
        load_clip(DEFAULT, weights=path)
    path.write_bytes(b"damaged")
    with pytest.raises(DVAError, match="missing or damaged"):
        load_clip(DEFAULT, weights=path)
    with pytest.raises(DVAError, match="nothing else is loaded"):
        load_clip(DEFAULT, weights=tmp_path / "x.pt")
    with pytest.raises(DVAError, match="open_clip knows no model"):
        load_clip("ViT-B-99", empty=True)
    with pytest.raises(DVAError, match="would have to be downloaded"):
        load_clip("ViT-B-16-SigLIP", empty=True)
    folder = tmp_path / FOLDER / "tiny-clip"
    write_tiny_clip(folder)
    save_file({**weights, "visual.proj": torch.zeros(3, 3)}, folder / "open_clip_model.safetensors")
    with pytest.raises(DVAError, match="does not hold the weights of tiny-clip"):
        load_clip("tiny-clip", folders=[tmp_path])


def test_without_open_clip_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingDependencyError, match=r"needs open_clip, which is not here.*pip install open_clip_torch"):
        import_open_clip()
    monkeypatch.delitem(sys.modules, "open_clip")

    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "open_clip":
                raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(MissingDependencyError, match=r"torchvision::nms does not exist\)"):
        load_clip()


def test_open_clip_is_imported_only_where_it_is_used():
    assert not any(isinstance(value, ModuleType) and value.__name__ == "open_clip" for value in vars(text_model).values())


@pytest.mark.parametrize("size", [64, 224, 256])
def test_resizing_is_bicubic_and_anti_aliased_forwards_and_backwards(size):
    images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    ours, theirs = images.clone().requires_grad_(True), images.clone().requires_grad_(True)
    expected = F.interpolate(theirs, (224, 224), mode="bicubic", antialias=True)
    torch.testing.assert_close(resize(ours, 224), expected, atol=1e-4, rtol=1e-3)
    resize(ours, 224)[..., 10].sum().backward()
    expected[..., 10].sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-4, rtol=1e-3)
