"""Who may do what at a broker, as a table; and independent clients that try all of it. Nothing of Meuse in them.

A role is a connection: user, client id, and what it may write and read of TOPICS. Everything that is not in the table
must come to nothing: what may not be read is not heard, what may not be written arrives nowhere.
"""

import contextlib
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

BOARDS = {"board-a": "one", "board-b": "one", "board-c": "two"}
BACKENDS = {"one_reads": ("one", False), "one_commands": ("one", True), "two_commands": ("two", True)}

UNDER = ("telemetry", "backfill", "latest", "state", "event", "alert/silent", "raw/telemetry", "command", "command/17")
LINKS = tuple(f"meuse-link/{tenant}/{board}/{way}" for board, tenant in BOARDS.items() for way in ("up", "down"))
TOPICS = (
    *LINKS,
    "meuse-link/two/board-a/up",  # its own name, another's tenant
    "meuse-link/one/board-a/up/more",
    *(f"meuse/{tenant}/hall/{board}/{what}" for board, tenant in BOARDS.items() for what in UNDER),
    "meuse/_host/state",
    "meuse/_host/event",
    "meuse/one",
    "homeassistant/sensor/x/config",
    "elsewhere/x",
)
# Subscribed beside each topic of TOPICS.
WILDCARDS = (
    "#",
    "+/#",
    "meuse/#",
    "meuse/+/+/+/telemetry",
    "meuse/one/#",
    "meuse/two/#",
    "meuse-link/#",
    "meuse-link/+/+/up",
    "meuse-link/one/+/down",
    "$SYS/#",
    "$JS/#",
    "$MQTT/#",
    "$MQTT/sub/#",
    "_INBOX/#",
)
# Published to beside them: what a broker keeps to itself.
INTERNAL = (
    "$SYS/REQ/SERVER/PING",
    "$SYS/REQ/USER/AUTH",
    "$JS/API/STREAM/DELETE/$MQTT_msgs",
    "$JS/API/STREAM/PURGE/$MQTT_rmsgs",
    "$MQTT/sess/board-b",
    "$MQTT/rmsgs/meuse",
)


@dataclass(frozen=True)
class Role:
    """One connection. `comes`: whether the broker lets it in."""

    name: str
    user: str
    password: str
    client_id: str
    comes: bool = True
    writes: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()


def own_link(board: str, way: str) -> frozenset[str]:
    return frozenset({f"meuse-link/{BOARDS[board]}/{board}/{way}"})


def of_tenant(tenant: str, last: str = "") -> frozenset[str]:
    """Topics under meuse/<tenant>, or those of them that end so."""
    return frozenset(topic for topic in TOPICS if f"{topic}/".startswith(f"meuse/{tenant}/") and topic.endswith(last))


def roles(passwords: dict[str, str]) -> list[Role]:
    """Everybody who ought to come, with what they may."""
    found = [
        Role(f"device {board}", board, passwords[board], board, True, own_link(board, "up"), own_link(board, "down"))
        for board in BOARDS
    ]
    for user, (tenant, commands) in BACKENDS.items():
        writes = of_tenant(tenant, "/command") if commands else frozenset()
        reads = of_tenant(tenant) | {"meuse/_host/state"}
        found.append(Role(f"backend {user}", user, passwords[user], user, True, writes, reads))
    return found


@dataclass
class Client:
    """paho as anybody uses it, in its own thread."""

    port: int
    role: Role
    clean: bool = True
    will: tuple[str, bytes] | None = None
    heard: list[tuple[str, bytes, bool]] = field(default_factory=list)
    granted: dict[int, list[Any]] = field(default_factory=dict)
    acknowledged: set[int] = field(default_factory=set)
    code: Any = None
    ended: int = 0

    def __post_init__(self) -> None:
        self._answered = threading.Event()
        self.paho = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.role.client_id,
            clean_session=self.clean,
            reconnect_on_failure=False,  # whoever is thrown out stays out
        )
        if self.role.user:
            client.username_pw_set(self.role.user, self.role.password)
        if self.will:
            client.will_set(*self.will, qos=1, retain=True)
        client.on_connect = self._connected
        client.on_disconnect = self._gone
        client.on_message = lambda c, u, m: self.heard.append((m.topic, m.payload, m.retain))
        client.on_subscribe = lambda c, u, mid, codes, p: self.granted.__setitem__(mid, codes)
        client.on_publish = lambda c, u, mid, code, p: self.acknowledged.add(mid)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        _begun.append(client)
        assert self._answered.wait(60), f"{self.role.name}: no answer"

    def _connected(self, client: object, userdata: object, flags: object, code: Any, *_: object) -> None:
        self.code = code
        self._answered.set()

    def _gone(self, *_: object) -> None:
        self.ended += 1
        self._answered.set()

    @property
    def came(self) -> bool:
        return self.code is not None and not self.code.is_failure

    @property
    def here(self) -> bool:
        return self.came and not self.ended

    def subscribe(self, topics: list[str]) -> list[bool]:
        """Each by itself -> whether the broker says that it is granted."""
        numbers = [self.paho.subscribe(topic, 1)[1] for topic in topics]
        wait_for(lambda: all(number in self.granted for number in numbers), f"{self.role.name}: SUBACKs")
        return [not self.granted[number][0].is_failure for number in numbers]

    def publish(self, topics: list[str], payload: bytes, retain: bool = False) -> None:
        """Until the broker has said PUBACK to all: it does so to what is forbidden as well."""
        numbers = [self.paho.publish(topic, payload, 1, retain).mid for topic in topics]
        wait_for(lambda: self.acknowledged.issuperset(numbers), f"{self.role.name}: PUBACKs")

    def topics(self, payload: bytes) -> set[str]:
        """Where this payload was heard."""
        return {topic for topic, said, _ in self.heard.copy() if said == payload}

    def break_off(self) -> None:
        """The network fails: no goodbye, so the broker publishes the will."""
        sock = self.paho.socket()
        assert sock is not None
        sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """paho looks up once a second; so its threads are waited for together, by `finish`."""
        self.paho.disconnect()


_begun: list[paho.Client] = []


def finish() -> None:
    """After a test: no thread and no socket of any client stays."""
    for one in _begun:
        one.disconnect()
    for one in _begun:
        one.loop_stop()
        one.__del__()
    _begun.clear()


def typed(data: Path, *words: str) -> str:
    """`meuse access ...` on this folder -> what it prints. In this process, with nothing that the host there knows."""
    from meuse.cli import app

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        app(["access", *words, "--data", str(data)], standalone_mode=False)
    return said.getvalue()


PATIENCE_S = 60.0


def wait_for(what: Callable[[], object], why: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline, f"{why}: not within {PATIENCE_S} s"
        time.sleep(0.005)


@contextmanager
def client(port: int, role: Role, **more: Any) -> Iterator[Client]:
    one = Client(port, role, **more)
    try:
        yield one
    finally:
        one.close()


class Matrix:
    """Tries the table at one broker. host: a role that may do everything, at `host_port`. counts: cells."""

    def __init__(self, port: int, passwords: dict[str, str], host: Role, host_port: int = 0) -> None:
        self.port = port
        self.host_port = host_port or port
        self.host = host
        self.passwords = passwords
        self.roles = roles(passwords)
        self.counts: dict[str, int] = {}

    def check(self) -> None:
        self._connect()
        with client(self.host_port, self.host) as host:
            assert host.came and all(host.subscribe(["#"]))
            for part in (self._subscribe, self._publish, self._erase, self._wills):
                part(host)
        self._sessions()

    def _count(self, kind: str, cells: int = 1) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + cells

    def _connect(self) -> None:
        """Every role with its own id; strangers."""
        strangers = [
            Role("nobody", "", "", "nobody", False),
            Role("nobody, with a board's id", "", "", "board-a", False),
            Role("unknown user", "board-z", "guessed", "board-z", False),
            Role("a tenant as user", "one", self.passwords["one_reads"], "one", False),
            *(Role(f"{r.user}, wrong password", r.user, r.password[:-1] + "?", r.client_id, False) for r in self.roles),
            *(Role(f"{r.user}, no password", r.user, "", r.client_id, False) for r in self.roles),
            *(
                Role(f"{one.user} with the password of {other.user}", one.user, other.password, one.user, False)
                for one in self.roles
                for other in self.roles
                if one is not other
            ),
        ]
        for role in [*self.roles, *strangers]:
            with client(self.port, role) as one:
                assert one.came == role.comes, (role.name, str(one.code))
        self._count("connect", len(self.roles) + len(strangers))

    def _subscribe(self, host: Client) -> None:
        """Everybody asks for everything; then everything is said: each hears what is its own, and nothing else."""
        for role in self.roles:
            with client(self.port, role) as one:
                granted = one.subscribe([*TOPICS, *WILDCARDS])
                refused = [topic for topic, good in zip(TOPICS, granted, strict=False) if not good]
                assert not role.reads & set(refused), (role.name, refused)
                said = f"for {role.name}".encode()
                host.publish(list(TOPICS), said)
                wait_for(lambda one=one, said=said, role=role: one.topics(said) >= role.reads, f"{role.name} hears")  # type: ignore[misc]
                # A last one of its own: what comes before that in the broker has come.
                last = sorted(role.reads)[:1]
                host.publish(last, b"last " + said)
                wait_for(lambda one=one, said=said: one.topics(b"last " + said), f"{role.name} hears the last")  # type: ignore[misc]
                heard = {topic for topic, _, _ in one.heard}
                assert heard == role.reads, (role.name, heard ^ role.reads)
                self._count("subscribe", len(TOPICS) + len(WILDCARDS))

    def _publish(self, host: Client) -> None:
        """Everybody says something everywhere, to be kept and not; what is forbidden arrives nowhere."""
        for role in self.roles:
            with client(self.port, role) as one:
                for retain in (False, True):
                    said = f"by {role.name}, {retain}".encode()
                    one.publish([*TOPICS, *INTERNAL], said, retain)
                    wait_for(lambda said=said, role=role: host.topics(said) >= role.writes, f"{role.name} is heard")  # type: ignore[misc]
                    self._settle(host)
                    assert host.topics(said) == role.writes, (role.name, host.topics(said) ^ role.writes)
                    self._count("publish", len(TOPICS) + len(INTERNAL))
        host.publish([topic for role in self.roles for topic in role.writes], b"", retain=True)

    def _erase(self, host: Client) -> None:
        """What the host keeps on a topic, others can neither erase nor replace."""
        kept = [topic for topic in TOPICS if not any(topic in role.writes for role in self.roles)]
        host.publish(kept, b"kept", retain=True)
        for role in self.roles:
            with client(self.port, role) as one:
                one.publish(kept, b"", retain=True)
                one.publish(kept, b"forged", retain=True)
            self._count("erase", 2 * len(kept))
        with client(self.host_port, Role("fresh", *self._second_host())) as fresh:
            fresh.subscribe(["#"])
            wait_for(lambda: fresh.topics(b"kept") == set(kept), "all of it still stands")
            assert not fresh.topics(b"forged")
        host.publish(kept, b"", retain=True)

    def _second_host(self) -> tuple[str, str, str]:
        return self.host.user, self.host.password, self.host.client_id + "2"

    def _wills(self, host: Client) -> None:
        """The last will is a publication like any other."""
        for role in self.roles:
            targets = ["meuse/one/hall/board-b/latest", "meuse-link/one/board-b/up", *sorted(role.writes)[:1]]
            for topic in targets:
                said = f"will of {role.name} on {topic}".encode()
                one = Client(self.port, role, will=(topic, said))
                if one.came:
                    one.break_off()
                allowed = topic in role.writes
                if allowed:
                    wait_for(lambda said=said: host.topics(said), f"{role.name}: its will")  # type: ignore[misc]
                else:
                    with client(self.port, role):  # the broker has done with the old connection
                        self._settle(host)
                    assert not host.topics(said), said
                self._count("will")
        host.publish([topic for role in self.roles for topic in role.writes], b"", retain=True)

    def _settle(self, host: Client) -> None:
        """What was published before this has reached the host."""
        number = f"settled {len(host.acknowledged)}".encode()
        host.publish(["elsewhere/settled"], number)
        wait_for(lambda: host.topics(number), "the host hears itself")

    def _sessions(self) -> None:
        """Everybody tries every other's client id: nobody is evicted, no session is read or wiped."""
        for victim in self.roles:
            topic = sorted(victim.reads)[0]
            with client(self.port, victim, clean=False) as one:
                one.subscribe([topic])
            with client(self.host_port, self.host) as host:
                host.publish([topic], b"queued")
            for thief in self.roles:
                if thief is victim:
                    continue
                for clean in (True, False):
                    taken = Role("thief", thief.user, thief.password, victim.client_id)
                    with client(self.port, taken, clean=clean) as one:
                        assert not one.heard
                    self._count("session")
            with client(self.port, victim, clean=False) as one:
                wait_for(lambda one=one: one.topics(b"queued"), f"{victim.name}: its queue is whole")  # type: ignore[misc]
                for thief in self.roles:
                    if thief is not victim:
                        with client(self.port, Role("thief", thief.user, thief.password, victim.client_id)):
                            assert one.here, f"{thief.name} evicts {victim.name}"
                        self._count("eviction")
                with client(self.host_port, self.host) as host:
                    host.publish([topic], b"still here")
                wait_for(lambda one=one: one.topics(b"still here"), f"{victim.name} is still there")  # type: ignore[misc]
                assert one.here
            with client(self.port, victim):
                pass  # clean: leaves no session behind
