"""The host's SMS modem, simulated on a pty: who is answered, how often, and what a lost port does."""

import asyncio
import os
import pty
import sys
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from meuse.run import Host
from meuse.sms_pdu import delivered, submit
from meuse_protocol.messages import NEED, WELCOME, head

from tests.host.hosts import key_of, running
from tests.host.light_board import LightBoard, until

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "firmware/sim"))
from modem.card import Card
from modem.centre import Centre
from modem.sim7600 import Sim7600

BOARD, OURS = "+31600000001", "+316000000002"  # an odd and an even number of digits


@asynccontextmanager
async def on_sms(data: Path, centre: Centre, **more: object) -> AsyncIterator[tuple[Host, Sim7600]]:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    modem = Sim7600(ours, Card(OURS), centre)
    modem.switch_on()
    try:
        sms = {"port": os.ttyname(theirs), "numbers": [BOARD], **more}
        async with running(data, sms=sms, tcp={"listen": []}) as host:
            await until(lambda: modem.delivers, "the modem is ready")
            yield host, modem
    finally:
        await modem.close()
        os.close(ours)
        os.close(theirs)


def answers(centre: Centre) -> list[int]:
    return [head(data)[0] for sender, to, data in centre.submitted if (sender, to) == (OURS, BOARD)]


def counted(host: Host, name: str) -> int:
    return host.bridge.counters.get(name, 0)


def test_no_more_answers_than_messages_and_no_more_than_a_day_has(tmp_path: Path) -> None:
    data, centre = tmp_path / "data", Centre()
    board = LightBoard("bench-1", key_of(data, "bench-1"))

    async def scene() -> None:
        async with on_sms(data, centre, per_day=3) as (host, _):
            board.add(1)
            centre.send(BOARD, OURS, board.endpoint.hello(140, 1))
            await until(lambda: answers(centre) == [WELCOME], "welcome")
            for nonce in range(2, 5):
                centre.send(BOARD, OURS, board.endpoint.hello(140, nonce))
                await until(lambda: counted(host, "sms_received") == nonce, "the next")  # noqa: B023
            await until(lambda: counted(host, "sms_over_the_day") >= 1, "the day is over")
            await until(lambda: len(answers(centre)) == 3, "three answers")

    asyncio.run(scene())
    assert len(centre.submitted) == 3


def test_an_unknown_stream_is_asked_once_a_message_and_strangers_are_not(tmp_path: Path) -> None:
    data, centre = tmp_path / "data", Centre()
    packet = b"\x96\x12\xce\x80\x00\x00\x01\x01\x02\x03" + bytes(8)

    async def scene() -> None:
        async with on_sms(data, centre) as (host, modem):
            for _ in range(3):
                centre.send("+31699999999", OURS, packet)
            await until(lambda: counted(host, "sms_strangers") == 3, "strangers")
            centre.send(BOARD, OURS, packet)
            await until(lambda: answers(centre) == [NEED], "who is this?")
            await modem.reboot()
            await until(lambda: modem.delivers, "the modem is ready again")
            centre.send(BOARD, OURS, packet)
            await until(lambda: counted(host, "sms_received") == 2, "another message")

    asyncio.run(scene())
    assert len(centre.submitted) <= 2


@pytest.mark.parametrize("size", [0, 1, 139, 140])
@pytest.mark.parametrize("number", [BOARD, OURS])
def test_messages_of_all_lengths_pass_a_centre(size: int, number: str) -> None:
    centre = Centre()
    data = os.urandom(size)
    pdu, length = submit(number, data)
    assert length == len(pdu) // 2 - 1
    assert centre.submit(BOARD, pdu) is not None
    assert centre.submitted == [(BOARD, number, data)]


def test_a_text_message_and_broken_ones_are_no_packets() -> None:
    text = "07917283010010F5040BC87238880900F10000993092516195800AE8329BFD4697D9EC37"  # 7-bit "hellohello"
    assert delivered(text) is None
    for length in range(0, len(text), 2):
        assert delivered(text[:length]) is None
    assert delivered("no hexadecimal") is None
    binary = "07917283010010F5040BC87238880900F10004993092516195800301FF00"
    assert delivered(binary) == ("27838890001", b"\x01\xff\x00")
    assert delivered(binary.replace("F5040B", "F5440B")) is None, "a header: part of a longer message"
