"""Real MQTT brokers for tests: nats-server and Mosquitto on a loopback port, killed and started again at will.

nats-server comes with the development dependencies. Mosquitto is Debian's: where it is missing and this is root on
Debian it is installed, and said so; where it cannot be had the tests that need it are skipped by name, but with
CI=true they fail.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.baselines import free_port, listening

BROKERS = ("nats", "mosquitto")


def mosquitto_binary() -> str:
    """Path of the broker; skips the test, or fails with CI=true, where it cannot be had."""
    path = "/usr/local/sbin:/usr/sbin:" + os.environ.get("PATH", "")
    found = shutil.which("mosquitto", path=path)
    if not found and os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing Debian's mosquitto for the tests of the MQTT link", file=sys.stderr)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "mosquitto"]):
            subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, check=False)
        found = shutil.which("mosquitto", path=path)
    if not found:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up("no Mosquitto: apt-get install mosquitto")
    return str(found)


class Broker:
    """One broker process. users: name -> password, everybody may come when empty; tls: folder made by `authority`."""

    def __init__(self, kind: str, folder: Path, users: dict[str, str] | None = None, tls: Path | None = None) -> None:
        self.port = free_port()
        self.folder = folder
        self._folder_of_tls = tls
        self._users = users or {}
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._command = self._nats() if kind == "nats" else self._mosquitto()

    def _nats(self) -> list[str]:
        config = self.folder / "nats.conf"
        config.write_text(
            f'server_name: tests\nlisten: "127.0.0.1:{free_port()}"\n'
            f'jetstream {{ store_dir: "{self.folder / "jetstream"}", sync_interval: always }}\n'
            f'mqtt {{ listen: "127.0.0.1:{self.port}" }}\n'
        )
        return [str(Path(sys.executable).with_name("nats-server")), "-c", str(config)]

    def _mosquitto(self) -> list[str]:
        binary, config = mosquitto_binary(), self.folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "persistence false"]
        lines += [f"user {os.environ.get('USER', 'root')}"] if os.geteuid() == 0 else []
        if self._users:
            passwords = self.folder / "passwords"
            passwords.write_text("".join(f"{name}:{password}\n" for name, password in self._users.items()))
            subprocess.run([str(Path(binary).parents[1] / "bin/mosquitto_passwd"), "-U", str(passwords)], check=True)
            lines += ["allow_anonymous false", f"password_file {passwords}"]
        else:
            lines.append("allow_anonymous true")
        if self._folder_of_tls:
            of = self._folder_of_tls
            lines += [f"cafile {of / 'ca.pem'}", f"certfile {of / 'broker.pem'}", f"keyfile {of / 'broker.key'}"]
        config.write_text("\n".join(lines) + "\n")
        return [binary, "-c", str(config)]

    def start(self) -> "Broker":
        with (self.folder / "broker.log").open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)
        assert listening(self.port, self.process), (self.folder / "broker.log").read_text()
        return self

    def kill(self) -> None:
        """kill -9."""
        assert self.process
        self.process.kill()
        self.process.wait()
        self.process = None

    def __enter__(self) -> "Broker":
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process:
            self.kill()


def authority(folder: Path) -> Path:
    """A certificate authority of our own, and a certificate of it for a broker on localhost: P-256, by openssl."""
    folder.mkdir(parents=True)

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=tests")
    openssl("req", *curve, "-keyout", "broker.key", "-out", "broker.csr", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    openssl("x509", "-req", "-in", "broker.csr", "-out", "broker.pem", *signed)
    return folder

