"""What several links sent more than once, by its cause; and what the simulated wires did to deserve it."""

from dataclasses import dataclass, field, fields

from meuse_protocol.window import RTO_RESENDS


@dataclass
class Tally:
    """Records that a link took, and those of them that it took again.

    switched: the stream had gone to another link, or anew to the same, since it was sent last. probes: into a wire that
    is cut and nobody knows it yet. again: on a wire that works. Of such wires: `lost` records and `lost_answers` by
    chance, and what came so `late` that it counts as lost.
    """

    sent: int = 0
    switched: int = 0
    probes: int = 0
    again: int = 0
    lost: int = 0
    lost_answers: int = 0
    late: int = 0
    # seq -> which choice of the supervisor was the last under which it was sent
    _last: dict[int, int] = field(default_factory=dict, init=False)

    def took(self, seq: int, choice: int, cut: bool) -> None:
        """A link takes this record, whole or its first part."""
        self.sent += 1
        before = self._last.get(seq)
        self._last[seq] = choice
        if before is None:
            return
        if before != choice:
            self.switched += 1
        elif cut:
            self.probes += 1
        else:
            self.again += 1

    def since(self, before: "Tally") -> "Tally":
        """What has been added."""
        return Tally(*(getattr(self, name) - getattr(before, name) for name in COUNTS))

    def copy(self) -> "Tally":
        return self.since(Tally())

    def excused(self) -> int:
        """How many records may go again on wires that work: those lost, and what two timeouts tried for each loss."""
        return RTO_RESENDS * (self.lost + self.lost_answers) + self.late


COUNTS = tuple(one.name for one in fields(Tally) if one.init and not one.name.startswith("_"))
