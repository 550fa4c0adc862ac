"""What lies under deploy/ is read by the tools that it is for, and its settings by Meuse itself."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from meuse.config import read_settings
from meuse.settings import Settings

from tests.brokers import program

BIN = ".venv/bin"


def settings_of(text: str, name: str) -> Settings:
    return read_settings(tomllib.loads(text), name)


@pytest.fixture
def deploy(root: Path) -> Path:
    return root / "deploy"


def documents(path: Path) -> list[dict[str, dict[str, str]]]:
    return list(yaml.safe_load_all(path.read_text()))


def test_systemd_accepts_the_units(deploy: Path, tmp_path: Path) -> None:
    """Their programs stand elsewhere here: in place of each there is a file that may be run."""
    here = tmp_path / "bin"
    here.mkdir()
    for name in ("meuse", "nats-server"):
        (here / name).write_text("#!/bin/sh\n")
        (here / name).chmod(0o755)
    for unit in sorted((deploy / "systemd").glob("*.service")):
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/meuse/bin", str(here)))
    units = [str(path).replace("@.", "@store.") for path in sorted(tmp_path.glob("*.service"))]
    done = subprocess.run(
        [program("systemd-analyze", "systemd"), "verify", "--man=no", *units], capture_output=True, text=True
    )
    assert len(units) == 3 and (done.returncode, done.stdout + done.stderr) == (0, "")


def test_compose_accepts_its_file_and_every_service_finds_what_it_names(deploy: Path, tmp_path: Path) -> None:
    copy = tmp_path / "deploy"
    shutil.copytree(deploy, copy, ignore=shutil.ignore_patterns("secrets", "nats.env"))
    subprocess.run(["sh", str(copy / "compose/secrets.sh")], check=True)
    before = {path.name: path.read_text() for path in (copy / "compose/secrets").iterdir()}
    assert sorted(before) == ["nats", "postgres"] and before["nats"] != before["postgres"]
    assert (copy / "compose/secrets").stat().st_mode & 0o077 == 0, "the folder is its owner's alone"
    subprocess.run(["sh", str(copy / "compose/secrets.sh")], check=True)
    assert {path.name: path.read_text() for path in (copy / "compose/secrets").iterdir()} == before
    done = subprocess.run(
        [program("docker-compose", "docker-compose"), "-f", str(copy / "compose/compose.yaml"), "config"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert {"host-1", "host-2", "host-3", "store-1", "store-2", "nats-1", "nats-2", "nats-3", "postgres"} == set(
        services
    )
    assert services["nats-2"]["environment"]["MEUSE_PASSWORD"] == before["nats"]
    found = settings_of((copy / "compose/meuse.toml").read_text(), "compose")
    named = {part.split("//")[1].split("@")[-1].split(":")[0] for part in found.cluster.servers}
    assert named == {"nats-1", "nats-2", "nats-3"}


def test_kubernetes_accepts_the_manifest_and_meuse_its_settings(root: Path, deploy: Path) -> None:
    manifest = deploy / "kubernetes/meuse.yaml"
    done = subprocess.run(
        [str(root / BIN / "kubernetes-validate"), "--strict", str(manifest)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (config,) = (found for found in documents(manifest) if found["kind"] == "ConfigMap")  # type: ignore[comparison-overlap]
    found = settings_of(config["data"]["meuse.toml"], "kubernetes")
    assert found.journal.url and found.store.url and len(found.cluster.servers) == 3


@pytest.mark.parametrize("where", ["nats.conf", "kubernetes/meuse.yaml"])
def test_nats_accepts_its_configuration(root: Path, deploy: Path, tmp_path: Path, where: str) -> None:
    text = (deploy / where).read_text()
    if where.endswith(".yaml"):
        (config,) = (found for found in documents(deploy / where) if found["kind"] == "ConfigMap")  # type: ignore[comparison-overlap]
        text = config["data"]["nats.conf"]
    (tmp_path / "nats.conf").write_text(text)
    routes = {f"MEUSE_ROUTE_{n}": f"nats://route:secret@nats-{n}:6222" for n in (1, 2, 3)}
    assert set(re.findall(r"\$(MEUSE_ROUTE_\d)", text)) == set(routes)
    environment = {
        **os.environ,
        **routes,
        "MEUSE_NODE": "nats-1",
        "MEUSE_PASSWORD": "a1b2",
        "MEUSE_STORE": str(tmp_path),
    }
    words = [str(root / BIN / "nats-server"), "-t", "-c", str(tmp_path / "nats.conf")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_batch_is_on_a_disk_before_it_is_acknowledged(deploy: Path) -> None:
    for path in (deploy / "nats.conf", deploy / "kubernetes/meuse.yaml"):
        assert "sync_interval: always" in path.read_text()
