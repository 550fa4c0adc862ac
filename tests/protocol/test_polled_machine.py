"""A master, three boards and a wire on which anything is lost: whatever happens, in any order.

After every step: storage holds only what was made, each once; what a board was told is durable, is; nobody speaks
unasked. When the wire is good again everything arrives.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from memory_host import MemoryHost, MemoryJournal
from memory_log import STREAM, MemoryLog, text
from meuse_protocol import states
from meuse_protocol.messages import BLOB
from meuse_protocol.polled import UNPOLLED_MS, PolledEndpoint

from tests.protocol.effort import EXAMPLES

BOARDS = 3
NUMBERS = st.integers(0, BOARDS - 1)
LOSS = st.lists(st.booleans(), max_size=6)  # of the packets that follow, which are lost
UTC_MS = 1_800_000_000_000


class Device:
    def __init__(self, number: int) -> None:
        self.psk = bytes([number + 1]) * 32
        self.log = MemoryLog(STREAM + number)
        self.nonce = 1000 * number
        self.start(0)

    def start(self, now_ms: int) -> None:
        self.nonce += 1
        self.endpoint = PolledEndpoint(f"board-{self.log.stream - STREAM}", self.log.stream, self.psk, self.log)
        self.endpoint.link_up(now_ms, 256, self.nonce)


class Wire(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.now_ms = 1000
        self.run = 1
        self.devices = [Device(number) for number in range(BOARDS)]
        self.journal = MemoryJournal({f"board-{n}": [device.psk] for n, device in enumerate(self.devices)})
        self.host = MemoryHost(self.journal, boards=BOARDS)
        self.replay: list[bytes] = []

    # -- what boards and the host do by themselves

    @rule(number=NUMBERS, count=st.integers(1, 9))
    def read(self, number: int, count: int) -> None:
        device = self.devices[number]
        for n in range(count):
            device.endpoint.record_added(device.log.append(BLOB, *text(n)))

    @rule(number=NUMBERS, flushed=st.booleans())
    def restart_board(self, number: int, flushed: bool) -> None:
        """Its RAM is gone; the log is what was flushed."""
        device = self.devices[number]
        device.log.flush() if flushed else device.log.crash()
        device.start(self.now_ms)

    @rule(commit=st.booleans())
    def restart_host(self, commit: bool) -> None:
        if commit:
            self.host.commit(self.now_ms)
        self.journal.restart()
        self.run += 1
        self.host = MemoryHost(self.journal, boards=BOARDS)

    @rule(ms=st.sampled_from([1, 900, 5000, UNPOLLED_MS]))
    def wait(self, ms: int) -> None:
        self.now_ms += ms

    # -- the wire

    @rule(number=NUMBERS, credit=st.integers(0, 5), down=LOSS, up=LOSS, commit=st.booleans())
    def turn(self, number: int, credit: int, down: list[bool], up: list[bool], commit: bool) -> None:
        stream = STREAM + number
        if self.journal.stream(stream) is None:
            return
        self.say(down)
        sent = self.host.endpoint.poll(stream, credit)
        self.replay = (self.replay + sent)[-8:]
        self.heard(sent, down)
        answers = self.spoken()
        assert len(answers) <= credit
        self.answered(answers, up)
        if commit:
            self.host.commit(self.now_ms)

    @rule(slots=st.integers(1, 8), down=LOSS, up=LOSS)
    def call(self, slots: int, down: list[bool], up: list[bool]) -> None:
        """Two in one slot garble each other."""
        self.host.endpoint.call(self.now_ms, [slots, 100, self.run])
        self.say(down)
        answers = []
        for slot_ms in range(self.now_ms, self.now_ms + 100 * slots, 100):
            said = [e2e for d in self.devices if (e2e := d.endpoint.next_pdu(slot_ms))]
            answers += said if len(said) == 1 else []
        self.now_ms += 100 * slots
        self.answered(answers, up)

    @rule(number=st.integers(0, 7))
    def attack(self, number: int) -> None:
        """A POLL of before is said again: at worst somebody speaks, and is heard or not."""
        if number < len(self.replay):
            self.heard([self.replay[number]], [])
            self.spoken()

    def say(self, lost: list[bool]) -> None:
        packets = []
        while (e2e := self.host.endpoint.next_pdu(self.now_ms)) is not None:
            packets.append(e2e)
        self.heard(packets, lost)

    def heard(self, packets: list[bytes], lost: list[bool]) -> None:
        for n, e2e in enumerate(packets):
            if n >= len(lost) or not lost[n]:
                for device in self.devices:
                    device.endpoint.receive(e2e, self.now_ms)

    def spoken(self) -> list[bytes]:
        """What comes now; only one board may speak."""
        by_board = []
        for device in self.devices:
            said = []
            while (e2e := device.endpoint.next_pdu(self.now_ms)) is not None:
                said.append(e2e)
            while device.endpoint.next_event():
                pass
            by_board += [said] if said else []
        assert len(by_board) <= 1
        return by_board[0] if by_board else []

    def answered(self, packets: list[bytes], lost: list[bool]) -> None:
        for n, e2e in enumerate(packets):
            if n >= len(lost) or not lost[n]:
                self.host.receive(e2e, self.now_ms, UTC_MS + self.now_ms)

    # -- what must hold

    @invariant()
    def nobody_speaks_unasked(self) -> None:
        for device in self.devices:
            if device.endpoint.deadline() is None:
                assert device.endpoint.next_pdu(self.now_ms) is None

    @invariant()
    def what_is_acknowledged_is_stored(self) -> None:
        for device in self.devices:
            for seq in device.log.settled:
                key = (device.log.stream, seq)
                gapped = [g for g in self.journal.gaps.get(device.log.stream, []) if g[0] <= seq <= g[1]]
                assert key in self.journal.records or gapped

    def teardown(self) -> None:
        """A good wire, a minute: all is there."""
        if not hasattr(self, "devices"):
            return
        self.now_ms += 2 * UNPOLLED_MS
        for _ in range(40):
            self.now_ms += 1500
            self.call(8, [], [])
            for number in range(BOARDS):
                self.turn(number, 16, [], [], True)
            self.host.commit(self.now_ms)
        for device in self.devices:
            assert device.endpoint.state == states.READY
            assert device.log.oldest() == device.log.next_seq()
            for seq, made in device.log.created.items():
                found = self.journal.records.get((device.log.stream, seq))
                assert found in (None, made)
        assert self.host.endpoint.counters.get("conflict", 0) == 0


def test_whatever_happens_on_a_shared_wire() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Wire, settings=settings(max_examples=60 * EXAMPLES, stateful_step_count=30, deadline=None)
    )
