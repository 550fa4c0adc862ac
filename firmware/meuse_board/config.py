"""The board's settings: what the product says, loaded at boot, read and changed by key path.

Owns the file and the rules of `config set`; refuses to know what a setting does. A change takes effect
at the next boot. Key paths are names joined by dots; an element of a list is named by its `name`, its
`kind` or its number: groups.every_1s.channels.flue_temp.high, links.uart.baud, outputs.0.safe.
"""

from meuse_protocol.errors import MeuseError
from meuse_protocol.msgpack import put, unpack

from .stored import load, save

DEPTH = 8  # config > groups > group > channels > channel > pins, and room
FIXED = ("name", "kind", "driver", "bus", "product", "version", "exp", "flags", "unit")
AMOUNTS = ("_ms", "_rows", "_bytes", "_records", "_segments")  # 0 of these would stop the board ...
MAY_BE_0 = ("health_ms", "watchdog_ms", "debounce_ms")  # ... but for what is switched off that way
SECRETS = ("password",)


class Config:
    """`value`: the settings as nested dicts and lists; empty when the board has none that are whole."""

    def __init__(self, path: str):
        self._path = path
        self.value = {}
        payload = load(path)
        if payload is not None:
            try:
                self.value = unpack(payload, DEPTH)
            except MeuseError:
                pass

    def lines(self, key: str = ""):
        """What stands at the key and below, one "key = value" at a time. ValueError: no such key."""
        value = self.value
        if key:
            parent, last = self._find(key)
            value = parent[last]
        yield from _lines(key, value)

    def set(self, key: str, text: str) -> bool:
        """Gives an existing setting a new value and stores it -> False if it had that value already.

        ValueError says why not, OSError that the flash refuses; then everything is as it was.
        """
        parent, last = self._find(key)
        old = parent[last]
        new = _parsed(last, old, text)
        if new == old:
            return False
        parent[last] = new
        try:
            save(self._path, packed(self.value))
        except OSError:
            parent[last] = old
            raise
        return True

    def _find(self, key: str):
        """(dict or list, key or index in it)"""
        at = (None, None)
        value = self.value
        for part in key.split("."):
            if isinstance(value, dict) and part in value:
                at = (value, part)
            elif isinstance(value, list):
                at = (value, _index(value, part))
            else:
                at = (None, None)
            if at[1] is None:
                raise ValueError("no setting '%s'; 'config get' shows all" % key)
            value = at[0][at[1]]
        return at


def packed(value) -> bytes:
    """msgpack with maps, which the wire has not; keys sorted, so that equal settings are equal bytes."""
    out = bytearray()
    _put(out, value)
    return bytes(out)


def _put(out, value) -> None:
    if isinstance(value, dict):
        out += b"\xde" + len(value).to_bytes(2, "big")
        for name in sorted(value):
            put(out, name)
            _put(out, value[name])
    elif isinstance(value, list):
        out += b"\xdc" + len(value).to_bytes(2, "big")
        for item in value:
            _put(out, item)
    else:
        put(out, value)


def _index(items: list, part: str):
    for i, item in enumerate(items):
        if isinstance(item, dict) and part in (item.get("name"), item.get("kind")):
            return i
    if part.isdigit() and int(part) < len(items):
        return int(part)
    return None


def _parsed(name, old, text: str):
    """`text` as a value of the same type as `old`; ValueError when it is none, or would break the board."""
    if name in FIXED:
        raise ValueError("'%s' is part of the product; change it in the product file" % name)
    if isinstance(old, bool):
        if text not in ("true", "false"):
            raise ValueError("say true or false")
        return text == "true"
    if isinstance(old, int):
        try:
            new = int(text)
        except ValueError:
            raise ValueError("'%s' is a whole number" % name)
        least = 0
        if isinstance(name, str):
            if name.endswith(AMOUNTS) and name not in MAY_BE_0:
                least = 1
            elif name in ("low", "high", "index", "at_4ma", "at_20ma"):
                least = -0x7FFFFFFF
        if not least <= new <= 0x7FFFFFFF:
            raise ValueError("'%s' is at least %d" % (name, least))
        return new
    if isinstance(old, str):
        return text
    raise ValueError("'%s' is several settings; name one of them" % name)


def _lines(key: str, value):
    pairs = None
    if isinstance(value, dict):
        pairs = [(k, value[k]) for k in sorted(value)]
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        pairs = [(v.get("name", v.get("kind", str(i))), v) for i, v in enumerate(value)]
    if pairs is None:
        hidden = key.split(".")[-1] in SECRETS or isinstance(value, bytes)
        yield key + " = " + ("(set, not shown)" if hidden else str(value))
    else:
        for name, below in pairs:
            yield from _lines(key + "." + name if key else name, below)
