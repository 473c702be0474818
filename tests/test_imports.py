"""The order of the packages, in which imports run one way, and the packages that are declared."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

# each imports only from those before it, and from itself; modules are allowed to import within their package
ORDER = (
    "version",
    "errors",
    "values",
    "progress",
    "leftovers",
    "files",
    "networks",
    "diffusion",
    "hosts",
    "video",
    "model",
    "faces",
    "decomposition",
    "edit",
    "pipeline",
    "train",
    "evaluate",
    "batch",
    "commands",
    "nodes",
)
DOORS = ("dva_core/__init__.py", "dva_core/__main__.py")  # hand on names from any of them
BROUGHT = {"comfy", "comfy_api", "folder_paths", "server"}  # by ComfyUI, where the nodes run; aiohttp too
NAMES = {
    "PIL": "pillow",
    "cv2": "opencv-python",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "open_clip": "open-clip-torch",
    "yaml": "pyyaml",
}
NOT_IMPORTED = {  # declared for what they bring
    "insightface": {"onnxruntime"},  # how it runs its networks
    "train": {"tensorboard"},  # by torch.utils
    "registry": {"comfy-cli", "comfy-test", "comfy-import-guard"},  # commands
    "test": {
        "pytest-timeout",
        "ruff",
        "onnx",
        "onnxruntime",
        "scikit-image",
        "scikit-learn",
        "torchmetrics",
        "matplotlib",
        "playwright",
        "jsonschema",
        "ray",
    },
}
FILES = sorted([*(ROOT / "dva_core").rglob("*.py"), *(ROOT / "nodes").glob("*.py")])


def room(module: str) -> str:
    """The package that a module belongs to: the second word of dva_core's, and "nodes"."""
    parts = module.split(".")
    return parts[0] if parts[0] == "nodes" else (*parts, "")[1]


@cache
def imported(path: Path) -> list[tuple[int, str]]:
    """Line and full name of every module that a file imports, at its top or inside a function; `from m import name` counts as m.name."""
    return [(line, name) for line, name, _ in all_imports(path)]


@cache
def all_imports(path: Path) -> list[tuple[int, str, bool]]:
    """As `imported`, and whether it is for annotations alone (below `if TYPE_CHECKING:`)."""
    package, imports = path.relative_to(ROOT).parts[:-1], []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    conditions = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    typing = {id(child) for node in conditions for child in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(node.lineno, alias.name, id(node) in typing) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*start, *filter(None, [node.module])))
            imports += [(node.lineno, f"{base}.{alias.name}", id(node) in typing) for alias in node.names]
    return imports


@cache
def module_of(name: str) -> str | None:
    """The module of ours that an imported name is, or lies in; None for others."""
    for candidate in (name, name.rpartition(".")[0]):
        path = ROOT.joinpath(*candidate.split("."))
        if candidate.split(".")[0] in ("dva_core", "nodes") and (path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()):
            return candidate
    return None


def test_every_package_has_its_place():
    rooms = {path.relative_to(ROOT / "dva_core").parts[0].removesuffix(".py") for path in FILES if "dva_core" in path.parts}
    assert rooms - {"__init__", "__main__"} <= set(ORDER)


def test_no_import_runs_back_up():
    back = []
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        here = room(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for line, target in imported(path):
            module = module_of(target)
            if module is None or name in DOORS:
                continue
            there = room(module)
            if not there and target != "dva_core":
                back.append(f"{name}:{line} takes {target} from the door")
            elif there and ORDER.index(there) > ORDER.index(here):
                back.append(f"{name}:{line} imports {target}")
    assert not back, "\n".join(back)


def test_nodes_leave_the_commands_alone():
    assert not [
        (path.name, target) for path in (ROOT / "nodes").glob("*.py") for _, target in imported(path) if "dva_core.commands" in target
    ]


def test_no_module_imports_itself_by_others():
    """Within a package too: the modules can be put in an order."""
    graph: dict[str, set[str]] = {}
    for path in FILES:
        parts = path.relative_to(ROOT).with_suffix("").parts
        own = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if path.relative_to(ROOT).as_posix() not in DOORS:
            needed = (module_of(target) for _, target, typing in all_imports(path) if not typing)
            graph[own] = {module for module in needed if module not in (None, own, "dva_core")}
    while ready := [module for module, needs in graph.items() if not needs & graph.keys()]:
        for module in ready:
            del graph[module]
    assert not graph, f"in a loop: {', '.join(sorted(graph))}"


def declared() -> dict[str, set[str]]:
    """What pyproject.toml declares: "" (always needed) and each extra -> names, lower case, without versions."""
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {group: {re.split(r"[<>=!~ \[;]", name)[0].lower().replace("_", "-") for name in names} for group, names in groups.items()}


def packages(paths: list[Path]) -> set[str]:
    """The packages that the files import, by the names they are installed by."""
    names = {
        target.split(".")[0] for path in paths for _, target in imported(path) if path.parent.name != "nodes" or "aiohttp" not in target
    }
    names -= {*sys.stdlib_module_names, "dva_core", "nodes", *BROUGHT}
    return {NAMES.get(name, name).lower().replace("_", "-") for name in names}


def test_what_is_imported_is_declared():
    groups = declared()
    assert packages(FILES) <= set.union(*(names for group, names in groups.items() if group not in ("registry", "test")))


def test_what_is_declared_is_imported():
    everywhere = packages([*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").glob("*.py")])
    used = packages(FILES)
    for group, names in declared().items():
        unused = names - (everywhere if group == "test" else used) - NOT_IMPORTED.get(group, set())
        assert not unused, f"declared in {group or 'dependencies'} and never imported: {', '.join(sorted(unused))}"


def test_the_lists_of_what_is_needed_agree():
    """pyproject.toml's dependencies, requirements.txt up to its optional part, and what the pack's door names when one is missing."""
    needed = declared()[""]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").split("# optional")[0].splitlines()
    assert {line.strip().lower() for line in lines if line.strip() and not line.startswith("#")} == needed
    door = re.search(r"REQUIRED = \((.*?)\)", (ROOT / "__init__.py").read_text(encoding="utf-8"))[1]
    assert {NAMES.get(name, name) for name in re.findall(r'"(\w+)"', door)} == needed
