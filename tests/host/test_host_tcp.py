"""The running host over real sockets: stored means acknowledged, strangers change only counters."""

import asyncio
import resource
import socket
from pathlib import Path

import pytest
from meuse import bridge, storage_checks
from meuse.identity import TRUSTED_BINDS_PER_MINUTE
from meuse.links.tcp import OTHER_DESCRIPTORS, room_for
from meuse.session import STRANGER_BYTES
from meuse_protocol.framing import frame
from meuse_protocol.messages import HELLO, record
from meuse_protocol.received import RangeSet

from tests.host.hosts import ask, events, key_of, running, stored
from tests.host.light_board import LightBoard, until


def test_what_is_acknowledged_is_in_the_journal_and_what_is_made_arrives(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as host:
            board = LightBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.add(100)
            await board.connect(host.tcp[0].address)
            await board.drained()
            assert stored(tmp_path, board.log.stream) == board.log.created
            board.unplug()

    asyncio.run(scene())
    ((device, received),) = ask(tmp_path, "SELECT device, received FROM streams")
    assert device == "stove-1"
    assert RangeSet.from_bytes(received).ranges() == [(1, 100)]  # type: ignore[arg-type]


def test_a_host_started_again_knows_what_it_has(tmp_path: Path) -> None:
    async def scene() -> None:
        board = LightBoard("stove-1", key_of(tmp_path, "stove-1"))
        for _ in range(3):
            async with running(tmp_path) as host:
                board.add(40)
                await board.connect(host.tcp[0].address)
                await board.drained()
                await host.journal.read(lambda db: None)
                assert host.commits.committed == 40  # nothing came twice
                board.unplug()
        assert stored(tmp_path, board.log.stream) == board.log.created

    asyncio.run(scene())


def test_a_new_stream_closes_the_old_one_with_a_gap_of_unknown_end(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as host:
            key = key_of(tmp_path, "stove-1")
            first, second = LightBoard("stove-1", key), LightBoard("stove-1", key)
            for board in (first, second):
                board.add(5)
                await board.connect(host.tcp[0].address)
                await board.drained()
                board.unplug()
            gaps = ask(tmp_path, "SELECT stream, first_seq, last_seq, reason, source FROM gaps")
            assert gaps == [(first.log.stream, 6, 0xFFFFFFFF, 5, "host")]
            closed = ask(tmp_path, "SELECT stream FROM streams WHERE closed_ms IS NOT NULL")
            assert closed == [(first.log.stream,)]

    asyncio.run(scene())


def test_a_gap_is_announced_and_a_late_record_fills_it(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as host:
            board = LightBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.add(10)
            lost = board.log.created[3]
            board.endpoint.record_added(board.log.drop_oldest(4, 1))
            await board.connect(host.tcp[0].address)
            await board.drained()
            gaps = ask(tmp_path, "SELECT first_seq, last_seq, reason, source FROM gaps")
            assert (1, 4, 1, "board") in gaps
            assert sorted(stored(tmp_path, board.log.stream)) == [*range(5, 12)]
            board.unplug()
            # The same board with its log restored: seq 3 is there after all.
            again = LightBoard("stove-1", key_of(tmp_path, "stove-1"), board.log)
            await again.connect(host.tcp[0].address)
            again.send_raw(b"\0" + frame(again.packet(lost, board.log.stream)))
            await until(lambda: 3 in stored(tmp_path, board.log.stream), "the late record")
            again.unplug()
            ((gapped,),) = ask(tmp_path, "SELECT gapped FROM streams")
            assert RangeSet.from_bytes(gapped).ranges() == [(1, 2), (4, 4)]  # type: ignore[arg-type]

    asyncio.run(scene())


def test_strangers_and_noise_change_nothing_but_counters(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as host:
            key = key_of(tmp_path, "stove-1")
            good = LightBoard("stove-1", key)
            await good.connect(host.tcp[0].address)
            good.add(3)
            await good.drained()
            before = ask(tmp_path, "SELECT * FROM streams"), stored(tmp_path, good.log.stream)

            wrong_key = LightBoard("stove-1", bytes(32))
            unknown = LightBoard("nobody-1", bytes(32))
            keyless = LightBoard("stove-1", None)
            for board in (wrong_key, unknown, keyless):
                board.add(5)
                await board.connect(host.tcp[0].address)
            address, port = host.tcp[0].address.rsplit(":", 1)
            noisy = socket.create_connection((address, int(port)))
            noisy.sendall(bytes(range(256)) * 40 + b"\0ets Jun  8 2016 00:22:57\r\n" + b"\0" * 50)
            forged = bytearray(good.packet(good.log.created[1], good.log.stream))
            forged[-1] ^= 1
            noisy.sendall(frame(bytes(forged)) * 30)
            reasons = {"bad_mac", "bad_hello", "unknown_device", "muted"}
            await until(lambda: reasons <= set(host.bridge.totals()), "counters")
            await until(lambda: host.bridge.totals()["damaged"] > 0, "damage is counted")
            await until(lambda: host.bridge.totals()["lines"] > 0, "text is counted")
            after = ask(tmp_path, "SELECT * FROM streams"), stored(tmp_path, good.log.stream)
            assert after == before
            assert wrong_key.acked == unknown.acked == keyless.acked == 0
            good.add(1)
            await good.drained()
            for board in (good, wrong_key, unknown, keyless):
                board.unplug()
            noisy.close()

    asyncio.run(scene())
    assert not (tmp_path / "console").exists()  # nobody may fill a disk from the network


def test_the_first_of_two_records_under_one_number_stays_and_a_person_is_told(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as host:
            key = key_of(tmp_path, "stove-1")
            board = LightBoard("stove-1", key)
            board.add(3)
            await board.connect(host.tcp[0].address)
            await board.drained()
            first = stored(tmp_path, board.log.stream)
            clone = LightBoard("stove-1", key)
            clone.add(3)
            other = clone.log.created[2]
            board.send_raw(b"\0" + frame(board.packet(other, board.log.stream)))
            await until(lambda: "conflict" in events(tmp_path), "the event")
            assert stored(tmp_path, board.log.stream) == first
            await until(lambda: any(type(e).__name__ == "Refused" for e in board.events), "ERR 5")
            board.unplug()

    asyncio.run(scene())


def test_a_replayed_hello_of_an_old_stream_closes_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as host:
            key = key_of(tmp_path, "stove-1")
            old, new = LightBoard("stove-1", key), LightBoard("stove-1", key)
            hello = b""
            for board in (old, new):
                await board.connect(host.tcp[0].address)
                board.add(3)
                await board.drained()
                hello = hello or frame(old.endpoint._control(HELLO, 0))  # captured by somebody on the way
            old.unplug()
            attacker = LightBoard("stove-1", None)
            await attacker.connect(host.tcp[0].address)
            attacker.send_raw(b"\0" + hello)
            await until(lambda: len(host.bridge.sessions) == 2 and attacker.received > 20, "an answer")
            new.add(3)
            await new.drained()
            closed = ask(tmp_path, "SELECT stream FROM streams WHERE closed_ms IS NOT NULL")
            assert closed == [(old.log.stream,)]
            assert len(ask(tmp_path, "SELECT * FROM gaps")) == 1
            attacker.unplug()
            new.unplug()

    asyncio.run(scene())


def test_a_board_of_another_major_version_can_do_no_harm(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as host:
            key = key_of(tmp_path, "stove-1")
            board = LightBoard("stove-1", key)
            board.add(1)
            fields = (0x01, 0, 1, 2, 1024, 32, "stove-1", [], 7)
            hello = board.packet(record(HELLO, *fields), board.log.stream)
            data = board.packet(board.log.created[1], board.log.stream)
            wire = LightBoard("stove-1", bytes(32))  # its own HELLO is refused
            await wire.connect(host.tcp[0].address)
            wire.send_raw(b"\0" + frame(hello) + frame(data))
            await until(lambda: host.bridge.totals().get("version") == 1, "it is noticed")
            assert stored(tmp_path, board.log.stream) == {}
            assert host.commits.failing is None
            wire.unplug()

    asyncio.run(scene())


def test_what_came_before_the_stop_is_acknowledged(tmp_path: Path) -> None:
    async def scene() -> None:
        board = LightBoard("stove-1", key_of(tmp_path, "stove-1"))
        async with running(tmp_path) as host:
            await board.connect(host.tcp[0].address)
            board.add(1)
            await board.drained()
            board.add(20)
            await until(lambda: host.commits.records or host.commits.committed == 21, "they are on their way")
        await until(lambda: not board.plugged, "the host has gone")
        assert board.acked == len(stored(tmp_path, board.log.stream))

    asyncio.run(scene())


def test_more_connections_than_allowed_are_closed_at_once(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, tcp={"listen": ["127.0.0.1:0"], "max_connections": 2}) as host:
            loop = asyncio.get_running_loop()
            sockets = []
            for _ in range(3):
                one = socket.socket()
                one.setblocking(False)
                await loop.sock_connect(one, ("127.0.0.1", int(host.tcp[0].address.rsplit(":", 1)[1])))
                sockets.append(one)
            await until(lambda: host.bridge.totals().get("tcp_refused") == 1, "the third is refused")
            await host.status.write()
            told = {finding.what: finding for finding in storage_checks.check(tmp_path)}
            assert "beyond tcp.max_connections" in told["link.tcp_refused"].state, "`meuse doctor` says so"
            assert len(host.tcp[0].connections) == 2
            for one in sockets:
                one.close()

    asyncio.run(scene())


def test_a_host_that_stops_reads_no_more_whatever_becomes_free(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as host:
            board = LightBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.add(3)
            await board.connect(host.tcp[0].address)
            await board.drained()
            (connection,) = host.tcp[0].connections
            host.bridge.pressure(True)
            host.bridge.stop_reading()
            host.bridge.pressure(False)  # the last commit has made room
            assert connection._transport is not None and not connection._transport.is_reading()
            board.unplug()

    asyncio.run(scene())


def test_strangers_are_sent_away_but_not_while_nobody_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "STRANGER_S", 0.05)

    async def scene() -> None:
        async with running(tmp_path) as host:
            host.bridge.pressure(True)
            quiet = LightBoard("nobody-1", bytes(32))
            await quiet.connect(host.tcp[0].address)
            await until(lambda: host.bridge.sessions, "its session")
            (session,) = host.bridge.sessions
            timer = host.bridge._timers[session][0]
            await until(lambda: host.bridge._timers[session][0] is not timer, "another look")
            assert host.bridge.sessions
            host.bridge.pressure(False)
            await until(lambda: not host.bridge.sessions, "it is sent away")
            assert host.bridge.totals()["strangers"] == 1
            assert not host.bridge._timers
            quiet.unplug()

    asyncio.run(scene())


@pytest.mark.parametrize("noise", [b"\n", b"\x99", b"\0", b"\x99\x99\1\0", b"a line\r\n", frame(b"\x92\x12\x00" * 20)])
def test_a_stranger_may_not_say_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: bytes) -> None:
    monkeypatch.setattr(bridge, "STRANGER_S", 3600.0)

    async def scene() -> None:
        async with running(tmp_path) as host:
            board = LightBoard("stove-1", key_of(tmp_path, "stove-1"))
            stranger = LightBoard("nobody-1", None)
            await board.connect(host.tcp[0].address)
            board.add(100, size=200)
            await board.drained(60)  # 20 kB, and nothing against it
            await stranger.connect(host.tcp[0].address)
            stranger.send_raw(noise * (STRANGER_BYTES // 2 // len(noise)))
            await until(lambda: len(host.bridge.sessions) == 2, "it is heard", 60)
            stranger.send_raw(noise * (STRANGER_BYTES // len(noise)))
            await until(lambda: not stranger.plugged, "it is sent away", 60)
            assert host.bridge.totals()["strangers"] == 1
            assert board.plugged and len(host.bridge.sessions) == 1
            board.send_raw(noise * (2 * STRANGER_BYTES // len(noise)) + b"\0")  # somebody known
            board.add(10)
            await board.drained(60)
            board.unplug()

    asyncio.run(scene())


def test_who_connects_again_and_again_may_not_bind_again_and_again(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, trust={"links": ["tcp"]}) as host:
            for _ in range(TRUSTED_BINDS_PER_MINUTE + 3):
                board = LightBoard("bare-1", None)
                await board.connect(host.tcp[0].address)
                await until(lambda: board.received > 20, "WELCOME, or ERR")  # noqa: B023
                board.unplug()
            assert len(ask(tmp_path, "SELECT * FROM streams")) == TRUSTED_BINDS_PER_MINUTE + 1
            assert host.bridge.totals()["unknown_device"] > 0

    asyncio.run(scene())


def test_more_descriptors_are_asked_for_or_fewer_connections_taken() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OTHER_DESCRIPTORS + 50, before[1]))
        assert room_for(60) == 60
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == OTHER_DESCRIPTORS + 60
        if before[1] != resource.RLIM_INFINITY:
            assert room_for(before[1]) == before[1] - OTHER_DESCRIPTORS
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
