"""`train attributes`: both forms of labels, balanced fitting, figures on people held out, and what is made of the classifiers."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from bundles import IDENTITY, write_tiny
from safetensors import safe_open

from dva_core.commands import main as cli
from dva_core.edit.attributes import AttributeSet
from dva_core.edit.directions import Direction, from_attribute
from dva_core.errors import DVAError
from dva_core.model.loader import load_model
from dva_core.train.classifiers import encode_folder, fit_classifiers
from dva_core.train.labels import LabelTable, read_labels, split

CELEBA = "3\nMale Young  No_Beard\n0.jpg  1 -1  1\n1.jpg -1  1  1\n2.jpg -1 -1 -1\n"
QUICK = {"samples": 20_000, "learning_rate": 2e-2}


def test_celebas_own_file_is_read_as_it_comes(tmp_path):
    (tmp_path / "list.txt").write_text(CELEBA)
    table = read_labels(tmp_path / "list.txt")
    assert table.names == ["Male", "Young", "No_Beard"] and table.files == ["0.jpg", "1.jpg", "2.jpg"] and table.person is None
    np.testing.assert_array_equal(table.labels, [[1, 0, 1], [0, 1, 1], [0, 0, 0]])


def test_a_csv_with_unknowns_and_people(tmp_path):
    rows = "file,set,person_or_cluster,age,Beard,Hat,All\na.jpg,x,p1,30,1,0,1\nb.jpg,x,p1,40,,1,1\nc.jpg,y,p2,50,0,-1,1\n"
    (tmp_path / "labels.csv").write_text("\ufeff" + rows)
    table = read_labels(tmp_path / "labels.csv")
    assert table.names == ["Beard", "Hat"] and list(table.person) == ["p1", "p1", "p2"]  # set, age and All tell nothing of yes and no
    np.testing.assert_array_equal(table.labels, [[1, 0], [np.nan, 1], [0, 0]])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (CELEBA.replace("3\n", "4\n", 1), "announces 4 pictures and lists 3"),
        (CELEBA.replace("1.jpg -1  1  1", "1.jpg -1 1"), "Line 4"),
        (CELEBA.replace("1.jpg -1", "1.jpg 7"), "Line 4"),
        ("", "names no pictures"),
        ("file,age\na,3\n", "names no pictures or no attributes"),
    ],
)
def test_broken_tables_are_refused(tmp_path, text, says):
    (tmp_path / "labels").write_text(text)
    with pytest.raises(DVAError, match=says):
        read_labels(tmp_path / "labels")
    with pytest.raises(DVAError, match="no table of labels"):
        read_labels(tmp_path / "none")


def test_nobody_is_on_both_sides():
    person = np.repeat(np.arange(50), 3)
    test = split(150, person, 0.2, 0)
    assert test.sum() == 30 and not set(person[test]) & set(person[~test])
    assert split(150, None, 0.2, 0).sum() == 30


def people(count=900, rare=0.08):
    """Vectors whose 0th number tells a rare attribute, the 1st (of a larger size) another, and of which a third is not told at all."""
    rng = np.random.default_rng(0)
    labels = np.stack([rng.random(count) < rare, rng.random(count) < 0.5, rng.random(count) < 0.5], 1).astype(np.float32)
    z = rng.standard_normal((count, 12))
    z[:, 0] += 2 * labels[:, 0]
    z[:, 1] = 10 * (z[:, 1] + 3 * labels[:, 1]) + 100
    labels[rng.random(labels.shape) < 0.1] = np.nan
    return z.astype(np.float32), LabelTable([str(i) for i in range(count)], ["Rare", "Large", "Noise"], labels)


def test_classifiers_are_balanced_standardised_and_scored_on_the_rest():
    z, table = people()
    fitted = fit_classifiers(z, table, **QUICK)
    rare, large, noise = fitted.figures
    assert rare["auc"] > 0.85 and rare["accuracy"] > 0.75 and large["auc"] > 0.95 and abs(noise["auc"] - 0.5) < 0.15
    assert fitted.weight[0].argmax() == 0 and fitted.weight[1].argmax() == 1 and fitted.weight[0, 0] > 0
    other = fit_classifiers(z * np.float32(20) + np.float32(5), table, **QUICK)  # in other units it is the same classifier
    torch.testing.assert_close(fitted.weight, other.weight, atol=1e-3, rtol=1e-3)
    logits = torch.from_numpy((z - fitted.mean.numpy()) / fitted.std.numpy()) @ fitted.weight.T + fitted.bias
    yes = table.labels[:, 0] == 1
    assert (logits[yes, 0] > 0).float().mean() > 0.7  # unbalanced, most of a class of 8 % would be missed
    assert not torch.equal(fitted.weight, fitted.raw_weight)
    torch.testing.assert_close(fitted.weight, fitted.raw_weight, atol=0.3, rtol=0.3)
    again = fit_classifiers(z, table, **QUICK)
    assert torch.equal(fitted.weight, again.weight)


def test_too_few_pictures():
    z, table = people(20)
    with pytest.raises(DVAError, match="10 pictures with and 10 without"):
        fit_classifiers(z, table, samples=10)


@pytest.fixture
def folder(tmp_path):
    """Pictures whose left half is bright or dark, with CelebA's kind of labels."""
    rng, lines = np.random.default_rng(0), []
    for i in range(80):
        picture = rng.integers(0, 60, (40, 40, 3)).astype(np.uint8)
        picture[:, :20] += np.uint8(150 * (i % 2))
        cv2.imwrite(str(tmp_path / f"{i}.jpg"), picture)
        lines.append(f"{i}.jpg {1 if i % 2 else -1} {1 if i % 3 else -1} {1 if i % 2 else -1}")
    (tmp_path / "anno.txt").write_text("80\nBright Third Smiling\n" + "\n".join(lines) + "\n")
    return tmp_path


def test_the_command(folder, capsys):
    base, out = write_tiny(folder / "tiny.safetensors"), folder / "new.safetensors"
    call = ["train", "attributes", "--faces", str(folder), "--labels", str(folder / "anno.txt"), "--model", str(base), "--samples", "10000"]
    assert (
        cli.main([*call, "-o", str(out), "--directions", str(folder / "d"), "--classifiers", str(folder / "c.safetensors"), "--json"]) == 0
    )
    figures = json.loads(capsys.readouterr().out)["attributes"]
    assert figures[0]["name"] == "Bright" and figures[0]["auc"] > 0.9 and (figures[0]["yes"], figures[0]["no"]) == (40, 40)
    model, old = load_model(out, device="cpu"), load_model(base, device="cpu")
    attributes = AttributeSet.from_model(model)
    assert attributes.names == ["Bright", "Third", "Smiling"] and attributes["Smiling"].space == "motion"  # the bundle's own stays
    np.testing.assert_array_equal(attributes.shift("Smiling"), AttributeSet.from_model(old).shift("Smiling"))
    kept = Direction.load(folder / "d" / "Bright.safetensors")
    np.testing.assert_allclose(kept.vector, from_attribute(model, "Bright").vector, rtol=1e-4)
    with safe_open(folder / "c.safetensors", "np") as file:
        assert file.get_tensor("weight").shape == (3, IDENTITY) and file.metadata()["encoder"] == kept.encoder
        np.testing.assert_array_equal(file.get_tensor("std"), model.attributes.identity.std.numpy())
    z = encode_folder(model, folder, [f"{i}.jpg" for i in range(80)])
    weight, mean, std = (attributes.tensors[f"identity.{key}"] for key in ("weight", "mean", "std"))
    logit = ((z - mean) / std) @ weight[0]
    assert logit[1::2].mean() > logit[::2].mean() + 1  # it points to what it names


def test_directions_of_odd_names_are_files_of_their_own(folder):
    base = write_tiny(folder / "tiny.safetensors")
    names = ["Wears/Hat", "Wears-Hat", "../x", "con"]
    rows = [",".join([f"{i}.jpg", *(str(int(i % (k + 2) == 0)) for k in range(len(names)))]) for i in range(80)]
    (folder / "labels.csv").write_text("\n".join([",".join(["file", *names]), *rows]))
    call = ["train", "attributes", "--faces", str(folder), "--model", str(base), "--samples", "500", "--directions"]
    before = {path.name for path in folder.iterdir()}
    assert cli.main([*call, str(folder / "d")]) == 0
    written = {path.name: Direction.load(path).name for path in (folder / "d").iterdir()}
    expected = ["Wears-Hat", "Wears-Hat_2", "..-x", "_con"]
    assert written == {f"{file}.safetensors": name for file, name in zip(expected, names)}
    assert {path.name for path in folder.iterdir()} == before | {"d"}


def test_names_that_differ_in_case_only_and_folders_that_cannot_be_are_refused_before_the_work(folder, capsys, monkeypatch):
    monkeypatch.setattr("dva_core.train.classifiers.encode_folder", lambda *_: pytest.fail("this is minutes of work"))
    base = write_tiny(folder / "tiny.safetensors")
    (folder / "labels.csv").write_text("file,Hat,hat\n0.jpg,1,0\n1.jpg,0,1\n")
    call = ["train", "attributes", "--faces", str(folder), "--model", str(base), "--directions"]
    for words, says in (
        ([*call, str(folder / "d")], "Hat and hat cannot be told apart"),
        ([*call, str(folder / "labels.csv"), "--only", "hat"], "labels.csv cannot be made"),
        ([*call, str(folder / "labels.csv" / "d"), "--only", "hat"], "cannot be made"),
    ):
        assert cli.main(words) == 2
        assert says in capsys.readouterr().err


def test_the_commands_mistakes(folder, capsys):
    base = write_tiny(folder / "tiny.safetensors")
    call = ["train", "attributes", "--faces", str(folder), "--labels", str(folder / "anno.txt"), "--model", str(base)]
    for words, says in (
        (call, "Nothing would be kept"),
        ([*call, "--only", "Hat", "-o", str(folder / "n.safetensors")], "no attribute Hat"),
        ([*call[:3], str(folder / "none"), "-o", "n.safetensors"], "no table of labels"),
    ):
        assert cli.main(words) == 2
        assert says in capsys.readouterr().err
    (folder / "7.jpg").unlink()
    assert cli.main([*call, "-o", str(folder / "n.safetensors")]) == 2
    assert "7.jpg cannot be read" in capsys.readouterr().err
