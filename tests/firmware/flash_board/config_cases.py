"""Settings and identity on littlefs: read, changed, and never lost to a cut. Run by cases.py."""

import vfs
from flash import CLEAN, HALF, RANDOM, RamFlash, mount
from meuse_board.config import TRIES, Config
from meuse_board.identity import identity
from meuse_board.stored import load, save
from meuse_protocol.msgpack import pack, put

PATH = "/main/config.msgpack"
SETTINGS = {
    "product": "stove",
    "links": [
        {"kind": "uart", "baud": 115200, "tx": 4, "uart": 0, "max_pdu": 1024},
        {"kind": "tcp", "password": "hush", "port": 1},
    ],
    "groups": [{"name": "fast", "period_ms": 1000, "pins": [14, 15], "channels": [{"name": "a", "high": 50}]}],
    "health_ms": 60000,
    "watchdog_ms": 8000,
    "on": True,
}


def packed(value) -> bytes:
    """As firmware/product.py makes it."""
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


class Chip:
    def __init__(self):
        self.flash = RamFlash(16)
        mount(self.flash, "/main")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        vfs.umount("/main")


def refused(config, key, text):
    try:
        config.set(key, text)
    except ValueError as reason:
        return str(reason)
    return ""


def test_settings_are_read_and_changed_by_key_path():
    with Chip():
        save(PATH, packed(SETTINGS))
        config = Config(PATH)
        assert config.value == SETTINGS
        assert list(config.lines("links.uart")) == [
            "links.uart.baud = 115200",
            "links.uart.kind = uart",
            "links.uart.max_pdu = 1024",
            "links.uart.tx = 4",
            "links.uart.uart = 0",
        ]
        assert config.set("links.uart.baud", "9600")
        assert config.set("groups.fast.channels.a.high", "-3")
        assert config.set("on", "false")
        assert list(Config(PATH).lines("groups.0.channels.0.high")) == [
            "groups.fast.channels.a.high = -3"
        ]
        assert Config(PATH).value["links"][0]["baud"] == 9600
        assert Config(PATH).value["on"] is False


def test_wrong_settings_are_refused_in_words():
    with Chip():
        save(PATH, packed(SETTINGS))
        config = Config(PATH)
        for key, text, word in (
            ("links.uart.bauds", "1", "no setting"),
            ("nothing", "1", "no setting"),
            ("links.2.baud", "1", "no setting"),
            ("links", "1", "several"),
            ("links.uart.baud", "fast", "whole number"),
            ("groups.fast.period_ms", "0", "10 to 86400000"),
            ("watchdog_ms", "1", "1000 to 3600000"),
            ("links.uart.max_pdu", "1", "64 to 1024"),
            ("links.uart.tx", "-1", "0 to 99"),
            ("links.tcp.port", "65536", "1 to 65535"),
            ("groups.fast.pins.0", "100", "0 to 99"),
            ("groups.fast.pins", "3", "several"),
            ("groups.fast.name", "slow", "product file"),
            ("on", "maybe", "true or false"),
        ):
            assert word in refused(config, key, text), (key, refused(config, key, text))
        for key in ("health_ms", "watchdog_ms"):
            assert config.set(key, "0"), "0 is how it is switched off"


def test_what_the_pc_compiled_is_never_written_and_another_product_begins_anew():
    with Chip():
        save(PATH, packed(SETTINGS))
        assert Config(PATH).set("links.tcp.password", "with a space")
        assert Config(PATH).set("groups.0.pins.1", "9")
        assert load(PATH) == packed(SETTINGS)
        config = Config(PATH)
        assert list(config.lines("groups.fast.pins")) == ["groups.fast.pins = [14, 9]"]
        assert config.value["links"][1]["password"] == "with a space"
        assert config.value["groups"][0]["pins"] == [14, 9]
        other = dict(SETTINGS, version="2")
        save(PATH, packed(other))
        assert Config(PATH).value == other


def test_changes_that_nobody_reached_the_board_with_are_taken_back_at_the_fourth_boot():
    with Chip():
        save(PATH, packed(SETTINGS))
        Config(PATH).set("health_ms", "5000")
        assert Config(PATH).begin() == ""
        Config(PATH).prove()
        Config(PATH).set("links.uart.uart", "7")
        for _ in range(TRIES):
            assert Config(PATH).begin() == ""
            assert Config(PATH).value["links"][0]["uart"] == 7
            assert Config(PATH).value["unproven"]
        config = Config(PATH)
        assert config.begin() == "links.0.uart"
        assert config.value == Config(PATH).value == dict(SETTINGS, health_ms=5000)


def test_changes_that_are_proven_stay_and_cost_no_more_writes():
    with Chip() as chip:
        save(PATH, packed(SETTINGS))
        Config(PATH).set("health_ms", "5000")
        for _ in range(TRIES):
            Config(PATH).begin()
        Config(PATH).prove()
        before = chip.flash.operations
        for _ in range(2 * TRIES):
            assert Config(PATH).begin() == ""
        assert Config(PATH).value == dict(SETTINGS, health_ms=5000)
        assert chip.flash.operations == before


def test_a_cut_in_a_change_leaves_all_settings_as_they_were_or_changed():
    for mode in (CLEAN, HALF, RANDOM):
        operation = 0
        cut = True
        while cut:
            operation += 1
            with Chip() as chip:
                save(PATH, packed(SETTINGS))
                Config(PATH).set("health_ms", "5000")
                chip.flash.cut_at = chip.flash.operations + operation
                chip.flash.cut_mode = mode
                try:
                    Config(PATH).set("links.uart.baud", "9600")
                except OSError:
                    pass
                cut = chip.flash.dead
                vfs.umount("/main")
                chip.flash.dead = False
                chip.flash.cut_at = None
                mount(chip.flash, "/main")
                value = Config(PATH).value
                assert value["health_ms"] == 5000
                assert value["links"][0]["baud"] in ((115200, 9600) if cut else (9600,))


def test_a_password_is_not_shown():
    with Chip():
        save(PATH, packed(SETTINGS))
        text = "\n".join(Config(PATH).lines())
        assert "hush" not in text and "links.tcp.password" in text


def test_a_certificate_is_kept_whole_and_never_shown():
    with Chip():
        links = [{"kind": "tcp", "ca": bytes(range(256)) * 4, "port": 1}]
        save(PATH, packed(dict(SETTINGS, links=links)))
        config = Config(PATH)
        assert config.value["links"] == links
        assert "links.tcp.ca = (set, not shown)" in list(config.lines())
        assert "product file" in refused(config, "links.tcp.ca", "x")
        assert config.set("links.tcp.port", "2")


def test_the_same_settings_again_write_nothing():
    with Chip() as chip:
        assert save(PATH, packed(SETTINGS))
        before = chip.flash.operations
        assert not save(PATH, packed(SETTINGS))
        assert not Config(PATH).set("links.uart.baud", "115200")
        assert chip.flash.operations == before
        assert Config(PATH).set("links.uart.baud", "9600")
        before = chip.flash.operations
        assert not Config(PATH).set("links.uart.baud", "9600")
        assert chip.flash.operations == before


def test_a_board_without_settings_starts_without():
    with Chip():
        assert Config(PATH).value == {} and identity("/main/secret.bin") is None
        with open(PATH, "wb") as f:
            f.write(b"\xc1 not msgpack")
        assert Config(PATH).value == {}


def test_a_damaged_copy_is_made_good_from_the_other():
    for name in (PATH, PATH + ".2"):
        with Chip() as chip:
            save(PATH, packed(SETTINGS))
            with open(name, "r+b") as f:
                f.seek(30)
                f.write(b"\xff\xff")
            before = chip.flash.operations
            config = Config(PATH)
            assert config.value == SETTINGS
            assert chip.flash.operations == before, "outputs wait for the settings: nothing is written before"
            config.begin()
            for copy in (PATH, PATH + ".2"):
                with open(copy, "rb") as f:
                    assert packed(SETTINGS) in f.read(), copy


def test_what_the_pc_writes_once_has_two_copies_after_the_first_boot():
    with Chip():
        save(PATH, packed(SETTINGS))
        with open(PATH, "rb") as f:
            file = f.read()
        with open("/main/secret.bin", "wb") as f:
            f.write(file)
        assert load("/main/secret.bin") == load("/main/secret.bin.2") == packed(SETTINGS)


def test_identity_is_the_device_and_its_key():
    with Chip():
        save("/main/secret.bin", pack(["stove-1", b"k" * 32]))
        assert identity("/main/secret.bin") == ("stove-1", b"k" * 32)
        save("/main/secret.bin", pack(["stove-1", None]))
        assert identity("/main/secret.bin") == ("stove-1", None)
        save("/main/secret.bin", pack(None))
        assert identity("/main/secret.bin") is None


def change(value):
    return packed({"v": value, "fill": "x" * 900})


def test_a_cut_at_any_operation_leaves_the_old_settings_or_the_new():
    """Also when the next boot's repair is cut in its turn."""
    cuts = 0
    for mode in (CLEAN, HALF, RANDOM):
        for boot_cut in (0, 1, 3, 5):
            operation = 0
            while True:
                operation += 1
                with Chip() as chip:
                    save(PATH, change(1))
                    chip.flash.cut_at = chip.flash.operations + operation
                    chip.flash.cut_mode = mode
                    try:
                        save(PATH, change(2))
                    except OSError:
                        pass
                    cut = chip.flash.dead
                    for again in (boot_cut, 0):
                        vfs.umount("/main")
                        chip.flash.dead = False
                        chip.flash.cut_at = chip.flash.operations + again if again else None
                        mount(chip.flash, "/main")
                        found = load(PATH)
                        assert found in (change(1), change(2)), (mode, operation, again)
                    assert cut or found == change(2)
                    assert load(PATH + ".2") == found
                cuts += 1
                if not cut:
                    break
    print("cuts:", cuts)
