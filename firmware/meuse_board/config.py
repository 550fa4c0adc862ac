"""The board's settings: what the product says and what was changed on the board, read and changed by key path.

Owns two files and the rules of `config set`; refuses to know what a setting does. A change takes effect at the next
boot. Key paths are names joined by dots; an element of a list is named by its `name`, its `kind` or its number:
groups.every_1s.channels.flue_temp.high, links.uart.baud, outputs.0.safe.

    path            the product as the PC compiled it; never written here
    path.changes    msgpack [CRC of the product, boots with the new ones, [key, value ...], [key, new value ...]],
                    with list elements by number; void once another product is deployed

New values stay on trial until the board has shown that people or a host reach it with them; a board that boots TRIES
times without, or is not reached for long, goes back to what it had. The product is read item by item: beside a running
application there is no heap for all of it.
"""

from meuse_protocol.errors import MeuseError, PacketError
from meuse_protocol.msgpack import get, pack, unpack

from .stored import mend, read, save, whole

DEPTH = 8  # config > groups > group > channels > channel > pins, and room
TRIES = 3
FIXED = ("name", "kind", "driver", "bus", "product", "version", "exp", "flags", "unit")
AMOUNTS = ("_ms", "_rows", "_bytes", "_records", "_segments")  # 0 of these would stop the board ...
MAY_BE_0 = ("health_ms", "watchdog_ms", "debounce_ms")  # ... but for what is switched off that way
SIGNED = ("low", "high", "index", "at_4ma", "at_20ma")
LIMITS = """max_pdu 64 1024
uart 0 9
baud 300 4000000
port 1 65535
period_ms 10 86400000
watchdog_ms 1000 3600000
segment_bytes 4096 1048576
max_segments 3 256
flush_bytes 256 65536
"""  # as in the product file: beyond them a board may be out of everybody's reach
PINS = ("pin", "cs", "tx", "rx", "scl", "sda", "sck", "mosi", "miso")
SECRETS = ("password", "user_password", "sim_pin")


class Config:
    """Reads `path`; without a product that is whole there are no settings.

    Writes nothing: what the board drives waits for this, and a flash may take its time.
    """

    def __init__(self, path: str):
        self._path = path
        self._file, _, self._at, self._crc = whole(path)
        self._tries, self._kept, self._new = 0, {}, {}
        try:
            crc, tries, kept, new = unpack(read(path + ".changes"))
            if crc == self._crc:
                self._tries, self._kept, self._new = tries, _pairs(kept), _pairs(new)
        except (MeuseError, ValueError, TypeError, IndexError):
            pass  # none, or none that is whole

    @property
    def value(self) -> dict:
        """All settings as nested dicts and lists; `unproven` is in it while changes are on trial."""
        if not self._file:
            return {}
        try:
            with open(self._file, "rb") as f:
                tree = Items(f, self._at).tree(DEPTH)
        except (MeuseError, OSError):
            return {}
        for changes in (self._kept, self._new):
            for path in changes:
                at = tree
                *above, last = path.split(".")
                for part in above:
                    at = at[int(part) if isinstance(at, list) else part]
                at[int(last) if isinstance(at, list) else last] = changes[path]
        if self._new:
            tree["unproven"] = True
        return tree

    def lines(self, key: str = ""):
        """What stands at the key and below, one "key = value" at a time. ValueError: no such key."""
        for shown, _, value in self._walk(key):
            hidden = shown.split(".")[-1] in SECRETS or isinstance(value, bytes)
            yield shown + " = " + ("(set, not shown)" if hidden else str(value))

    def set(self, key: str, text: str) -> bool:
        """Gives an existing setting a new value and stores it -> False if it had that value already.

        ValueError says why not, OSError that the flash refuses; then everything is as it was.
        """
        walk = self._walk(key)
        shown, path, old = next(walk)
        walk.close()  # and with it the file
        above, _, name = shown.rpartition(".")
        if isinstance(old, list) or shown.count(".") > key.count("."):
            raise ValueError("'%s' is several settings; name one of them" % key)
        if isinstance(old, bytes):
            raise ValueError("'%s' is part of the product; change it in the product file" % key)
        new = _parsed("pin" if name.isdigit() else name, old, text)
        if new == old:
            return False
        changes = dict(self._new)
        changes[path] = new
        self._save(0, self._kept, changes)
        self._new = changes
        return True

    def begin(self) -> str:
        """Mends a copy that differs, counts a boot with changes on trial or takes them back -> their keys if so."""
        mend(self._path)
        mend(self._path + ".changes")
        undone = ""
        if self._new:
            if self._tries >= TRIES:
                undone = ", ".join(self._new)
                self._new = {}
            self._tries = 0 if undone else self._tries + 1
            self._save(self._tries, self._kept, self._new)
        return undone

    def prove(self) -> None:
        """The board can be reached: what was on trial stays."""
        kept = dict(self._kept)
        kept.update(self._new)
        self._save(0, kept, {})
        self._kept, self._new = kept, {}

    def give_up(self) -> None:
        """Nobody reached the board: the next boot takes back what is on trial."""
        self._save(TRIES, self._kept, self._new)

    def _save(self, *state) -> None:
        tries, kept, new = state
        save(self._path + ".changes", pack([self._crc, tries, _flat(kept), _flat(new)]))

    def _walk(self, key: str):
        """(key path, key path with list elements by number, value) of each setting at the key and below."""
        found = not key
        if self._file:
            with open(self._file, "rb") as f:
                for shown, path, value in Items(f, self._at).walk(key.split(".") if key else (), "", ""):
                    found = True
                    yield shown, path, self._changed(path, value)
        if not found:
            raise ValueError("no setting '%s'; 'config get' shows all" % key)

    def _changed(self, path: str, value):
        if isinstance(value, list):
            return [self._changed("%s.%d" % (path, i), value[i]) for i in range(len(value))]
        return self._new.get(path, self._kept.get(path, value))


class Items:
    """msgpack in the open file `f` from byte `at` on. MeuseError for what is no msgpack."""

    def __init__(self, f, at: int):
        self._f = f
        self._at = at
        self._blobs = False  # certificates may be larger than what is free beside a running application

    def take(self):
        """The next value, or of a list or map its head: (elements, whether it is a map)."""
        for most in (40, 400):
            self._f.seek(self._at)
            data = self._f.read(most)
            c = data[0] if data else 0xC1
            if 0x80 <= c < 0xA0:
                self._at += 1
                return c & 15, c < 0x90
            if c in (0xDC, 0xDE):
                self._at += 3
                return int.from_bytes(data[1:3], "big"), c == 0xDE
            if 0xC4 <= c < 0xC7:
                return self._blob(1 << c - 0xC4, data)
            try:
                value, size = get(data, 0, 1)
                break
            except PacketError:
                if most == 400:
                    raise
        self._at += size
        return value

    def _blob(self, width: int, data: bytes) -> bytes:
        size = int.from_bytes(data[1 : 1 + width], "big")
        self._at += 1 + width
        self._f.seek(self._at)
        self._at += size
        return self._f.read(size) if self._blobs else b""

    def tree(self, depth: int):
        self._blobs = True
        head = self.take()
        if not isinstance(head, tuple):
            return head
        if not depth:
            raise PacketError("depth")
        n, is_map = head
        if not is_map:
            return [self.tree(depth - 1) for _ in range(n)]
        out = {}
        for _ in range(n):
            key = self.take()
            out[key] = self.tree(depth - 1)
        return out

    def walk(self, wanted, shown: str, path: str):
        """What Config._walk gives, as the file has it; `wanted`: parts of the key below here, () for everything."""
        head = self.take()
        if not isinstance(head, tuple):
            if not wanted:
                yield shown, path, head
            return
        n, is_map = head
        if not (is_map or wanted or isinstance(self._peek(n), tuple)):
            yield shown, path, [self.take() for _ in range(n)]
            return
        for i in range(n):
            name = self.take() if is_map else str(i)
            label = name if is_map else self._label(name)
            if wanted and wanted[0] not in (name, label):
                self._skip()
                continue
            dot = "." if shown else ""
            yield from self.walk(wanted[1:], shown + dot + label, path + dot + name)
            if wanted:
                return

    def _peek(self, n: int):
        """The first of n elements that begin here."""
        at = self._at
        head = self.take() if n else None
        self._at = at
        return head

    def _label(self, number: str) -> str:
        """What people call the element of a list that begins here."""
        at = self._at
        head = self.take()
        label = number
        if isinstance(head, tuple) and head[1]:
            for _ in range(head[0]):
                key = self.take()
                if key == "name" or (key == "kind" and label == number):
                    label = self.take()
                else:
                    self._skip()
        self._at = at
        return label

    def _skip(self) -> None:
        left = 1
        while left:
            head = self.take()
            left -= 1
            if isinstance(head, tuple):
                left += head[0] << head[1]


def _pairs(flat: list) -> dict:
    return {flat[i]: flat[i + 1] for i in range(0, len(flat), 2)}


def _flat(pairs: dict) -> list:
    flat = []
    for key in sorted(pairs):
        flat += (key, pairs[key])
    return flat


def _parsed(name: str, old, text: str):
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
        least, most = _limits(name)
        if not least <= new <= most and (new or name not in MAY_BE_0):
            raise ValueError("'%s' is %d to %d" % (name, least, most))
        return new
    return text


def _limits(name: str):
    for line in LIMITS.split("\n"):
        if line.startswith(name + " "):
            return [int(n) for n in line.split()[1:]]
    if name in PINS:
        return 0, 99
    if name in SIGNED:
        return -0x7FFFFFFF, 0x7FFFFFFF
    return 1 if name.endswith(AMOUNTS) else 0, 0x7FFFFFFF


def prove(root: str, reached: bool) -> bool:
    """The board was reached with its changed settings, which are there to stay; or the next boot takes them back.

    False: flash or heap refuse now.
    """
    try:
        config = Config(root + "/config.msgpack")
        if reached:
            config.prove()
        else:
            config.give_up()
        return True
    except (OSError, MemoryError):
        return False
