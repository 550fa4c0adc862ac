"""What a role may publish and subscribe: the one table, as MQTT topic filters; brokers get it in their own words."""

from typing import Final, NamedTuple


class Rights(NamedTuple):
    """Topic filters. What is not named is forbidden."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


HOST_STATE: Final = "meuse/_host/state"

# The host's own users at a broker that is not its own; no device or backend can be called so. Two, since where
# a client id is the user name two connections under one name would push each other out.
TOPICS: Final = "_topics"
BOARDS: Final = "_link"

# The host's own connections.
LINK: Final = Rights(("meuse-link/+/+/down",), ("meuse-link/+/+/up",))
EVERYTHING: Final = Rights(("#",), ("#",))

# Whoever runs this host: all tenants.
READER: Final = Rights((), ("meuse/#", "homeassistant/#"))
COMMANDER: Final = Rights(("meuse/+/+/+/command",), READER.subscribe)


def of_topics(discovery: str) -> Rights:
    """The host's connection for backends; discovery: the prefix of Home Assistant, or empty."""
    more = (f"{discovery}/#",) if discovery else ()
    return Rights(("meuse/#", *more), ("meuse/+/+/+/command",))


def of_board(tenant: str, device: str) -> Rights:
    topic = f"meuse-link/{tenant}/{device}"
    return Rights((f"{topic}/up",), (f"{topic}/down",))


def of_backend(tenant: str, commands: bool) -> Rights:
    """Everything of its tenant, and whether the host is there; commands only where it may."""
    return Rights((f"meuse/{tenant}/+/+/command",) if commands else (), (f"meuse/{tenant}/#", HOST_STATE))


def subjects(filters: tuple[str, ...]) -> list[str]:
    """The same for NATS, where `a/#` is `a` and everything under it (docs of nats-server, "MQTT: topics")."""
    found = []
    for each in filters:
        subject = each.replace("/", ".").replace("+", "*")
        if subject.endswith(".#"):
            found.append(subject.removesuffix(".#"))
        found.append(subject.removesuffix("#") + ">" if subject.endswith("#") else subject)
    return found
