"""What describes a batch: read from YAML, JSON and CSV alike, checked, made into jobs whose results never share a name."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dva_core.batch import load_plan, make_manifest, make_plan, read_manifest, schema
from dva_core.batch.check import check_plan
from dva_core.batch.jobs import Job
from dva_core.batch.manifest import check_pattern
from dva_core.batch.prompts import check_for_servers, files_of, make_prompt, name_on_server
from dva_core.commands.batch import in_words
from dva_core.errors import DVAError, MissingFileError
from dva_core.video import open_video
from dva_core.video.images import save_picture

EDITS = {"younger": {"Young": 0.8}}
BODY = "videos: [a.mp4]\nedits: {x: {Young: 1}}\n"


def manifest(**changes):
    return make_manifest({"videos": ["clips/*.mp4"], "edits": EDITS, **changes})


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


YAML = """
videos: [clips/*.mp4, {file: other/anna.mov, edits: [older], person: anna}]
people: {anna: "position:0.2,0.5"}
edits:
  younger: {Young: 0.8}
  older: {attributes: {Young: {0s: 0, 36: -0.8, curve: smooth}}, guidance: 2, region: off}
  sad: {attributes: {Smiling: "0s:0,1s:-0.5"}}
settings: {steps: 3}
results: out
"""


def test_yaml_and_json_are_the_same(tmp_path):
    put(tmp_path, "clips/a.mp4", "clips/b.mp4", "other/anna.mov")
    (tmp_path / "jobs.yaml").write_text(YAML, encoding="utf-8")
    read = read_manifest(tmp_path / "jobs.yaml")
    (tmp_path / "jobs.json").write_text(read.model_dump_json(exclude_defaults=True), encoding="utf-8")
    assert read_manifest(tmp_path / "jobs.json") == read
    assert read.edits["older"].region == "off" and read.edits["older"].attributes["Young"] == {"0s": 0.0, "36": -0.8, "curve": "smooth"}
    assert read.edits["sad"].attributes == {"Smiling": {"0s": 0.0, "1s": -0.5}}
    plan = load_plan(tmp_path / "jobs.yaml")
    assert [job.name for job in plan.jobs] == [
        *("a_younger", "a_older", "a_sad"),
        *("b_younger", "b_older", "b_sad"),
        "anna_older",
    ]
    assert plan.jobs[-1].face == "position:0.2,0.5" and plan.jobs[0].face == "largest"
    assert plan.results == tmp_path / "out" and plan.jobs[0].result == tmp_path / "out" / "a_younger.mp4"
    assert len({job.group for job in plan.jobs}) == 3


def test_a_spreadsheet(tmp_path):
    """As a spreadsheet of a country with decimal commas saves it, and with commas between."""
    put(tmp_path, "clips/a.mp4", "clips/b.mp4")
    (tmp_path / "jobs.csv").write_bytes(
        "\ufeffvideo;edit;person;Young;Male;steps;guidance\r\n"
        "clips/*.mp4;younger;;0,8;;5;2\r\n"
        "clips/a.mp4;;position:0.1,0.5;-0,5;0,2;5;\r\n;;;;;;\r\n".encode()
    )
    plan = load_plan(tmp_path / "jobs.csv")
    assert {job.name: job.spec.attributes for job in plan.jobs} == {
        "a_younger": {"Young": 0.8},
        "a_Young_-0.5_Male_0.2": {"Young": -0.5, "Male": 0.2},
        "b_younger": {"Young": 0.8},
    }
    assert plan.settings.steps == 5 and plan.jobs[0].spec.guidance == 2
    assert {job.face for job in plan.jobs} == {"largest", "position:0.1,0.5"}
    (tmp_path / "jobs.csv").write_text('video,edit,Young\nclips/a.mp4,slow,"0s:0,1.5s:-0.8,smooth"\n')
    (job,) = load_plan(tmp_path / "jobs.csv").jobs
    assert job.spec.attributes == {"Young": {"0s": 0.0, "1.5s": -0.8, "curve": "smooth"}} and in_words(job) == "Young 0 to -0.8"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "videos: [a.mp4]\nedits: {x: {Young: 1}}\nresult: out", "result: there is no such setting"),
        ("a.yaml", "videos: [a.mp4]\nedits: {x: {Young: high}}", "edits.x.attributes.Young: The scale 'high'"),
        ("a.yaml", "videos: [a.mp4]\nedits: {x: {Young: 1}, x: {Male: 1}}", "'x' is there twice"),
        ("a.yaml", "videos: &a [a.mp4]\nedits: *a", "references"),
        ("a.yaml", "videos: [a.mp4\nedits", "not valid YAML"),
        ("a.yaml", "{[a]: 1}", "no plain word"),
        ("a.yaml", "just words", "is no batch"),
        ("a.yaml", "videos: [a.mp4]", "there are no edits"),
        ("a.yaml", "videos: [{file: a.mp4, edits: [y]}]\nedits: {x: {Young: 1}}", "asks for the edit 'y'"),
        ("a.yaml", "videos: [{file: a.mp4, person: anna}]\nedits: {x: {Young: 1}}", "no person 'anna'"),
        ("a.yaml", "videos: [a.mp4]\nedits: {x: {}}", "nothing to change"),
        ("a.yaml", "videos: [a.mp4]\nedits: {a/b: {Young: 1}}", "'a/b' cannot be used"),
        ("a.yaml", "videos: [a.mp4]\nedits: {x: {Young: 1}}\nname: '{video}'", "cannot be named"),
        ("a.yaml", "videos: [a.mp4]\nedits: {x: {Young: 1}}\nname: '../{video}_{edit}'", "cannot be named"),
        ("a.yaml", "videos: [a.mp4]\nedits: {x: {Young: 1}}\nsettings: {steps: 0}", "settings.steps"),
        ("a.yaml", "videos: [a.mp4]\nedits: {x: {Young: 1}}\nsettings: {}\nworkflow: a.json", "settings of its own"),
        ("a.yaml", "videos: [a.mp4]\nedits: {x: {Young: 1}}\ninputs: {steps: 1}", "belong to a workflow"),
        ("a.yaml", "videos: [a.mp4]\nedits: {x: {Young: 1}}\nservers: [localhost]", "http"),
        ("a.yaml", "videos: [a.mp4]\nedits: {x: {Young: 1}}\npeople: {a: left}", "largest, position:x,y"),
        ("a.yaml", 'videos: ["C:\\Users\\me\\a.mp4"]', "in line 1; in a path, write / instead of \\"),
        (
            "a.yaml",
            'videos: ["C:\\new\\a.mp4"]\nedits: {x: {Young: 1}}',
            r"'C:\new\x07.mp4' has a line break, a tab or the like in it; write /",
        ),
        ("a.yaml", 'videos: [a.mp4]\nedits: {x: {Young: 1}}\nresults: "D:\\tests"', "results: the path"),
        ("a.json", '{"videos": ["C:\\Users\\a.mp4"]}', "line 1; in a path, write / instead of \\"),
        ("a.yaml", "videos: []", "videos: this is empty; give at least one."),
        (
            "a.yaml",
            "videos: [a.mp4]\nedits: {x: 3}",
            "edits.x: 3 is given where names and values are needed, such as younger: {Young: 0.8}.",
        ),
        ("a.yaml", "videos: [a.mp4]\nedits: [x]", "edits: ['x'] is given where names and values are needed"),
        ("a.yaml", "videos: 3\nedits: {x: {Young: 1}}", 'videos: 3 is given where a list is needed, such as ["clips/*.mp4"].'),
        (
            "a.yaml",
            BODY + "servers: localhost",
            "servers: 'localhost' is given where a list is needed",
        ),
        (
            "a.yaml",
            BODY + "servers: [localhost]",
            "'localhost' is no address; write for example http://127.0.0.1:8188.",
        ),
        ("a.yaml", BODY + "settings: {steps: many}", "settings.steps: 'many' is no whole number."),
        (
            "a.yaml",
            BODY + "settings: {quality: 99}",
            "settings.quality: 99 is out of range; give at most 51.",
        ),
        ("a.yaml", BODY + "settings: {power: 0}", "settings.power: 0 is out of range; give more than 0."),
        (
            "a.yaml",
            BODY + "settings: {codec: prores}",
            "'prores' is not known; write 'h264', 'h265' or 'ffv1'.",
        ),
        (
            "a.yaml",
            BODY + "settings: {step: 5}",
            "settings.step: there is no such setting; did you mean steps.",
        ),
        ("a.yaml", BODY + "keep_clips: maybe", "keep_clips: 'maybe' is given where true or false is needed."),
        ("a.yaml", BODY + "results: [out]", "results: ['out'] is given where a text is needed."),
        ("a.yaml", "videos: [a]\nedits: {x: {text: {source: a}}}", "edits.x.text.target: this is missing."),
        ("a.yaml", "videos: [a]\nedits: {x: {Young: .nan}}", "edits.x.attributes.Young: nan is no finite number"),
        ("a.yaml", "videos: [*.mp4]", 'in line 1; put patterns in quotes, such as "*.mp4".'),
        ("a.yaml", "videos: [clips/[ab]*.mp4]", "in line 1; put patterns in quotes"),
        ("a.yaml", "videos: *.mp4", "in line 1; put patterns in quotes"),
        ("a.yaml", "videos: [clips/[ab]x.mp4, b.mp4]", "in line 1; put patterns in quotes"),
        ("a.json", '{"videos": ["a"], "videos": []}', "'videos' is there twice"),
        ("a.json", "[" * 100000, "nested"),
        ("a.json", "{", "line 1"),
        ("a.csv", "edit,Young\n", "no column video"),
        ("a.csv", "video,Young,Young\n", "twice"),
        ("a.csv", "video,Young\na.mp4,1,2\n", "row 2 has more cells"),
        ("a.csv", "video,edit,steps,Young\na.mp4,x,3,1\nb.mp4,x,4,1\n", "row 3 has another steps"),
        ("a.txt", "", "unknown format"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DVAError) as error:
        read_manifest(tmp_path / name)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(MissingFileError, match="no batch"):
        read_manifest(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"videos: [\xe4.mp4]")
    with pytest.raises(DVAError, match="UTF-8"):
        read_manifest(tmp_path / "latin.yaml")
    with pytest.raises(DVAError, match="no videos in"):
        make_plan(manifest(), tmp_path)
    with pytest.raises(MissingFileError, match="no video"):
        make_plan(manifest(videos=["a.mp4"]), tmp_path)
    put(tmp_path, "clips/a.mp4")
    with pytest.raises(MissingFileError, match="picture of anna"):
        make_plan(manifest(people={"anna": "reference:a.jpg"}, videos=[{"file": "clips", "person": "anna"}]), tmp_path)
    with pytest.raises(MissingFileError, match="direction of the edit x"):
        make_plan(manifest(edits={"x": {"directions": {"old.safetensors": 1}}}), tmp_path)
    with pytest.raises(MissingFileError, match="workflow"):
        make_plan(manifest(workflow="graph.json"), tmp_path)


def test_names_of_results(tmp_path):
    """Folders under a pattern are kept, videos of one name get their suffix, results are no videos, and what clashes is refused."""
    put(tmp_path, "s/1/take.mp4", "s/2/take.mp4", "s/2/take.MOV", "s/notes.txt", "s/out/1/take_younger.mp4", "s/.hidden.mp4")
    plan = make_plan(manifest(videos=["s/**/*"], results="s/out"), tmp_path)
    assert [job.name for job in plan.jobs] == ["1/take_younger", "2/take-MOV_younger", "2/take-mp4_younger"]
    assert [job.result.exists() for job in plan.jobs] == [True, False, False] and len(list(plan.missing())) == 2
    with pytest.raises(DVAError, match="would share one result, take-mp4_younger"):
        make_plan(manifest(videos=["s/1", {"file": "s/2/take.mp4"}]), tmp_path)
    plan = make_plan(manifest(videos=["s/1", "s/1/take.mp4", {"file": "s/2/take.mp4", "name": "second"}]), tmp_path)
    assert [job.name for job in plan.jobs] == ["take_younger", "second_younger"]
    with pytest.raises(DVAError, match="as a whole"):
        make_plan(manifest(videos=[{"file": "s/2", "name": "all"}]), tmp_path)
    put(tmp_path, "odd/[1].mp4")
    assert [job.name for job in make_plan(manifest(videos=["odd/[1].mp4"]), tmp_path).jobs] == ["[1]_younger"]


def test_results_are_never_taken_for_videos(tmp_path):
    """Neither those of another batch below the folder, nor, silently, videos that lie in the folder of results."""
    put(tmp_path, "s/a.mp4", "s/day 1/b.mp4", "s/old/b_older.mp4", "s/old/.dva-batch/keep.mkv", "s/new/c.mp4")
    for videos, base, results in (("s/**/*.mp4", tmp_path, "s/new"), ("../s/**/*.mp4", tmp_path / "s", tmp_path / "s" / "new")):
        plan = make_plan(manifest(videos=[videos]), base, tmp_path / results)
        assert [job.name for job in plan.jobs] == ["a_younger", "day 1/b_younger"]
    assert [job.name for job in make_plan(manifest(videos=["s/old"]), tmp_path).jobs] == ["b_older_younger"]  # asked for by name
    for results in (".", "s", "s/day 1/.."):
        with pytest.raises(DVAError, match=r"The videos s/\*\.mp4 lie in the folder of results, .*; choose another folder"):
            make_plan(manifest(videos=["s/*.mp4"], results=results), tmp_path)


def test_patterns_as_people_write_them(tmp_path):
    """Suffixes in capitals, others than the usual if they are named, brackets in the name of a folder; \\ only on Windows."""
    put(tmp_path, "shot [3]/A.MP4", "shot [3]/b.mp4", "shot [3]/c.mxf", "shot [3]/d.txt", "shot [3]/e")

    def of(pattern: str) -> list[str]:
        return [job.video.name for job in make_plan(manifest(videos=[pattern]), tmp_path).jobs]

    assert of("shot [3]/*.mp4") == of("shot [3]/**/*.Mp4") == of("shot [3]/*") == of("shot [3]") == ["A.MP4", "b.mp4"]
    assert of("shot [3]/*.mxf") == of("*/*.MXF") == ["c.mxf"] and of("shot [[]3]/[bc].m*") == ["b.mp4"]
    if os.sep == "/":
        for missing in (r"shot [3]\*.mp4", r"shot\a.mp4"):
            with pytest.raises(DVAError, match="; write / between folders"):
                of(missing)


def test_a_name_that_no_disk_takes(tmp_path):
    put(tmp_path, "clips/" + "ä" * 122 + ".mp4")
    with pytest.raises(DVAError, match=r"too long a name, ä+\.\.\.; give the video a shorter `name`"):
        make_plan(manifest(edits={"much too long": {"Young": 1}}), tmp_path)
    assert len(make_plan(manifest(edits={"short": {"Young": 1}}), tmp_path).jobs) == 1


@given(st.text(min_size=1, max_size=120).filter(lambda name: "/" not in name))
def test_a_server_can_keep_a_result_under_its_name(name):
    """On any system, whatever the video is called: ComfyUI adds a number and a suffix."""
    job = Job(
        f"folder/{name}", Path("a.mp4"), "x", make_manifest({"videos": ["a"], "edits": EDITS}).edits["younger"], "largest", Path(), "", 1
    )
    folder, _, file = name_on_server(job, "0123456789abcdef").partition("/")
    assert folder == "dva" and file.endswith("_01234567") and len(file.encode()) < 200
    assert not set(file) & set('/\\:*?"<>|%\0\n\t')


@given(st.lists(st.sampled_from(["a.mp4", "a.mov", "A.mkv", "b/a.mp4", "b/a.mov", "c.webm"]), unique=True, min_size=1))
def test_no_two_jobs_share_a_result(tmp_path_factory, names):
    folder = put(tmp_path_factory.mktemp("v"), *(f"clips/{name}" for name in names))
    plan = make_plan(manifest(videos=["clips/**/*"]), folder)
    assert len({str(job.result).casefold() for job in plan.jobs}) == len(plan.jobs) == len(names)
    assert {job.video for job in plan.jobs} == {folder / "clips" / name for name in names}


def test_a_fingerprint_is_what_a_result_hangs_on(tmp_path):
    put(tmp_path, "clips/a.mp4")

    def of(**changes) -> str:
        plan = make_plan(manifest(**changes), tmp_path)
        return plan.fingerprint(plan.jobs[0])

    same = {of(), of(), of(settings={"batch_size": 4}), of(results="elsewhere")}
    others = {
        of(edits={"younger": {"Young": 0.7}}),
        of(settings={"steps": 9}),
        of(edits={"younger": {"attributes": {"Young": 0.8}, "tone": "keep"}}),
    }
    assert len(same) == 1 and len(others) == 3 and not same & others


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.sampled_from(["file", "text", "curve"]), inner, max_size=3)
    ),
    max_leaves=8,
)
PLACES = ["version", "videos", "edits", "people", "settings", "workflow", "inputs", "results", "name", "servers", "clips", "keep_clips"]


@given(st.dictionaries(st.sampled_from(PLACES), json_values, max_size=3))
def test_anything_gets_a_batch_or_a_sentence(changes):
    try:
        changed = manifest(**changes)
    except DVAError as error:
        assert "\n" not in str(error).strip() and len(str(error)) < 1000
    else:
        check_pattern(changed.name)
        assert make_manifest(json.loads(changed.model_dump_json())) == changed


@given(st.text(max_size=60), st.sampled_from([".yaml", ".json", ".csv"]))
def test_any_text_gets_a_batch_or_a_sentence(tmp_path_factory, text, suffix):
    path = tmp_path_factory.mktemp("t") / f"jobs{suffix}"
    path.write_text(text, encoding="utf-8", newline="")
    with pytest.raises(DVAError):
        read_manifest(path)


def test_the_schema_knows_what_the_classes_know(tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    yaml = pytest.importorskip("yaml")
    validator = jsonschema.Draft202012Validator(schema())
    validator.check_schema(schema())
    good = json.loads(json.dumps(yaml.safe_load(YAML)))
    assert not list(validator.iter_errors(good))
    for change in ({"result": 1}, {"settings": {"steps": 0}}, {"videos": [{"name": "x"}]}, {"edits": {"x": 3}}, {"version": 2}):
        assert list(validator.iter_errors(good | change)), change


def test_what_will_fail_is_found_before_anything_runs(tmp_path):
    put(tmp_path, "clips/broken.mp4")
    review = check_plan(make_plan(manifest(edits={"x": {"Yuong": 1.0}}), tmp_path))
    assert review.missing == 1 and review.done == 0 and len(review.problems) == 2
    assert "broken.mp4" in review.problems[0] and "did you mean Young" in review.problems[1]
    (problem,) = check_plan(make_plan(manifest(settings={"solver": "bdia"}), tmp_path)).problems[1:]
    assert problem.startswith("settings.solver: There is no solver 'bdia'; choose one of ddim, ")  # it is no method for videos


def test_masks_and_several_people_in_a_job(tmp_path):
    put(tmp_path, "clips/a.mp4", "clips/b.mp4", "masks/a.mp4", "masks/b.mp4", "hand.png")
    plan = make_plan(
        make_manifest(
            {
                "videos": [{"file": "clips/*.mp4", "face": [1, 3], "keep": "masks/{video}.mp4"}],
                "edits": {
                    "two": {"attributes": {"Young": 0.8}, "person": 3},
                    "all": {"attributes": {"Young": 0.8}, "face": "all", "keep": "hand.png"},
                    "left": {"attributes": {"Young": 0.8}, "person": "left"},
                },
                "people": {"left": "position:0.2,0.5"},
                "name": "{video}_{edit}_{person}",
            }
        ),
        tmp_path,
    )
    jobs = {job.name: (job.face, job.whom, job.keep.relative_to(tmp_path).as_posix()) for job in plan.jobs}
    assert jobs["a_two_3"] == ("1,3", "3", "masks/a.mp4") and jobs["b_two_3"][2] == "masks/b.mp4"
    assert jobs["a_all_face"] == ("all", "", "hand.png") and jobs["a_left_left"] == ("position:0.2,0.5", "", "masks/a.mp4")
    assert len({plan.fingerprint(job) for job in plan.jobs if job.name.startswith("a")}) == 3
    assert len({job.group for job in plan.jobs}) == 6  # a decomposition for each video and face
    (tmp_path / "masks" / "b.mp4").unlink()
    with pytest.raises(DVAError, match=r"The masks of what stays in front, .*b.mp4, are not there; check the path"):
        make_plan(plan.manifest, tmp_path)


def test_a_job_without_masks_and_people_has_the_fingerprint_it_had(tmp_path):
    """What older versions made is not made again."""
    put(tmp_path, "clips/a.mp4")
    plan = make_plan(manifest(), tmp_path)
    (job,) = plan.jobs
    spec = job.spec.model_dump(mode="json")
    assert set(spec) - {"face", "keep"} == {
        "attributes", "directions", "text", "person", "normalize", "guidance", "tone", "region", "inputs"
    }  # fmt: skip
    parts = [{name: value for name, value in spec.items() if name not in ("face", "keep")}, "largest", str(job.video), job.size]
    parts += [None, {}, plan.settings.model_dump(mode="json", exclude={"batch_size"})]
    assert plan.fingerprint(job) == hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("videos: [{file: a.mp4, face: left}]", "the face 'left' is not known; write largest, position:x,y"),
        ("videos: [{file: a.mp4, face: '0'}]", "0"),
        ("videos: [{file: a.mp4, face: '1,,3'}]", "1,,3"),
        ("videos: [{file: a.mp4, face: '{\"people\": []}'}]", "Nobody is chosen"),
        ("videos: [{file: a.mp4, face: all, person: p}]\npeople: {p: largest}", "both a `face` and a `person`"),
        ("videos: [{file: a.mp4, edits: {x: {attributes: {Young: 1}, person: 2}}}]", "there is no person '2'; name them under `people`"),
        ("videos: [{file: a.mp4, face: all, edits: {x: {text: {target: old}}}}]", "give its `person`, such as 1"),
        ("videos: [{file: a.mp4, edits: {x: {attributes: {Young: 1}, face: all, person: p}}}]\npeople: {p: largest}", "give one of them"),
        ("videos: [{file: a.mp4, keep: m.png}]\nworkflow: a.json", "which a workflow says itself"),
    ],
)
def test_bad_people_and_masks_get_a_sentence(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text + "\nedits: {y: {Young: 1}}")
    with pytest.raises(DVAError) as error:
        read_manifest(tmp_path / "a.yaml")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_people_and_masks_in_a_spreadsheet(tmp_path):
    put(tmp_path, "a.mp4", "hand.png")
    (tmp_path / "jobs.csv").write_text("video;edit;face;person;keep;Young\na.mp4;both;1,3;;hand.png;0,8\na.mp4;one;1,3;3;;0,8\n")
    both, one = load_plan(tmp_path / "jobs.csv").jobs
    assert (both.face, both.whom, both.keep, both.spec.attributes) == ("1,3", "", tmp_path / "hand.png", {"Young": 0.8})
    assert (one.face, one.whom, one.keep, one.group == both.group) == ("1,3", "3", None, True)


def test_people_and_masks_become_a_graph(tmp_path):
    """As nodes of the host and of the pack; masks of many frames are sent as one small video."""
    put(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "masks").mkdir()
    hand = np.zeros((600, 1200, 3), np.uint8)
    hand[:, :400] = 255
    for name in ("hand.png", "masks/0.png", "masks/1.png"):
        save_picture(tmp_path / name, hand if name != "masks/1.png" else 255 - hand)
    edit = {"attributes": {"Young": 0.8}, "person": 2}
    videos = [{"file": "a.mp4", "keep": "hand.png", "face": "all", "edits": {"two": edit}}, {"file": "b.mp4", "keep": "masks"}]
    batch = {"videos": videos, "edits": {"x": {"Young": 1}}}
    plan = make_plan(make_manifest(batch), tmp_path)
    check_for_servers(plan)
    prompts = []
    for job in plan.jobs:
        files = {path: path.name for path in files_of(plan, job)}
        assert all(path.is_file() for path in files)
        prompts.append(make_prompt(plan, None, job, files, "out"))
    several, film = prompts
    assert several["encode"]["inputs"]["people"] == "all" and several["encode"]["inputs"]["face"] == "largest"
    assert several["edit"]["inputs"]["person"] == "2" and several["decode"]["inputs"]["keep"] == ["keep", 0]
    assert several["keep"]["class_type"] == "LoadImageMask" and "people" not in film["encode"]["inputs"]
    kinds = [film[key]["class_type"] for key in ("keep_video", "keep_frames", "keep")]
    assert kinds == ["DVALoadVideo", "GetVideoComponents", "ImageToMask"]
    with open_video(files_of(plan, plan.jobs[1])[1]) as reader:
        frames = [frame.rgb for frame in reader]
    assert [frame.shape for frame in frames] == [(256, 512, 3)] * 2
    assert frames[0][10, 10].tolist() == [255] * 3 and frames[0][10, 400].tolist() == [0] * 3 and frames[1][10, 10].tolist() == [0] * 3
    alone = make_plan(make_manifest({"videos": ["a.mp4"], "edits": {"x": {"Young": 1}}}), tmp_path)
    plain = make_prompt(alone, None, alone.jobs[0], {alone.jobs[0].video: "a.mp4"}, "out")
    assert not {"keep", "person"} & (set(plain["decode"]["inputs"]) | set(plain["edit"]["inputs"]))  # older servers know neither


def test_iterations_were_called_steps(tmp_path):
    """Both names are read, not both at once, and a result that an older version made is not made again."""
    put(tmp_path, "clips/a.mp4")
    jobs = {}
    for name in ("iterations", "steps"):
        plan = make_plan(manifest(edits={"bearded": {"text": {"target": "face with beard", name: 300}}}), tmp_path)
        jobs[name] = plan.fingerprint(plan.jobs[0])
        assert plan.jobs[0].spec.text.iterations == 300
    former = plan.jobs[0].spec.model_dump(mode="json", exclude={"face", "keep"})
    former["text"]["steps"] = former["text"].pop("iterations")
    parts = [former, "largest", str(plan.jobs[0].video), plan.jobs[0].size]
    parts += [None, {}, plan.settings.model_dump(mode="json", exclude={"batch_size"})]
    assert set(jobs.values()) == {hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]}
    with pytest.raises(DVAError, match="steps"):
        manifest(edits={"bearded": {"text": {"target": "x", "iterations": 1, "steps": 2}}})
