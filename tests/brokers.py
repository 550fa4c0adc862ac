"""Real MQTT brokers for tests: nats-server and Mosquitto on a loopback port, killed and started again at will.

nats-server comes with the development dependencies. Mosquitto is Debian's: where it is missing and this is root on
Debian it is installed, and said so; where it cannot be had the tests that need it are skipped by name, but with
CI=true they fail.
"""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.bench.baselines import listening
from tests.ports import free_port

BROKERS = ("nats", "mosquitto")


def program(name: str, package: str) -> str:
    """Path of a program of Debian's; skips the test, or fails with CI=true, where it cannot be had."""
    path = "/usr/local/sbin:/usr/sbin:" + os.environ.get("PATH", "")
    found = shutil.which(name, path=path)
    if not found and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing Debian's {package} for the tests of MQTT", file=sys.stderr)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", package]):
            subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, check=False)
        found = shutil.which(name, path=path)
    if not found:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up(f"no {name}: apt-get install {package}")
    return str(found)


class Broker:
    """One broker process. users: name -> password, everybody may come when empty; tls: folder made by `authority`.

    `asks`: who comes must show a certificate of that authority.
    """

    def __init__(
        self,
        kind: str,
        folder: Path,
        users: dict[str, str] | None = None,
        tls: Path | None = None,
        asks: bool = False,
        more: list[str] | None = None,
    ) -> None:
        self._asks = asks
        self._more = more or []  # lines of mosquitto.conf
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
        binary, config = program("mosquitto", "mosquitto"), self.folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "persistence false"]
        lines.append("max_queued_messages 0")  # no limit: it drops what a slow listener of ours has not read yet
        lines += ["user root"] if os.geteuid() == 0 else []  # else it becomes one who may not read the folder
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
            lines += ["require_certificate true"] if self._asks else []
        config.write_text("\n".join(lines + self._more) + "\n")
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
    """An authority of our own, ca.pem, and what it gives a broker on localhost, broker.pem and broker.key; P-256."""
    folder.mkdir(parents=True)
    ca_key, broker_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("tests", ca_key, "tests").add_extension(x509.BasicConstraints(True, 0), critical=True)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    broker = _certificate("localhost", broker_key, "tests").add_extension(names, critical=False)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    (folder / "broker.pem").write_bytes(broker.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    form, locked = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "broker.key").write_bytes(broker_key.private_bytes(pem, form, locked))
    return folder


def _certificate(name: str, key: ec.EllipticCurvePrivateKey, issuer: str) -> x509.CertificateBuilder:
    """Good from yesterday until tomorrow."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
