"""docs/recipes: each file starts what it says, with the commands and addresses that it names."""

from __future__ import annotations

import ast
import asyncio
import copy
import importlib
import importlib.util
import inspect
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import asyncssh
import click
import dask
import jsonschema
import psutil
import pytest
import typer
import yaml
from distributed.cli.dask_scheduler import main as dask_scheduler
from distributed.cli.dask_worker import main as dask_worker
from distributed.security import Security
from typer.core import TyperGroup

import pipeline
from model.command_line import app
from pipeline.run.cluster import KEEP_FREED_MEMORY, make_client
from pipeline.run.tls import write_certificates
from tests.pipeline.run.programs import wait_for

ROOT = Path(__file__).resolve().parent.parent
RECIPES, PAGE = ROOT / "docs/recipes", ROOT / "docs/cluster.md"
MALLOC = {name.rpartition(".")[2]: str(value) for name, value in KEEP_FREED_MEMORY.items()}
PROGRAMS = {"worker": dask_worker, "scheduler": dask_scheduler}


def load(name: str) -> ModuleType:
    """A recipe as a module."""
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", RECIPES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def require_domst(command: Sequence[str]) -> None:
    """Have `domst` read its options, without doing what they say."""
    assert command[0] == "domst"
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    group.commands[command[1]].make_context(command[1], [*command[2:]])


def require_dask(command: Sequence[str]) -> dict[str, Any]:
    """Have one of Dask's programs read its options; returns them."""
    assert command[0] == "dask"
    if command[1] == "cuda":
        assert command[2] == "worker"
        return cuda_worker().make_context("dask", [*command[3:]]).params
    return PROGRAMS[command[1]].make_context("dask", [*command[2:]]).params


def cuda_worker() -> click.Command:
    """The program of dask-cuda's workers, which reads its options without CUDA too."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("cuda.bindings", "cuda.core"):
            patch.setitem(sys.modules, name, MagicMock())
        command: click.Command = importlib.import_module("dask_cuda.cli").worker
        for name in [one for one in sys.modules if one.split(".")[0] == "dask_cuda"]:
            patch.delitem(sys.modules, name)
    return command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with certificates in `tls`."""
    monkeypatch.chdir(tmp_path)
    write_certificates(Path("tls"))
    return tmp_path


def addresses(*programs: psutil.Process) -> set[str]:
    """IP addresses that programs and their children listen on."""
    family = [one for program in programs for one in (program, *program.children(recursive=True))]
    return {
        connection.laddr.ip
        for process in family
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


def require_cluster(recipe: ModuleType, monkeypatch: pytest.MonkeyPatch, tls: Path | None) -> None:
    """Run a recipe, with a look at its cluster in the place of its commands."""
    seen: list[list[str]] = []

    def look(command: list[str], check: bool) -> None:
        assert check
        require_domst(command)
        seen.append(command)
        if len(seen) > 1:
            return
        before = addresses(psutil.Process())
        with make_client(scheduler_file=Path("scheduler.json"), tls=tls, wait=60) as client:
            assert client.scheduler_info()["address"].startswith("tls://127.0.0.1:")
            assert [*client.nthreads().values()] == [1]
            for name, value in MALLOC.items():
                assert [*client.run(os.getenv, name).values()] == [value]
            (pid,) = client.run(os.getpid).values()
            listening = addresses(psutil.Process(pid).parent() or psutil.Process())
        assert before | listening == {"127.0.0.1"}

    monkeypatch.setattr(recipe, "subprocess", SimpleNamespace(run=look))
    monkeypatch.setattr(recipe, "DASHBOARD", "127.0.0.1:0")
    recipe.main()
    assert len(seen) == len(recipe.COMMANDS)


def test_local_cluster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load("local_cluster")
    monkeypatch.setattr(recipe, "WORKERS", 1)
    require_cluster(recipe, monkeypatch, Path("tls"))


# ------------------------------------------------------------------ by hand

BY_HAND = re.findall(r"^ +(dask (?:scheduler|worker|cuda worker) .*)$", PAGE.read_text(), re.M)


@pytest.mark.parametrize("line", BY_HAND)
def test_documented_programs_listen_where_they_say(line: str) -> None:
    options = require_dask(shlex.split(line))
    assert options["host"] == "127.0.0.1"
    assert options["dashboard_address"].startswith("127.0.0.1:")


def test_programs_by_hand(folder: Path) -> None:
    """The documented scheduler and worker, on free ports, and the sockets that they open."""
    scheduler, worker, _ = BY_HAND
    lines = [f"{scheduler} --port 0".replace(":8787", ":0"), worker.replace("--nworkers 8", "")]
    (exports,) = re.findall(r"^ +export (MALLOC.*)$", PAGE.read_text(), re.M)
    environment = os.environ | {"DASK_CONFIG": "tls"} | dict(x.split("=") for x in exports.split())
    (folder / "build").mkdir()
    programs = []
    with (folder / "log.txt").open("wb") as log:
        try:
            for line in lines:
                command = [sys.executable, "-m", "dask", *shlex.split(line)[1:]]
                programs.append(
                    subprocess.Popen(
                        command, cwd=folder, env=environment, stdout=log, stderr=log,
                        start_new_session=True,
                    )
                )  # fmt: skip
                wait_for((folder / "build/scheduler.json").exists)
            file, tls = folder / "build/scheduler.json", folder / "tls"
            with make_client(scheduler_file=file, tls=tls, wait=60) as client:
                assert client.scheduler_info()["address"].startswith("tls://127.0.0.1:")
                for name, value in MALLOC.items():
                    assert [*client.run(os.getenv, name).values()] == [value]
                listening = [addresses(psutil.Process(one.pid)) for one in programs]
            assert listening == [{"127.0.0.1"}, {"127.0.0.1"}]
        finally:
            for program in programs:
                os.killpg(program.pid, signal.SIGKILL)
                program.wait()


# ------------------------------------------------------------------ SSH


class OpenDoor(asyncssh.SSHServer):
    """Asks nobody for a password: it listens for one test, on the loopback interface."""

    def begin_auth(self, username: str) -> bool:
        return False


@pytest.fixture
def ssh_port() -> Iterator[int]:
    """The port of an SSH server of this process that runs commands."""
    started: list[asyncio.subprocess.Process] = []

    async def run(process: asyncssh.SSHServerProcess) -> None:
        command = await asyncio.create_subprocess_shell(
            str(process.command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        started.append(command)
        pipes = (command.stdout, process.stdout), (command.stderr, process.stderr)
        await asyncio.gather(*(pump(*pipe) for pipe in pipes))
        process.exit(await command.wait())

    async def pump(source: asyncio.StreamReader | None, target: Any) -> None:
        assert source is not None
        while data := await source.read(2**16):
            target.write(data)

    async def listen() -> asyncssh.SSHAcceptor:
        key = asyncssh.generate_private_key("ssh-ed25519")
        return await asyncssh.listen(
            "127.0.0.1", 0, server_factory=OpenDoor, server_host_keys=[key], process_factory=run,
            encoding=None,
        )  # fmt: skip

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(20)
    try:
        yield server.get_port()
    finally:
        for command in started:
            with suppress(ProcessLookupError):
                os.killpg(command.pid, signal.SIGKILL)

        async def stop() -> None:
            server.close()
            await asyncio.gather(*(command.wait() for command in started))

        asyncio.run_coroutine_threadsafe(stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


def test_ssh(folder: Path, ssh_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an SSH server of this machine, which starts the real programs."""
    recipe = load("ssh_cluster")
    monkeypatch.setattr(recipe, "HOSTS", ["127.0.0.1", "127.0.0.1"])
    monkeypatch.setattr(recipe, "SSH", {"known_hosts": None, "port": ssh_port, "username": "me"})
    monkeypatch.setattr(recipe, "INTERFACE", "lo")
    monkeypatch.setattr(recipe, "WORKERS", 1)
    files = dask.config.collect([str(folder / "tls")], env={})  # as $DASK_CONFIG does
    merged = dask.config.merge(dask.config.get("distributed"), files["distributed"])
    with dask.config.set(distributed=merged):
        require_cluster(recipe, monkeypatch, None)


# ------------------------------------------------------------------ SLURM

SBATCH = """#!/bin/sh
cp "$1" {folder}/job.sh
setsid bash {folder}/job.sh > {folder}/job.log 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
kill -- "-$1"
"""


def test_slurm_on_cpus(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an `sbatch` that runs the job at once, on this machine."""
    for name, text in {"sbatch": SBATCH.format(folder=folder), "scancel": SCANCEL}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(folder))
    recipe = load("slurm_cpu")
    for name, value in {"JOBS": 1, "CORES": 1, "INTERFACE": "lo"}.items():
        monkeypatch.setattr(recipe, name, value)
    require_cluster(recipe, monkeypatch, Path("tls"))
    directives = [
        line.removeprefix("#SBATCH ")
        for line in (folder / "job.sh").read_text().splitlines()
        if line.startswith("#SBATCH")
    ]
    assert {"-p compute", "-A hydrology", "-n 1", "--cpus-per-task=1", "--mem=60G"} <= {*directives}
    assert "-t 08:00:00" in directives


@pytest.mark.parametrize("name", ["slurm_cpu", "slurm_gpu"])
def test_slurm_jobs(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    recipe = load(name)
    monkeypatch.setattr(recipe, "INTERFACE", "lo")
    monkeypatch.setattr(recipe, "DASHBOARD", "127.0.0.1:0")
    with recipe.start() as cluster:
        script = cluster.job_script()
        assert cluster.scheduler_address.startswith("tls://127.0.0.1:")
    lines = script.splitlines()
    assert {f"export {variable}={value}" for variable, value in MALLOC.items()} <= {*lines}
    (line,) = [one for one in lines if one.startswith(sys.executable)]
    python, flag, module, *words = shlex.split(line)
    assert (python, flag) == (sys.executable, "-m")
    if name == "slurm_gpu":
        assert module == "dask_cuda.cli"
        assert {"#SBATCH --gres=gpu:1", "#SBATCH --cpus-per-task=4"} <= {*lines}
        options = require_dask(["dask", "cuda", "worker", *words])
        assert options["resources"] == "GPU=1"
    else:
        assert module == "distributed.cli.dask_worker"
        assert f"#SBATCH --cpus-per-task={recipe.CORES}" in lines
        options = require_dask(["dask", "worker", *words])
        assert options["n_workers"] == str(recipe.CORES)
    assert options["nthreads"] == 1
    assert options["interface"] == "lo"
    assert options["dashboard_address"] == "127.0.0.1:0"
    assert {options[f"tls_{one}"] for one in ("ca_file", "cert", "key")} == {
        str(folder / "tls" / one) for one in ("ca.pem", "cert.pem", "key.pem")
    }
    for command in recipe.COMMANDS:
        require_domst(command)


# ------------------------------------------------------------------ from the package index


def download(requirement: str, folder: Path) -> Path:
    """A wheel of what is too large to install for a look into one of its files."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "1"]
    done = subprocess.run(
        [*command, "--dest", folder, requirement],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode:
        reason = f"no package index within reach, so {requirement} cannot be read"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}: {done.stderr}")
        pytest.skip(reason)
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_coiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The options are Coiled's; its cluster is made up."""
    with zipfile.ZipFile(download("coiled==1.135.6", tmp_path)) as archive:
        module = ast.parse(archive.read("coiled/v2/cluster.py"))
    (cluster,) = [
        node for node in module.body if isinstance(node, ast.ClassDef) and node.name == "Cluster"
    ]
    inits = [
        node.args
        for node in cluster.body
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    ]
    known = {one.arg for arguments in inits for one in (*arguments.args, *arguments.kwonlyargs)}
    made, called = MagicMock(), MagicMock()
    monkeypatch.setitem(sys.modules, "coiled", made)
    recipe = load("coiled_cluster")
    monkeypatch.setattr(recipe, "pipeline", SimpleNamespace(run=called))
    recipe.main()
    options = made.Cluster.call_args.kwargs
    assert options.keys() <= known
    assert options["allow_ingress_from"] == "me"
    (arguments, keywords) = called.call_args
    bound = inspect.signature(pipeline.run).bind(*arguments, **keywords).arguments
    client = made.Cluster.return_value.__enter__().get_client().__enter__()
    assert bound == {
        "catalog": recipe.CATALOG, "store": recipe.STORE, "client": client, "wait": 600
    }  # fmt: skip


# ------------------------------------------------------------------ Kubernetes

OPERATOR = "dask-kubernetes==2026.3.0"  # its wheel has the schemas of the operator's resources
CRDS = "dask_kubernetes/operator/deployment/helm/dask-kubernetes-operator/crds"


@pytest.fixture(scope="module")
def job_schema(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON schema of a DaskJob, which contains Kubernetes' own of pods and services."""
    wheel = download(OPERATOR, tmp_path_factory.mktemp("operator"))
    with zipfile.ZipFile(wheel) as archive:
        definition = yaml.load(archive.read(f"{CRDS}/daskjob.yaml"), yaml.CSafeLoader)
    (version,) = definition["spec"]["versions"]
    schema: dict[str, Any] = closed(version["schema"]["openAPIV3Schema"])
    about = {"apiVersion": {"const": "kubernetes.dask.org/v1"}, "kind": {"const": "DaskJob"}}
    name = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    schema["properties"] |= about | {"metadata": name}
    return schema | {"required": ["apiVersion", "kind", "metadata", "spec"]}


def closed(schema: Any) -> Any:
    """A schema that refuses keys that it does not know, as `kubectl` does."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    open_ = schema.get("x-kubernetes-preserve-unknown-fields")
    if schema.get("type") == "object" and "properties" in schema and not open_:
        made["additionalProperties"] = False
    return made


def job() -> dict[str, Any]:
    """The manifest."""
    loaded: dict[str, Any] = yaml.safe_load((RECIPES / "kubernetes.yaml").read_text())
    return loaded


def errors(schema: dict[str, Any], manifest: dict[str, Any]) -> list[str]:
    return [one.message for one in jsonschema.Draft202012Validator(schema).iter_errors(manifest)]


def test_kubernetes_manifest_fits_the_operators_schema(job_schema: dict[str, Any]) -> None:
    assert not errors(job_schema, job())
    for spoil in ("replicas", "image", "volumeMounts", "secretName", "httpGet"):
        text = (RECIPES / "kubernetes.yaml").read_text()
        assert f"{spoil}:" in text
        assert errors(job_schema, yaml.safe_load(text.replace(f"{spoil}:", f"{spoil}s:"))), spoil


def test_kubernetes_runs_the_real_command_lines(folder: Path) -> None:
    spec = job()["spec"]
    pods = {
        "scheduler": spec["cluster"]["spec"]["scheduler"]["spec"],
        "worker": spec["cluster"]["spec"]["worker"]["spec"],
        "job": spec["job"]["spec"],
    }
    containers = {name: pod["containers"][0] for name, pod in pods.items()}
    for name, pod in pods.items():
        mounted = {one["name"]: one["mountPath"] for one in containers[name]["volumeMounts"]}
        assert mounted == {"data": "/data", "tls": "/tls"}
        assert {one["name"] for one in pod["volumes"]} == {*mounted}
        env = {one["name"]: one["value"] for one in containers[name]["env"]}
        assert env.items() >= MALLOC.items()
        config = copy.deepcopy(dask.config.config)
        dask.config.update(config, dask.config.collect([], env))
        with dask.config.set(distributed=config["distributed"]):
            assert dask.config.get("distributed.comm.default-scheme") == "tls"
            security = Security()
            assert security.require_encryption
            for role in ("client", "scheduler", "worker"):
                found = security.get_tls_config_for_role(role)
                assert (found["ca_file"], found["cert"], found["key"]) == (
                    "/tls/ca.pem", "/tls/cert.pem", "/tls/key.pem",
                )  # fmt: skip
    require_dask(containers["scheduler"]["args"])
    worker = require_dask(containers["worker"]["args"])
    assert worker["nthreads"] == 1
    assert worker["memory_limit"] == containers["worker"]["resources"]["limits"]["memory"] + "B"
    (script,) = containers["job"]["args"]
    for line in script.splitlines():
        require_domst(shlex.split(line))
    service = spec["cluster"]["spec"]["scheduler"]["service"]
    ports = {one["name"]: one["containerPort"] for one in containers["scheduler"]["ports"]}
    assert {one["targetPort"]: one["port"] for one in service["ports"]} == ports
