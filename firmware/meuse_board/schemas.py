"""Which schema id means which group in this stream: given once, kept in flash, never given again.

Owns the rule; refuses to know what a channel measures. A changed product gets new ids beside the old ones.
"""

from meuse_protocol.schema import MAX_SID, Schema

STREAM = "=stream"  # like "#" and four bytes of hash no name that a channel can have

# Name, unit, flags (1: counter, 2: state). Counts are since boot.
CHANNELS = """uptime s 0
boots count 1
reset_cause count 2
heap_low B 0
log_waiting count 0
log_lost count 0
flash_writes count 0
flash_errors count 0
sensor_errors count 0
sent count 0
received count 0
line_damage count 0"""


def schema_of(group) -> Schema:
    """Made when it is needed, not kept: a board has no heap for two descriptions of its channels."""
    s = group.settings
    if not s["channels"]:  # the board's own
        rows = channels()
    else:
        rows = [(c["name"], c["unit"], c["exp"], c.get("flags", 0)) for c in s["channels"]]
    return Schema(group.sid, s["name"], s["tick_ms"], rows)


def name_groups(groups: list, kept, stream: int) -> list:
    """Gives each group its sid -> [(group, hash4, whether the sid is new)]; a group beyond the last sid is left out."""
    known = kept.values
    if known.get(STREAM) != stream:
        for name in list(known):
            if name[0] == "#":
                del known[name]
        kept.put(STREAM, stream)
    named = []
    for group in groups:
        digest = schema_of(group).hash4()
        name = "#" + digest.hex()
        sid = known.get(name) or 1 + sum([k[0] == "#" for k in known])
        if sid <= MAX_SID:
            group.sid = sid
            named.append((group, digest, name not in known))
            kept.put(name, sid)
    kept.flush()
    return named


def health_settings(period_ms: int) -> dict:
    """Of the board's own group, as sampler and batcher want them."""
    return {"name": "health", "tick_ms": 1000, "period_ms": period_ms, "max_rows": 1, "channels": ()}


def channels() -> list:
    """(name, unit, exp, flags) of each of the board's own; made when asked for."""
    rows = [line.split() for line in CHANNELS.split("\n")]
    return [(name, unit, 0, int(flags)) for name, unit, flags in rows]
