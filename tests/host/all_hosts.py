"""The host tests on every ComfyUI there is, and a table of hosts and tests: PYTHONPATH=tests python -m host.all_hosts [PYTEST'S OPTIONS]"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .comfy_server import ROOT, comfy_python, comfy_version, find_hosts, is_comfy, named_hosts

HERE = Path(__file__).resolve().parent
MOST_SECONDS = 8 * 60  # a host
FIRST = ("test_host_page_", "test_host_workflows")  # files of one process; the others take as long
PAGE = "import importlib.metadata as m; print(m.version('comfyui-frontend-package'))"


def run(comfy: Path, arguments: list[str]) -> list[ElementTree.Element]:
    """What became of each test on one host; of all host tests, in two processes at once, where the options name no file."""
    with ThreadPoolExecutor() as pool:
        return [case for cases in pool.map(lambda places: run_some(comfy, [*places, *arguments]), parts_of(arguments)) for case in cases]


def parts_of(arguments: list[str]) -> list[list[str]]:
    """The files of the tests for each process; none where the options name some."""
    if any(names_tests(argument) for argument in arguments):
        return [[]]
    files = [str(path.relative_to(ROOT)) for path in sorted(HERE.glob("test_*.py"))]
    first = [file for file in files if Path(file).stem.startswith(FIRST)]
    return [first, [file for file in files if file not in first]]


def run_some(comfy: Path, arguments: list[str]) -> list[ElementTree.Element]:
    """What became of each test of one process on one host."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-rs", f"--junitxml={report}", *arguments]
        environment = {name: value for name, value in os.environ.items() if name != "COMFYUI_DIRS"}
        subprocess.run(command, cwd=ROOT, env={**environment, "COMFYUI_DIR": str(comfy), "PYTHONPATH": ""})
        return list(ElementTree.parse(report).iter("testcase")) if report.is_file() else []


def names_tests(argument: str) -> bool:
    return argument.split("::")[0].endswith(".py")


def title(comfy: Path) -> str:
    """Such as "0.33.0, page 1.58.1": hosts of one version may have different pages."""
    done = subprocess.run([comfy_python(comfy), "-c", PAGE], capture_output=True, text=True)
    return comfy_version(comfy) + (f", page {done.stdout.strip()}" if done.returncode == 0 else "")


def titles(hosts: list[Path]) -> list[str]:
    """A name for each host, with its folder where another has the same."""
    names = [title(comfy) for comfy in hosts]
    return [f"{name} in {comfy}" if names.count(name) > 1 else name for name, comfy in zip(names, hosts)]


def outcome(case: ElementTree.Element) -> str:
    kinds = {child.tag for child in case}
    return "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"


def module_of(case: ElementTree.Element) -> str:
    return case.get("classname", "").split(".")[-1]


def cell(cases: list[ElementTree.Element]) -> str:
    """Such as "11 passed, 1 skipped, 34 s" or "9 passed, 3 FAILED, 20 s"; "-" where none ran."""
    if not cases:
        return "-"
    counts, words = Counter(outcome(case) for case in cases), {"passed": "passed", "skipped": "skipped", "failed": "FAILED"}
    return ", ".join([*(f"{counts[kind]} {word}" for kind, word in words.items() if counts[kind]), f"{seconds(cases):.0f} s"])


def table(results: dict[str, list[ElementTree.Element]]) -> str:
    """Markdown: a row a test file, a column a host, with all of them in the last row."""
    modules = sorted({module_of(case) for cases in results.values() for case in cases})
    rows = [["tests", *(f"ComfyUI {name}" for name in results)]]
    rows += [[module, *(cell([case for case in cases if module_of(case) == module]) for cases in results.values())] for module in modules]
    rows.append(["all", *(cell(cases) for cases in results.values())])
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def seconds(cases: list[ElementTree.Element]) -> float:
    return sum(float(case.get("time", 0)) for case in cases)


def main(*arguments: str) -> int:
    """1 where a test failed, a host ran none, what was named is no ComfyUI, or there is no host."""
    hosts = find_hosts()
    wrong = [place for place in named_hosts() if not is_comfy(place)]
    results, took = {}, {}
    for name, comfy in zip(titles(hosts), hosts):
        began = time.monotonic()
        results[name] = run(comfy, list(arguments))
        took[name] = time.monotonic() - began
    if results:
        sys.stdout.write(f"\n{table(results)}\n")
    else:
        sys.stdout.write("NO COMFYUI WAS FOUND: set COMFYUI_DIRS to one or more checkouts of it.\n")
    for place in wrong:
        sys.stdout.write(f"NO COMFYUI: {place} has no main.py and comfy folder\n")
    for name, cases in results.items():
        if not cases:
            sys.stdout.write(f"NOTHING RAN on {name}: see above\n")
        for case in cases:
            if outcome(case) == "failed":
                sys.stdout.write(f"FAILED on {name}: {module_of(case)}::{case.get('name')}\n")
        if took[name] > MOST_SECONDS:
            sys.stdout.write(f"SLOW: {name} took {took[name]:.0f} s, more than {MOST_SECONDS} s\n")
    failed = any(not cases or any(outcome(case) == "failed" for case in cases) for cases in results.values())
    return int(bool(failed or wrong or not results))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
