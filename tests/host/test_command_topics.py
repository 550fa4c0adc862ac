"""Commands by way of real brokers: an independent client asks, a light board on the shared protocol answers."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from meuse.commands import desk, table
from meuse.run import Host
from meuse.topics import commands, publisher
from meuse_protocol import commands as wire
from meuse_protocol.schema import Schema

from tests.brokers import BROKERS, Broker
from tests.firmware.virtual import wait_for
from tests.host.hosts import ask, events, running
from tests.host.light_board import until
from tests.host.test_host_commands import DEVICE, Answering, board_on, silent, utc_ms
from tests.host.test_topics import listening
from tests.postgres import Postgres
from tests.topics_listener import Listener, validate

TOPIC = f"meuse/default/default/{DEVICE}/command"


def at(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03}Z"


def form(id: str, op: str = "fan", **more: Any) -> dict[str, Any]:
    return {"id": id, "op": op, "arguments": {"on": True}, "expires": at(utc_ms() + 600_000), **more}


class Backend(Listener):
    """Asks, and reads the answers on `command/...`."""

    def asks(self, request: dict[str, Any] | bytes, topic: str = TOPIC, retain: bool = False) -> None:
        payload = request if isinstance(request, bytes) else json.dumps(request).encode()
        self._client.publish(topic, payload, qos=1, retain=retain)

    def states(self, id: str) -> list[str]:
        return [state["state"] for state in self.of(f"command/{id}")]

    async def sees(self, id: str, *states: str) -> list[dict[str, Any]]:
        await until(lambda: self.states(id)[-1:] == [states[-1]], f"{id} is {states[-1]}")
        assert self.states(id) == list(states)
        return self.of(f"command/{id}")


def settings(broker: Broker) -> dict[str, object]:
    return {"mqtt": {"url": f"mqtt://127.0.0.1:{broker.port}", "commands": True}}


async def connected(host: Host) -> None:
    await until(lambda: host.command_topics and host.command_topics.connected, "the host listens for commands")


def play(data: Path, kind: str, scene: Callable[[Host, Answering, Backend], Any]) -> None:
    """A host, its board and a backend; every message is held against the document."""

    async def run(broker: Broker) -> None:
        backend = Backend(broker.port)
        await listening(backend)
        async with running(data, **settings(broker)) as host:
            await connected(host)
            board = board_on(data)
            await board.connect(host.tcp[0].address)
            await board.drained()
            try:
                await scene(host, board, backend)
            finally:
                board.unplug()
        backend.close()
        validate([heard for heard in backend.heard if heard.topic != TOPIC])

    with Broker(kind, data / "broker") as broker:
        asyncio.run(run(broker))


@pytest.mark.parametrize("kind", BROKERS)
def test_a_backend_asks_and_sees_each_state_and_the_same_id_acts_once(tmp_path: Path, kind: str) -> None:
    async def scene(host: Host, board: Answering, backend: Backend) -> None:
        board.reply = lambda command: [(command.cid, wire.DONE, ["fan", 1])]
        board.announce(Schema(1, "fast", 1, [("flue_temp", "Cel", -1, 0)]))
        backend.asks(form("one", lease="30s", **{"if": "flue_temp < 60"}))
        found = await backend.sees("one", "queued", "sent", "done")
        assert found[-1]["answer"] == ["fan", 1] and found[-1]["op"] == "fan"
        numbers = [state["number"] for state in found]
        assert numbers == sorted(set(numbers))
        (command,) = board.got[:1]
        assert command.arg == ["on", 1, "lease_ms", 30_000, "if", ["flue_temp", "<", 60, 0]]
        backend.asks(form("one", lease="30s", **{"if": "flue_temp < 60"}))
        await until(lambda: len(backend.states("one")) == 4, "the answer to the double")
        assert backend.of("command/one")[-1] == found[-1], "the state that it has, with its number"
        backend.asks(form("two", done_when="flue_temp > 60 within 10 min"))
        await until(lambda: backend.states("two")[-1:] == ["started"], "it waits to be measured")
        board.measure(605, utc_ms())
        (*_, last) = await backend.sees("two", "queued", "sent", "started", "done")
        assert last["measured"]["value"] == 60.5 and last["measured"]["unit"] == "Cel"
        assert board.ops == [(1, "fan"), (2, "fan")]
        backend.asks(form("one", op="other"))
        await until(lambda: backend.states("one")[-1] == "refused", "the id is another's")
        assert backend.of("command/one")[-1]["number"] is None
        assert len(board.ops) == 2 and not ask(tmp_path, "SELECT 1 FROM commands WHERE op = 'other'")

    play(tmp_path, kind, scene)


@pytest.mark.parametrize("kind", BROKERS)
def test_what_cannot_be_a_command_is_refused_in_words(tmp_path: Path, kind: str) -> None:
    refused = {
        "unknown-field": form("unknown-field", speed=1),
        "no-expiry": {"id": "no-expiry", "op": "fan"},
        "relative": form("relative", expires="5m"),
        "far": form("far", expires=at(utc_ms() + 2 * 86_400_000)),
        "future": form("future", sent_at=at(utc_ms() + 600_000)),
        "float": form("float", arguments={"on": 0.5}),
        "condition": form("condition", **{"if": "moon"}),
        "done-when": form("done-when", done_when="flue_temp > 60"),
        "long-op": form("long-op", op="x" * 500),
        "long": form("long", arguments={"a": "x" * 600}),
        "both": form("both", renew=True),
        "nothing": {"id": "nothing"},
        "confirm": {"id": "confirm", "confirm": True},
        "renew": {"id": "renew", "renew": True, "sent_at": at(utc_ms())},
    }
    unreadable = [b"{", b"[" * 3000, b"7", b'{"op": "fan"}', b'{"id": "a/b", "op": "fan"}', b"\xff", b'{"id":1,"id":2}']

    async def scene(host: Host, board: Answering, backend: Backend) -> None:
        for request in refused.values():
            backend.asks(request)
        for payload in unreadable:
            backend.asks(payload)
        backend.asks(b'{"id": "big", "op": "' + b"x" * 500_000)
        backend.asks(form("strange"), "meuse/default/default/unheard-of/command")
        backend.asks(form("foreign"), f"meuse/other/default/{DEVICE}/command")
        backend.asks(form("odd"), "meuse/default/Default/x/command")
        for id in refused:
            (told,) = await backend.sees(id, "refused")
            assert told["detail"] and told["number"] is None
        await until(lambda: len(backend.of("command/strange", "command/foreign")) == 2, "there is no such device here")
        await until(lambda: events(tmp_path).count("command-refused") == len(unreadable) + 2, "the rest are events")
        assert ask(tmp_path, "SELECT count(*) FROM commands") == [(0,)]
        backend.asks(form("late", expires=at(utc_ms() - 1)))
        (told,) = await backend.sees("late", "expired")
        backend.asks(form("retained"), retain=True)
        await until(lambda: [h for h in backend.heard if h.topic == TOPIC and not h.payload], "it is cleared")
        await until(lambda: events(tmp_path).count("command-refused") == len(unreadable) + 3, "and told")
        (told,) = await backend.sees("retained", "refused")
        assert "retained" in told["detail"] and told["number"] is None
        late = Listener(backend._client._port, TOPIC)
        await listening(late)
        backend.asks(form("last"))
        await backend.sees("last", "queued", "sent", "done")
        assert not [heard for heard in late.heard if heard.retained], "nothing stands there"
        late.close()
        assert [op for _, op in board.ops] == ["fan"]

    play(tmp_path, kind, scene)


@pytest.mark.parametrize("kind", BROKERS)
def test_a_request_that_the_broker_held_back_acts_in_time_or_never_and_states_wait_for_a_broker(
    tmp_path: Path, kind: str
) -> None:
    async def run(broker: Broker) -> None:
        async with running(tmp_path, **settings(broker)) as host:
            await connected(host)
        backend = Backend(broker.port)
        await listening(backend)
        backend.asks(form("short", expires="1s", sent_at=at(utc_ms())))
        backend.asks(form("long"))
        backend.asks(form("stays"), retain=True)
        over = utc_ms() + 1_000
        await until(lambda: utc_ms() > over, "the host is away, and the time of one is over")
        async with running(tmp_path, **settings(broker)) as host:
            board = board_on(tmp_path)
            await board.connect(host.tcp[0].address)
            await backend.sees("short", "expired")
            await backend.sees("long", "queued", "sent", "done")
            await backend.sees("stays", "refused")
            assert board.ops == [(1, "fan")]
            broker.kill()
            await until(lambda: host.command_topics and not host.command_topics.connected, "the broker is away")
            await host.journal.write(lambda db: table.ask(db, table.Request("away", DEVICE, "fan", [], over * 2), over))
            await until(lambda: ask(tmp_path, "SELECT 1 FROM commands WHERE id = 'away' AND settled"), "it is done")
            await until(lambda: not backend.listens, "the backend has lost it, too")
            broker.start()
            wait_for(lambda: backend.listens, "the backend is back before the host")
            await until(lambda: backend.states("away")[-1:] == ["done"], "and told afterwards")
            states = list(dict.fromkeys(state["number"] for state in backend.of("command/away")))
            assert len(states) == 3 and states == sorted(states)
            board.unplug()
        backend.close()

    with Broker(kind, tmp_path / "broker") as broker:
        asyncio.run(run(broker))


def test_a_request_is_acknowledged_only_when_it_is_durable(tmp_path: Path) -> None:
    """The host dies after it has read a request and before that is in its database: the broker has it still."""

    async def run(broker: Broker) -> None:
        backend = Backend(broker.port)
        await listening(backend)
        async with running(tmp_path, **settings(broker)) as host:
            await connected(host)
            board = board_on(tmp_path)
            await board.connect(host.tcp[0].address)
            await board.drained()
            board.unplug()
            read = asyncio.Event()

            async def never(inquiries: list[desk.Inquiry]) -> list[desk.Verdict]:
                read.set()
                await asyncio.Event().wait()
                return []

            host.desk.take = never  # type: ignore[method-assign]
            backend.asks(form("one"))
            await read.wait()
        assert ask(tmp_path, "SELECT count(*) FROM commands") == [(0,)]
        async with running(tmp_path, **settings(broker)) as host:
            board = board_on(tmp_path)
            await board.connect(host.tcp[0].address)
            await backend.sees("one", "queued", "sent", "done")
            board.unplug()
        backend.close()

    with Broker("mosquitto", tmp_path / "broker") as broker:
        asyncio.run(run(broker))


def test_a_flood_is_bounded_and_others_are_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "PER_MINUTE", 20)
    monkeypatch.setattr(commands, "REFUSALS", 10)

    async def scene(host: Host, board: Answering, backend: Backend) -> None:
        backend.asks(b"x" * 1_200_000)  # more than is taken in: the broker is to forget it
        await until(lambda: "command-refused" in events(tmp_path), "it is told")
        await connected(host)
        for n in range(500):
            backend.asks(form(f"flood-{n}"))
            backend.asks(b"{")
        backend.asks(form("end"), "meuse/default/default/unheard-of/command")
        await until(lambda: backend.of("command/end"), "the flood has gone through")
        await until(lambda: host.bridge.counters.get("command_refusals_dropped", 0) >= 900, "most are only counted")
        await until(lambda: ask(tmp_path, "SELECT count(*) FROM commands WHERE settled") == [(20,)], "these are run")
        refusals = [heard for heard in backend.heard if "/command/" in heard.topic and heard.form["number"] is None]
        assert len(refusals) == 11, "and the one for another board"
        host.desk._rates.clear()  # a minute later
        backend.asks(form("after"))
        await backend.sees("after", "queued", "sent", "done")

    play(tmp_path, "mosquitto", scene)


def test_two_phases_and_a_lease_that_lives_as_long_as_the_backend(tmp_path: Path) -> None:
    def replies(command: Any) -> list[tuple[int, int, Any]]:
        if command.op == "blast":
            return [(command.cid, wire.ACCEPTED, [77, ["fan", 0, 0], ["flue_temp", 235, -1]])]
        if command.op == "commit":
            return [(command.arg[1], wire.DONE, ["fan", 1]), (command.cid, wire.DONE, ["fan", 1])]
        return [(command.cid, wire.DONE, 1 if command.op == "renew" else ["fan", 1])]

    async def scene(host: Host, board: Answering, backend: Backend) -> None:
        board.reply = replies
        backend.asks(form("one", op="blast", lease="30s"))
        (*_, prepared) = await backend.sees("one", "queued", "sent", "started")
        assert prepared["detail"] == "prepared: fan 0, flue_temp 23.5"
        assert prepared["answer"] == [["fan", 0, 0], ["flue_temp", 235, -1]]
        backend.asks({"id": "one", "confirm": True})
        await backend.sees("one", "queued", "sent", "started", "done")
        sent = utc_ms()
        for _ in range(2):
            backend.asks({"id": "one", "renew": True, "sent_at": at(sent)})
        await backend.sees(f"one/renew-{sent}", "queued", "sent", "done")
        renewals = [command for command in board.got if command.op == "renew"]
        assert len({command.cid for command in renewals}) == 1 and renewals[0].arg == ["output", "fan"]
        assert backend.of(f"command/one/renew-{sent}")[-1]["follows"] == "one"
        backend.asks({"id": "one", "renew": True, "sent_at": at(sent - 10_001)})
        await until(lambda: "too old" in backend.of("command/one")[-1]["detail"], "one that was held back is refused")
        backend.asks(form("two"))
        await backend.sees("two", "queued", "sent", "done")
        backend.asks({"id": "one", "renew": True, "sent_at": at(utc_ms())})
        await until(lambda: "another command" in backend.of("command/one")[-1]["detail"], "it is another's now")
        backend.asks({"id": "two", "renew": True, "sent_at": at(utc_ms())})
        await until(lambda: "without a lease" in backend.of("command/two")[-1]["detail"], "there is nothing to renew")
        backend.asks({"id": "two", "confirm": True})
        await until(lambda: "nothing to confirm" in backend.of("command/two")[-1]["detail"], "nor to confirm")

    play(tmp_path, "mosquitto", scene)


def test_what_is_not_measured_in_time_is_an_alert_until_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "WATCH_S", 0.2)

    async def scene(host: Host, board: Answering, backend: Backend) -> None:
        board.reply = lambda command: [(command.cid, wire.DONE, ["fan", 1])]
        board.announce(Schema(1, "fast", 1, [("flue_temp", "Cel", -1, 0)]))
        board.measure(215, utc_ms() + 1)
        backend.asks(form("one", done_when="flue_temp > 60 within 1 s"))
        (*_, failed) = await backend.sees("one", "queued", "sent", "started", "failed")
        assert "made safe" in failed["detail"]
        (*_, safe) = await backend.sees("one/safe", "queued", "sent", "done")
        assert safe["follows"] == "one"
        await until(lambda: backend.of("alert/command-one"), "an alert fires")
        late = Listener(backend._client._port)
        await until(lambda: late.of("alert/command-one"), "whoever comes later finds it")
        assert late.of("alert/command-one")[0]["state"] == "firing"
        late.close()
        backend.asks(form("two"))
        await backend.sees("two", "queued", "sent", "done")
        alert = f"meuse/default/default/{DEVICE}/alert/command-one"
        await until(lambda: [h for h in backend.heard if h.topic == alert and not h.payload], "it is cleared")
        assert [one["state"] for one in backend.of("alert/command-one")] == ["firing", "resolved"]

    play(tmp_path, "mosquitto", scene)


def test_a_board_that_does_not_answer_and_one_that_refuses(tmp_path: Path) -> None:
    async def scene(host: Host, board: Answering, backend: Backend) -> None:
        board.reply = lambda command: [(command.cid, wire.DENIED, "flue_temp < 60 does not hold")]
        backend.asks(form("hot"))
        (*_, told) = await backend.sees("hot", "queued", "sent", "refused")
        assert "flue_temp < 60 does not hold" in told["detail"] and told["number"]
        board.reply = silent
        backend.asks(form("open"))
        await backend.sees("open", "queued", "sent")

    play(tmp_path, "nats", scene)


def test_a_broker_where_one_user_connects_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = tmp_path / "password"
    secret.write_text("two\n")

    async def run(broker: Broker) -> None:
        named = {"url": f"mqtt://meuse:one@127.0.0.1:{broker.port}", "commands": True}
        named |= {"commands_user": "asked", "commands_password_file": str(secret)}
        backend = Backend(broker.port, "meuse/#", user="backend", password="three")
        await listening(backend)
        async with running(tmp_path, mqtt=named) as host:
            await connected(host)
            board = board_on(tmp_path)
            await board.connect(host.tcp[0].address)
            for id in ("one", "two"):
                backend.asks(form(id))
                await backend.sees(id, "queued", "sent", "done")
            await until(lambda: backend.of("state"), "the other connection is there as well")
            board.unplug()
        backend.close()

    users = {"meuse": "one", "asked": "two", "backend": "three"}
    with Broker("mosquitto", tmp_path / "broker", users, more=["use_username_as_clientid true"]) as broker:
        asyncio.run(run(broker))
    assert not [record for record in caplog.records if "trying again" in record.getMessage()]


def test_a_journal_in_postgresql(tmp_path: Path, postgres: Postgres) -> None:
    """Requests, states, a renewal and an alert go the same way there."""
    address = postgres.database()

    async def run(broker: Broker) -> None:
        backend = Backend(broker.port)
        await listening(backend)
        async with running(tmp_path, **settings(broker), journal={"url": address.url}) as host:
            await connected(host)
            board = board_on(tmp_path)
            board.reply = lambda command: [(command.cid, wire.DONE, 1 if command.op == "renew" else ["fan", 1])]
            await board.connect(host.tcp[0].address)
            await board.drained()
            for _ in range(2):
                backend.asks(form("one", lease="30s"))
            await until(lambda: backend.states("one")[-1:] == ["done"], "it is done")
            sent = utc_ms()
            backend.asks({"id": "one", "renew": True, "sent_at": at(sent)})
            await backend.sees(f"one/renew-{sent}", "queued", "sent", "done")
            backend.asks(form("two", done_when="flue_temp > 60 within 1 s"))
            await backend.sees("two", "queued", "sent", "started", "failed")
            await until(lambda: backend.of("alert/command-two"), "an alert fires")
            assert [op for _, op in board.ops] == ["fan", "renew", "fan", "safe"]
            board.unplug()
        backend.close()
        validate([heard for heard in backend.heard if heard.topic != TOPIC])

    with Broker("mosquitto", tmp_path / "broker") as broker:
        asyncio.run(run(broker))
