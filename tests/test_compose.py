"""docker-compose.yml: valid, closed to the outside, and every command line in it runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from distributed import Client
from typer.core import TyperGroup

from model.command_line import app
from pipeline.run.cluster import KEEP_FREED_MEMORY
from pipeline.run.tls import read_certificates

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = ROOT / "docker-compose.yml"


def interpolated(text: str, **variables: str) -> str:
    """The file as Compose reads it when no other of its variables is set."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda m: variables.get(m[1], m[2]), text)


def words(service: dict[str, Any]) -> list[str]:
    """The command line of a service."""
    parts = [service.get("entrypoint", []), service["command"]]
    return [word for one in parts for word in (shlex.split(one) if isinstance(one, str) else one)]


CONFIG: dict[str, Any] = yaml.safe_load(interpolated(COMPOSE.read_text()))
SERVICES: dict[str, dict[str, Any]] = CONFIG["services"]


# ------------------------------------------------------------------ the file


def schema_errors(path: Path) -> str:
    """What the Compose specification's own JSON schema says against a file; empty if nothing."""
    command = [sys.executable, "-m", "check_jsonschema"]
    command += ["--builtin-schema", "vendor.compose-spec", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_valid_against_the_compose_schema(tmp_path):
    assert not schema_errors(COMPOSE)
    resolved = tmp_path / "docker-compose.yml"
    resolved.write_text(interpolated(COMPOSE.read_text()))
    assert "$" not in resolved.read_text().replace("$DOMST_DATA", "")
    assert not schema_errors(resolved)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("    command: [", "    comand: ["),
        ("condition: service_healthy", "condition: healthy"),
        ("capabilities: [gpu]", "capabilities: gpu"),
    ],
)
def test_schema_refuses_a_mistake(tmp_path, right, wrong):
    text = COMPOSE.read_text()
    assert right in text
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(text.replace(right, wrong))
    assert schema_errors(broken)


def test_docker_compose_accepts_the_file_where_it_is_installed():
    for program in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(program[0]) is None:
            continue
        if subprocess.run([*program, "version"], capture_output=True, check=False).returncode:
            continue  # docker without its compose plugin
        done = subprocess.run(
            [*program, "-f", str(COMPOSE), "config", "--quiet"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_only_the_dashboard_is_published_and_on_loopback():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"scheduler": ["127.0.0.1:8787:8787"]}


def test_only_clients_with_the_certificate_reach_the_scheduler():
    for name, service in SERVICES.items():
        assert service["environment"]["DASK_CONFIG"] == "/tls", name
        assert "tls:/tls" in service["volumes"], name
        assert not [word for word in words(service) if word.startswith("tcp://")], name
    assert SERVICES["certificates"]["command"][-2:] == ["certificates", "/tls"]
    needed = SERVICES["scheduler"]["depends_on"]
    assert needed == {"certificates": {"condition": "service_completed_successfully"}}
    listening = {name for name, service in SERVICES.items() if "0.0.0.0" in str(words(service))}
    assert listening == {"scheduler"}


def test_documented_commands_name_what_is_there():
    """Of the file's head and of docs/cluster.md."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    text = COMPOSE.read_text() + (ROOT / "docs/cluster.md").read_text()
    known = set(re.findall(r"\$\{(\w+):-", text))
    found = re.findall(r"^[# ]*((?:\w+=\S+ )*docker compose .*?)(?:  .*)?$", text, re.M)
    assert len(found) >= 8
    for command in found:
        variables = re.findall(r"(\w+)=\S+ ", command.partition("docker")[0])
        assert {*variables} <= known, command
        if "--profile cuda" in command:
            assert command.startswith("DOMST_EXTRAS=cuda "), command
            assert "--scale worker=0" in command, command
        if " run " in command:
            match = re.search(r" run --rm --no-deps (\w+) (.*)", command)
            assert match, command
            assert match[1] in SERVICES, command
            given = [*SERVICES[match[1]]["entrypoint"][3:], *shlex.split(match[2])]
            group.commands[match[1]].make_context(match[1], given)
        if " cp " in command:
            match = re.search(r" cp (\w+):(/\w+)", command)
            assert match, command
            mounts = [one.split(":")[1] for one in SERVICES[match[1]]["volumes"]]
            assert match[2] in mounts, command


def test_options_of_the_training():
    text = interpolated(COMPOSE.read_text(), DOMST_TRAIN="--trunk shared --set updates=5")
    command = words(yaml.safe_load(text)["services"]["train"])
    assert command[:4] == ["python", "-m", "model.train", "/data/store.zarr"]
    assert command[-6:] == [
        "--run",
        "/data/runs/latest",
        "--trunk",
        "shared",
        "--set",
        "updates=5",
    ]


def test_workers_keep_freed_memory():
    for service in SERVICES.values():
        for name, value in KEEP_FREED_MEMORY.items():
            assert service["environment"][name.rpartition(".")[2]] == str(value)


def test_names_in_the_file_exist():
    for service in SERVICES.values():
        assert service.get("depends_on", {}).keys() <= SERVICES.keys()
        for volume in service["volumes"]:
            assert volume.partition(":")[0] in CONFIG["volumes"]


def test_gpu_workers_stay_in_their_profile():
    assert {name for name, service in SERVICES.items() if "profiles" in service} == {"worker-cuda"}
    worker = SERVICES["worker-cuda"]
    assert worker["profiles"] == ["cuda"]
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert worker["command"][:3] == ["dask", "cuda", "worker"]


def test_image_is_not_root_and_copies_what_exists():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert [line.split()[1] for line in lines if line.startswith("USER ")] == ["domst"]
    kept = (ROOT / ".dockerignore").read_text()
    for line in lines:
        if line.startswith("COPY "):
            for name in line.split()[1:-1]:
                assert (ROOT / name).exists(), line
                assert f"!{name}" in kept, f"{name} does not reach the build"


# ------------------------------------------------------------------ the command lines, natively


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Host:
    """Stands in for the container engine: the services' processes, on loopback, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scheduler = free_port()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.dashboards: list[int] = []  # of each process
        for name in ("data", "raw", "tls"):
            (folder / name).mkdir()

    def native(self, argument: str, dashboard: int = 0) -> str:
        """One argument of the file with its addresses and paths exchanged for this host's."""
        for theirs, ours in {
            "scheduler:8786": f"127.0.0.1:{self.scheduler}",
            "0.0.0.0:8787": f"127.0.0.1:{dashboard}",
            "127.0.0.1:8787": f"127.0.0.1:{dashboard}",
        }.items():
            argument = argument.replace(theirs, ours)
        whole = {"0.0.0.0": "127.0.0.1", "8786": str(self.scheduler)}
        path = re.fullmatch(r"/(?:data|raw|tmp|tls)(?:/.*)?", argument)
        return f"{self.folder}{argument}" if path else whole.get(argument, argument)

    def command(self, words: list[str], dashboard: int) -> list[str]:
        """A command line of the file as this interpreter runs it here."""
        start = {"python": [sys.executable], "dask": [sys.executable, "-m", "dask"]}[words[0]]
        return start + [self.native(word, dashboard) for word in words[1:]]

    def log(self, process: subprocess.Popen[bytes]) -> str:
        """The last that a process wrote."""
        number = self.processes.index(process)
        return (self.folder / f"{number}.log").read_text(errors="replace")[-4000:]

    def start(self, service: str, *more: str) -> subprocess.Popen[bytes]:
        """A service's process, in a process group of its own."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("DASK_")}
        theirs = SERVICES[service].get("environment", {})
        environment = inherited | {k: self.native(v) for k, v in theirs.items()}
        dashboard = free_port()
        with (self.folder / f"{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                self.command(words(SERVICES[service]), dashboard) + list(more),
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        self.dashboards.append(dashboard)
        return process

    def finish(self, service: str, *more: str, seconds: float) -> None:
        """Run a one-shot service to its end, which must be a good one."""
        process = self.start(service, *more)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{service} was not done after {seconds} s:\n{self.log(process)}")
        assert code == 0, f"{service} exited with {code}:\n{self.log(process)}"

    def wait_until_healthy(self, service: str, process: subprocess.Popen[bytes]) -> None:
        """Call the service's own health check until it passes."""
        kind, *check = SERVICES[service]["healthcheck"]["test"]
        assert kind == "CMD"
        command = self.command(check, self.dashboards[self.processes.index(process)])
        deadline = time.monotonic() + 60
        while subprocess.run(command, capture_output=True, timeout=30, check=False).returncode:
            assert process.poll() is None, f"{service} ended:\n{self.log(process)}"
            assert time.monotonic() < deadline, f"{service} is not healthy:\n{self.log(process)}"
            time.sleep(0.5)

    def stop(self) -> None:
        """End every process group, the youngest first."""
        for process in reversed(self.processes):
            for sign in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, sign)
                    process.wait(15)
                except ProcessLookupError:
                    break
                except subprocess.TimeoutExpired:
                    continue


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host for the services; nothing of it survives the test."""
    host = Host(tmp_path)
    try:
        yield host
    finally:
        host.stop()


def transitions(host: Host) -> int:
    """How many task transitions the scheduler has seen: grows when a client gives it work."""
    address, security = f"tls://127.0.0.1:{host.scheduler}", read_certificates(host.folder / "tls")
    with Client(address, timeout=30, set_as_default=False, security=security) as client:
        client.wait_for_workers(SERVICES["worker"]["deploy"]["replicas"], timeout=60)
        for name, value in KEEP_FREED_MEMORY.items():
            found = client.run(os.getenv, name.rpartition(".")[2])
            assert {*found.values()} == {str(value)}
        count = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_counter)
        return int(count)


@pytest.mark.timeout(560)
def test_services_run_as_processes(host):
    host.finish("certificates", seconds=60)
    scheduler = host.start("scheduler")
    host.wait_until_healthy("scheduler", scheduler)
    workers = [host.start("worker") for _ in range(SERVICES["worker"]["deploy"]["replicas"])]
    for worker in workers:
        host.wait_until_healthy("worker", worker)
    at_start = transitions(host)

    host.finish("sample", "--tiny", seconds=120)
    host.finish("pipeline", seconds=180)
    after_pipeline = transitions(host)
    assert after_pipeline > at_start  # the work went to the workers, not to the client's process
    store = host.folder / "data" / "store.zarr"
    check = [sys.executable, "-m", "pipeline", "check", str(store)]
    checked = subprocess.run(check, capture_output=True, text=True, timeout=120, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr

    host.finish("train", "--updates", "5", "--site", "99000001", seconds=240)
    assert transitions(host) > after_pipeline
    metrics = json.loads((host.folder / "data" / "runs" / "latest" / "metrics.json").read_text())
    assert [head["site_no"] for head in metrics["heads"]] == ["99000001"]
    assert all(process.poll() is None for process in (scheduler, *workers))  # the cluster lives on
