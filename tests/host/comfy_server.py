"""A ComfyUI of its own for the tests: started on loopback in an empty base directory, with this checkout as its only pack."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS, PROMPT_SECONDS, TRIES = 800, 800, 3
# of ComfyUI's requirements those that most other environments lack, and ours
NEEDED = ("torch", "torchvision", "torchsde", "aiohttp", "av", "safetensors", "einops", "scipy", "cv2", "tqdm")
FOLDERS = ("custom_nodes", "input", "output", "temp", "models/dva", "elsewhere", "user")


def is_comfy(place: Path) -> bool:
    return (place / "main.py").is_file() and (place / "comfy").is_dir()


def named_hosts() -> list[Path]:
    """$COMFYUI_DIRS (with the system's path separator between), else $COMFYUI_DIR."""
    entries = os.environ.get("COMFYUI_DIRS", "").split(os.pathsep), [os.environ.get("COMFYUI_DIR")]
    return next((places for named in entries if (places := [Path(entry).expanduser() for entry in named if entry])), [])


def find_hosts() -> list[Path]:
    """The ComfyUIs to test in: those that are named, else the one this checkout is installed in and those in ~/comfy."""
    return [place for place in named_hosts() or [ROOT.parent.parent, *sorted((Path.home() / "comfy").glob("ComfyUI*"))] if is_comfy(place)]


def find_comfy() -> Path | None:
    """The first of them; None where there is none."""
    return next(iter(find_hosts()), None)


def comfy_version(comfy: Path) -> str:
    match = re.search(r'__version__ = "(.+)"', (comfy / "comfyui_version.py").read_text(encoding="utf-8"))
    return match[1] if match else comfy.name


def comfy_python(comfy: Path) -> str:
    """The interpreter of ComfyUI's own environment, or this one."""
    own = [comfy / ".venv" / "bin" / "python", comfy / ".venv" / "Scripts" / "python.exe", comfy / "venv" / "bin" / "python"]
    return str(next((path for path in own if path.is_file()), sys.executable))


def put_in_place(link: Path) -> None:
    """This checkout as a pack: a link, or a junction where Windows allows no links."""
    try:
        link.symlink_to(ROOT, target_is_directory=True)
    except OSError:
        if os.name != "nt":
            raise
        subprocess.run(["cmd", "/c", "mklink", "/J", str(link), str(ROOT)], check=True, capture_output=True)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


# a test run that is killed leaves no server behind; elsewhere than on Linux it may
die_with_parent = _die_with_parent if sys.platform == "linux" else None


def missing_packages(python: str) -> str:
    """Empty, or why ComfyUI cannot run in that interpreter."""
    code = "import importlib.util, sys; print(*[name for name in sys.argv[1:] if not importlib.util.find_spec(name)])"
    done = subprocess.run([python, "-c", code, *NEEDED], capture_output=True, text=True, timeout=READY_SECONDS)
    lacking = ", ".join(done.stdout.split()) if done.returncode == 0 else done.stderr.strip()[-300:]
    return lacking and f"{python} lacks {lacking}"


@dataclass
class Answer:
    """What became of a prompt: ComfyUI's history of it."""

    prompt_id: str
    status: dict[str, Any]
    outputs: dict[str, Any]

    @property
    def succeeded(self) -> bool:
        return self.status["status_str"] == "success"

    def message(self, kind: str) -> dict[str, Any]:
        """The first message of a kind ("execution_error", "execution_cached", ...), or {}."""
        return next((body for name, body in self.status["messages"] if name == kind), {})

    @property
    def cached(self) -> set[str]:
        """Nodes that were not run again."""
        return set(self.message("execution_cached").get("nodes", ()))

    @property
    def error(self) -> str:
        return self.message("execution_error").get("exception_message", "").strip()


@dataclass
class Server:
    """A running ComfyUI."""

    base: Path
    comfy: Path
    python: str
    flags: tuple[str, ...] = ()
    pack: bool = True
    port: int = 0
    process: subprocess.Popen | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.base / "server.log").read_text(encoding="utf-8", errors="replace")

    def start(self) -> Server:
        for folder in FOLDERS:
            (self.base / folder).mkdir(parents=True, exist_ok=True)
        link = self.base / "custom_nodes" / "diffusion-video-autoencoder"
        if self.pack and not link.exists():
            put_in_place(link)
        (self.base / "paths.yaml").write_text(f"tests:\n  base_path: {self.base / 'elsewhere'}\n  dva: .\n", encoding="utf-8")
        for _ in range(TRIES):
            if self._start():
                return self
        raise RuntimeError(f"ComfyUI did not start:\n{self.log[-3000:]}")

    def _start(self) -> bool:
        """Starts it on a port that is free; False where another program has taken that in between."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [self.python, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(self.port), "--disable-auto-launch"]
        command += ["--disable-api-nodes", "--database-url", "sqlite:///:memory:", "--base-directory", str(self.base)]
        command += ["--extra-model-paths-config", str(self.base / "paths.yaml"), *self.flags]
        with open(self.base / "server.log", "ab") as log:
            environment = {**os.environ, "PYTHONPATH": ""}
            self.process = subprocess.Popen(
                command, cwd=self.comfy, stdout=log, stderr=subprocess.STDOUT, env=environment, preexec_fn=die_with_parent
            )
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            try:
                self.get("/system_stats")
                return True
            except OSError:
                time.sleep(0.5)
        if self.process.poll() is not None and "address already in use" in self.log[-3000:]:
            return False
        lacking = re.findall(r"^(?:ModuleNotFoundError|ImportError): .*", self.log, re.MULTILINE)
        if lacking and self.process.poll() is not None:
            raise CannotRun(lacking[-1])
        raise RuntimeError(f"ComfyUI did not start:\n{self.log[-3000:]}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    # -- talking to it -------------------------------------------------------------------------------------------

    def request(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=300) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def get(self, path: str) -> Any:
        return self.request(path)

    def add_input(self, file: Path, name: str | None = None) -> str:
        """Copies a file into the input folder; its name there."""
        name = name or file.name
        shutil.copyfile(file, self.base / "input" / name)
        return name

    def queue(self, prompt: dict[str, Any]) -> str:
        """The id of the queued prompt; Refused where the server does not take it."""
        prompt_id = str(uuid.uuid4())
        try:
            answer = self.request("/prompt", {"prompt": prompt, "prompt_id": prompt_id, "client_id": "tests"})
        except urllib.error.HTTPError as error:
            raise Refused(json.loads(error.read())) from None
        if answer["node_errors"]:
            raise Refused(answer)
        return answer["prompt_id"]

    def wait(self, prompt_id: str, seconds: float = PROMPT_SECONDS) -> Answer:
        """What became of a queued prompt, once it has ended."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry is not None:
                return Answer(prompt_id, entry["status"], entry["outputs"])
            if self.process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended:\n{self.log[-3000:]}")
            time.sleep(0.2)
        raise TimeoutError(f"The prompt did not end in {seconds} s:\n{self.log[-3000:]}")

    def run(self, prompt: dict[str, Any], seconds: float = PROMPT_SECONDS) -> Answer:
        return self.wait(self.queue(prompt), seconds)

    def file(self, output: dict[str, str]) -> Path:
        """The file that a node's output for the page names."""
        return self.base / output["type"] / output["subfolder"] / output["filename"]

    @property
    def memory(self) -> float:
        """Resident memory, MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    @property
    def seconds(self) -> float:
        """Processor time that it has used, whatever else the machine is busy with; 0 on systems that do not say."""
        status = Path(f"/proc/{self.process.pid}/stat")
        if not status.is_file():
            return 0.0
        user, system = status.read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class CannotRun(Exception):
    """ComfyUI's own environment lacks something that ComfyUI needs."""


class Refused(Exception):
    """The server did not take a prompt; `reasons` are its sentences."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(json.dumps(answer))
        errors = [error for node in (answer.get("node_errors") or {}).values() for error in node["errors"]]
        self.reasons = [f"{error.get('message', '')}: {error.get('details', '')}" for error in errors]
