"""Which schema id means which group in this stream: given once, kept in flash, never given again.

Owns the rule; refuses to know what a channel measures. A changed product gets new ids beside the old ones.
"""

from meuse_protocol.schema import MAX_SID, Schema

STREAM = "=stream"  # like "#" and four bytes of hash no name that a channel can have


def schema_of(group) -> Schema:
    """Made when it is needed, not kept: a board has no heap for two descriptions of its channels."""
    s = group.settings
    if "schema" in s:
        rows = s["schema"]()
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
