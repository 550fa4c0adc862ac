"""One message of the stream: the records of one partition in one range of a journal. Knows no broker."""

import zlib
from typing import Final, NamedTuple

import msgspec

from meuse.catalog import Origin
from meuse.decode import Stored
from meuse.delivery import Delivery

VERSION: Final = 1


class Span(NamedTuple):
    """What a message holds: its partition's records up to `last_id` that no message before it had.

    In the header `Meuse-Span`, so that a distributor learns from the last message how far it was.
    """

    journal: str
    partitions: int
    last_id: int

    def __str__(self) -> str:
        return f"{self.journal} {self.partitions} {self.last_id}"


def parse_span(text: str) -> Span | None:
    """None for anything else."""
    words = text.split(" ")
    if len(words) != 3 or not (words[1].isdecimal() and words[2].isdecimal()):
        return None
    return Span(words[0], int(words[1]), int(words[2]))


def partition_of(device: str, partitions: int) -> int:
    """One device is always in the same one, so its records stay in order."""
    return zlib.crc32(device.encode()) % partitions


def split(delivery: Delivery, partitions: int) -> dict[int, Delivery]:
    """partition -> its part, in order; only those that have records."""
    parts: dict[int, Delivery] = {}
    nobody = Origin("", "", "")
    for one in delivery.records:
        origin = delivery.origins.get(one.stream)
        number = partition_of((origin or nobody).device, partitions)
        part = parts.setdefault(number, Delivery([], {}))
        part.records.append(one)
        if origin is not None:
            part.origins[one.stream] = origin
    return parts


def encode(part: Delivery) -> bytes:
    return msgspec.msgpack.encode((VERSION, part.origins, part.records))


def decode(payload: bytes) -> Delivery:
    """Raises ValueError for what is no batch, or one of a newer host."""
    try:
        version, origins, records = msgspec.msgpack.decode(payload, type=tuple[int, msgspec.Raw, msgspec.Raw])
        if version != VERSION:
            raise ValueError(f"a batch of version {version}, here {VERSION}")
        found = Delivery(
            msgspec.msgpack.decode(records, type=list[Stored]),
            msgspec.msgpack.decode(origins, type=dict[int, Origin]),
        )
    except msgspec.MsgspecError as error:
        raise ValueError(f"no batch: {error}") from error
    return found
