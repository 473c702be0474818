"""The commands models and convert."""

import json

from bundles import drawing_config, drawing_tensors, write_tiny

from .answers import refused


def test_models_lists_what_is_found(call, bundle, monkeypatch):
    monkeypatch.setenv("DVA_MODELS", str(bundle.parent))
    code, out, _ = call("models")
    assert code == 0 and "tiny" in out and "licence: MIT" in out and "Young, Male, Smiling" in out
    code, out, _ = call("models", "--json")
    assert code == 0 and "tiny" in [info["name"] for info in json.loads(out)["models"]]


def test_models_lists_shapes_where_pixels_move(call, tmp_path, monkeypatch):
    write_tiny(tmp_path / "drawing.safetensors", config=drawing_config(), **drawing_tensors())
    monkeypatch.setenv("DVA_MODELS", str(tmp_path))
    infos = json.loads(call("models", "--json")[1])["models"]
    assert {info["name"]: info for info in infos}["drawing"]["attributes"][-2:] == ["Pursed_Lips", "Frown"]


def test_convert_hands_everything_on(call, bundle, monkeypatch, tmp_path):
    import dva_core.model.convert
    from dva_core.model.bundle import bundle_info

    settings = {}
    monkeypatch.setattr(
        dva_core.model.convert, "convert", lambda *args, **kwargs: settings.update(kwargs, args=args) or bundle_info(bundle)
    )
    for name in ("a.ckpt", "c.ckpt", "latent.pkl"):
        (tmp_path / name).write_bytes(b"x")
    convert = ("convert", "a.ckpt", "-o", "b.safetensors")
    code, _, err = call(*convert, "--classifier", "c.ckpt", "--statistics", "latent.pkl", "--precision", "fp32", "--trust-pickle")
    assert code == 0 and "16 px" in err
    assert settings["args"] == ("a.ckpt", "b.safetensors") and settings["classifier"] == "c.ckpt" and settings["statistics"] == "latent.pkl"
    assert settings["precision"] == "fp32" and settings["trust_pickle"] and not settings["classifier_ema"]
    refused(call("convert", "none.ckpt", "-o", "b.safetensors"), "none.ckpt")
    refused(call("convert", "a.ckpt", "-o", "nowhere/b.safetensors"), "nowhere")


def test_convert_of_a_foreign_file_is_one_sentence(call, tmp_path):
    (tmp_path / "a.ckpt").write_text("no checkpoint")
    refused(call("convert", "a.ckpt", "-o", "b.safetensors"), "a.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]
