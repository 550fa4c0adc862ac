"""Product files: strict, documented, and compiled into what a board takes."""

import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgpack
import product
import product_keys as keys
import pytest
from meuse_board.flash_log import FlashLog

from tests.authority import sign

RIGHT = """
product = "demo"
period = "1s"
[buses.loops]
kind = "i2c"
[buses.wire]
kind = "onewire"
pin = 4
[channels.pressure]
driver = "ads1115"
bus = "loops"
input = 0
at_4ma = 0
at_20ma = 10
unit = "bar"
decimals = 2
alarm_high = 7.25
alarm_hysteresis = 0.5
[channels.door]
driver = "digital"
pins = [5]
unit = ""
period = "100ms"
report = "change"
[channels.meter]
driver = "pulse"
pin = 6
per_pulse = 0.01
index = 12.34
unit = "m3"
decimals = 2
[[links]]
kind = "tcp"
host = "example.net"
"""


def compiled(tmp_path: Path, text: str, host: str | None = None) -> dict[str, Any]:
    path = tmp_path / "product.toml"
    path.write_text(text)
    version, _, payload = msgpack.unpackb(product.compile_product(path, host))
    assert version == 1
    return dict(msgpack.unpackb(payload))


def refusal(tmp_path: Path, old: str, new: str, right: str = RIGHT) -> str:
    assert old in right
    with pytest.raises(product.ProductError) as e:
        compiled(tmp_path, right.replace(old, new, 1))
    return str(e.value)


def test_channels_of_one_schedule_form_one_group(tmp_path: Path) -> None:
    groups = compiled(tmp_path, RIGHT)["groups"]
    assert [(g["name"], g["period_ms"], g["tick_ms"]) for g in groups] == [
        ("every_1s", 1000, 1000),
        ("change_100ms", 100, 100),
    ]
    assert [[c["name"] for c in g["channels"]] for g in groups] == [["pressure", "meter"], ["door"]]
    assert groups[1]["on_change"] and groups[1]["quiet_ms"] == 3_600_000


def test_numbers_are_scaled_exactly_to_what_the_board_counts_in(tmp_path: Path) -> None:
    pressure, meter = compiled(tmp_path, RIGHT)["groups"][0]["channels"]
    assert (pressure["exp"], pressure["high"], pressure["hysteresis"]) == (-2, 725, 50)
    assert (meter["per_pulse"], meter["index"], meter["flags"]) == (1, 1234, product.COUNTER)


def test_the_same_product_is_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(RIGHT)
    first = product.compile_product(path)
    path.write_text(RIGHT.replace('product = "demo"\nperiod = "1s"', 'period = "1s"\nproduct = "demo"'))
    assert product.compile_product(path) == first


def test_a_host_given_at_the_command_line_stands_in_for_that_of_the_file(tmp_path: Path) -> None:
    assert compiled(tmp_path, RIGHT, "10.0.0.2:99")["links"] == [
        {"kind": "tcp", "host": "10.0.0.2", "port": 99}
    ]


def test_a_link_over_udp_leads_somewhere_and_needs_a_key(tmp_path: Path) -> None:
    text = RIGHT.replace('kind = "tcp"', 'kind = "udp"\nmax_pdu = 500\nkeep_alive = "25s"')
    link = {"kind": "udp", "host": "example.net", "port": 7878, "max_pdu": 500, "keep_alive_ms": 25_000, "cost": 9}
    assert compiled(tmp_path, text)["links"] == [link]
    assert compiled(tmp_path, text, "10.0.0.2:99")["links"] == [link | {"host": "10.0.0.2", "port": 99}]
    (tmp_path / "udp.toml").write_text(text)
    with pytest.raises(product.ProductError, match=r"links\.0\.kind: 'udp' needs a key, and this board has none"):
        product.compile_product(tmp_path / "udp.toml", keyed=False)


LINK = 'kind = "tcp"\nhost = "example.net"'
MODEM = 'kind = "cellular"\nuart = 1\nfamily = "bg95"\napn = "iot"\ntx = 17\nsim_pin = "1234"'


def test_an_sms_link_has_the_modem_of_the_cellular_link_or_its_own(tmp_path: Path) -> None:
    modem = {"uart": 1, "baud": 115_200, "tx": 17, "family": "bg95", "sim_pin": "1234"}
    cellular = {"kind": "cellular", **modem, "apn": "iot", "host": "example.net", "port": 7878}
    sms = {"kind": "sms", "number": "+31612345678", "after_ms": 60_000, "per_day": 20, "cost": 100}
    text = RIGHT.replace('kind = "tcp"', MODEM) + '[[links]]\nkind = "sms"\nnumber = "+31612345678"\n'
    assert compiled(tmp_path, text)["links"] == [cellular, sms | modem]
    own = text + 'uart = 2\nfamily = "sim7600"\n'
    assert compiled(tmp_path, own)["links"][1] == sms | {"uart": 2, "baud": 115_200, "family": "sim7600"}


PPP = RIGHT.replace('kind = "tcp"', MODEM + '\nvia = "ppp"')


def test_a_cellular_link_by_ppp_is_a_link_of_its_own_and_shares_its_modem(tmp_path: Path) -> None:
    modem = {"uart": 1, "baud": 115_200, "tx": 17, "family": "bg95", "sim_pin": "1234"}
    link = {"kind": "ppp", **modem, "apn": "iot", "host": "example.net", "port": 7878}
    right = 'platform = "esp32"' + PPP
    sms = '[[links]]\nkind = "sms"\nnumber = "+31612345678"\n'
    made = compiled(tmp_path, right + sms)
    assert made["links"][0] == link and modem.items() <= made["links"][1].items()
    assert "platform" not in made, "no heap for it"
    over = right.replace('via = "ppp"', 'via = "ppp"\nover = "mqtt"\nuser = "boards"')
    assert compiled(tmp_path, over)["links"] == [link | {"over": "mqtt", "user": "boards", "port": 1883}]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('platform = "esp32"', "", 'links.0.via: PPP is not on every board: add platform = "esp32"'),
        ('"esp32"', '"rp2"', "links.0.via: MicroPython for rp2 has no network.PPP in its usual images: leave it out"),
        ('"esp32"', '"unix"', "links.0.via: MicroPython for unix has no network.PPP"),
        ('"esp32"', '"esp8266"', "platform: is one of esp32, rp2, unix"),
        ('via = "ppp"', 'tls = true\nca = "ca.pem"', "ca.pem: No such file"),
        ('via = "ppp"', 'over = "mqtt"', 'links.0.over: says nothing without via = "ppp"'),
        ('via = "ppp"', 'via = "ppp"\nuser = "x"', 'links.0.user: says nothing without over = "mqtt"'),
        ("[[links]]", '[[links]]\nkind = "udp"\nhost = "a"\n[[links]]', "links.0.kind: 'udp' would go through the"),
    ],
)
def test_a_cellular_link_by_ppp_is_refused_where_it_cannot_work(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    assert words in refusal(tmp_path, old, new, 'platform = "esp32"' + PPP)


LORA = RIGHT.replace('kind = "tcp"\nhost = "example.net"', 'kind = "lora"\nbus = "radio"\ncs = 17')
RADIO = '[buses.radio]\nkind = "spi"\nsck = 14\nmosi = 15\nmiso = 16\n'


def test_a_link_over_lora_has_its_own_words(tmp_path: Path) -> None:
    link = {"kind": "lora", "bus": "radio", "cs": 17, "cost": 60}
    assert compiled(tmp_path, LORA + RADIO)["links"] == [link]
    slow = 'sf = 12\nfrequency = 869.525\nduty = 10\nmax_pdu = 60\npower = 17\n'
    told = {"sf": 12, "frequency_khz": 869_525, "duty_permille": 100, "max_pdu": 60, "power_dbm": 17}
    assert compiled(tmp_path, LORA.replace("cs = 17\n", "cs = 17\n" + slow) + RADIO)["links"] == [link | told]


def test_a_lorawan_modem_carries_51_bytes_and_a_mac_of_four(tmp_path: Path) -> None:
    modem = 'kind = "lorawan"\nuart = 1\npause = "30s"\n'
    text = RIGHT.replace('kind = "tcp"\nhost = "example.net"\n', modem)
    link = {"kind": "lorawan", "uart": 1, "pause_ms": 30_000, "cost": 70, "mac_bytes": 4}
    assert compiled(tmp_path, text)["links"] == [link]
    assert "begin at DR1" in refusal(tmp_path, modem, modem + "max_pdu = 11\n", text)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("sf = 12\nmax_pdu = 222", "links.0.max_pdu: 222 bytes are 8037 ms on the air, more than 5000: take less"),
        ("duty = 10", "links.0.duty: from 868.000 to 868.600 MHz Europe allows 1 %"),
        ("frequency = 868.9", "links.0.duty: from 868.700 to 869.200 MHz Europe allows 0.1 %"),
        ("frequency = 868100000", "links.0.frequency: is a frequency in MHz"),
        ("network = 0x34", "links.0.network: is another number"),
        ("duty = 0.05", "links.0.duty: is a share in percent"),
        ("max_pdu = 11", "links.0.max_pdu: is a whole number from 51 to 255"),
    ],
)
def test_lora_that_cannot_or_must_not_work_is_refused(tmp_path: Path, words: str, told: str) -> None:
    assert told in refusal(tmp_path, "cs = 17\n", f"cs = 17\n{words}\n", LORA + RADIO)
    assert 'links.0.bus: add [buses.radio] with kind = "spi"' in refusal(tmp_path, "", "", LORA)


@pytest.mark.parametrize("kind", keys.NEED_A_KEY)
def test_a_link_to_hosts_that_trust_nobody_needs_a_key(tmp_path: Path, kind: str) -> None:
    given = {"host": '"example.net"', "uart": "1", "family": '"bg95"', "apn": '"internet"', "number": '"+31600000000"'}
    given |= {"bus": '"radio"', "cs": "17"}
    needed = [name for name in keys.LINKS[kind] if name in given]
    link = "\n".join([f'kind = "{kind}"', *(f"{name} = {given[name]}" for name in needed)])
    link += '\n[[links]]\nkind = "serial"' if kind == "sms" else ""  # which carries alarms only
    text = RIGHT.replace('kind = "tcp"\nhost = "example.net"', link) + (RADIO if kind == "lora" else "")
    (tmp_path / "product.toml").write_text(text)
    product.compile_product(tmp_path / "product.toml")
    with pytest.raises(product.ProductError, match=rf"links\.0\.kind: '{kind}' needs a key.*: give it one"):
        product.compile_product(tmp_path / "product.toml", keyed=False)


def test_what_the_compiler_says_of_links_is_what_they_say_themselves(root: Path) -> None:
    """Their cost, and whether a board without a key may use them. Read, not run: some need a board's own modules."""
    for kind in keys.LINKS:
        text = (root / "firmware/meuse_board/links" / f"{'uart' if kind == 'serial' else kind}.py").read_text()
        cost = re.search(r"(?m)^    cost = (\d+)", text)
        assert cost and keys.USUAL_COST[kind] == int(cost[1]), kind
        assert (kind in keys.NEED_A_KEY) == bool(re.search(r"(?m)^    needs_key = True", text)), kind


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("decimals = 2", "decmals = 2", "channels.pressure.decmals: no such key; is `decimals` meant?"),
        ("period =", "perod =", "is missing"),
        ('"ads1115"', '"ads1151"', "channels.pressure.driver: 'ads1151' is not one of"),
        ('bus = "loops"', 'bus = "wire"', "channels.pressure.bus: 'wire' is not one of: loops"),
        ("input = 0", "input = 4", "channels.pressure.input: is a whole number from 0 to 3, not 4"),
        ("input = 0", "input = true", "not True"),
        ("at_20ma = 10\n", "", "channels.pressure.at_20ma: is missing"),
        ("at_20ma = 10", "at_20ma = 0", "must differ from at_4ma"),
        ("alarm_high = 7.25", "alarm_high = 7.255", "has more decimals than the channel's 2"),
        ('period = "1s"', 'period = "1 fortnight"', "is a duration like"),
        ('"100ms"', '"1ms"', "10 ms to"),
        ("pins = [5]", "pins = [5, 4]", "channels.door.pins: pin 4 is already used by buses.wire.pin"),
        ("pins = [5]", "pins = [5, 5]", "channels.door.pins: pin 5 is already used by channels.door.pins"),
        ('kind = "i2c"', 'kind = "i2c"\nscl = 4', "buses.wire.pin: pin 4 is already used by buses.loops.scl"),
        ('kind = "i2c"', 'kind = "i2c"\nscl = 6\nsda = 6', "buses.loops.sda: pin 6 is already used by"),
        ("[buses.wire]", '[buses.b]\nkind = "i2c"\n[buses.wire]', "buses.b.id: i2c 0 is already used by buses.loops"),
        ("[[links]]", '[[links]]\nkind = "serial"\nuart = 1\n' * 2 + "[[links]]", "links.1.uart: uart 1 is"),
        ("[[links]]", '[[outputs]]\nname = "fan"\npin = 5\n[[links]]', "pin 5 is already used by outputs.fan"),
        ("pins = [5]", "pins = []", "is a list of 1 to 16 pins"),
        ("[channels.door]", '[channels."The Door"]', "a name is a-z, 0-9"),
        ('kind = "tcp"', 'kind = "zigbee"', "links.0.kind: 'zigbee' is not one of: serial, "),
        ('kind = "tcp"', 'kind = "tpc"', "; is 'tcp' meant?"),
        ('kind = "tcp"', 'kind = "tcp"\nmax_pdu = 20', "links.0.max_pdu: is a whole number from 64 to 1024, not 20"),
        ('kind = "tcp"', 'kind = "mqtt"\ntls = true', "links.0.ca: is missing"),
        ('kind = "tcp"', 'kind = "mqtt"\nca = "x"', "links.0.ca: says nothing without tls = true"),
        ('kind = "tcp"', 'kind = "mqtt"\ntls = true\nca = "none.pem"', "none.pem: No such file"),
        ('kind = "tcp"', 'kind = "mqtt"\nuser_password = "x"', "links.0.user: is missing"),
        ('kind = "tcp"', 'kind = "mqtt"\ntenant = "a.b"', "links.0.tenant: is a name of a-z, 0-9 and -"),
        ('kind = "tcp"', 'kind = "udp"\nkeep_alive = "1s"', "links.0.keep_alive: is a duration like"),
        ('kind = "tcp"', 'kind = "cellular"\napn = "iot"\nfamily = "bg95"', "links.0.uart: is missing: which modem"),
        ('kind = "tcp"', MODEM.replace("bg95", "gsm"), "links.0.family: is one of sim7600, bg95"),
        ('kind = "tcp"', MODEM.replace("1234", "12"), "links.0.sim_pin: is a text of 4 to 8 digits"),
        ('kind = "tcp"', MODEM.replace('"iot"', """'a"b'"""), "links.0.apn: is the name of an access point"),
        (LINK, 'kind = "sms"\nnumber = "0612345678"', "links.0.number: is a number like"),
        (LINK, 'kind = "sms"\nnumber = "+31612345678"', "links.0.uart: is missing: which modem"),
        (LINK, 'kind = "sms"\nnumber = "+31612345678"\nuart = 1\nfamily = "bg95"', "SMS carries alarms only"),
        ('host = "example.net"', "", "links.0.host: is missing"),
        ('kind = "tcp"\nhost = "example.net"', 'kind = "rs485"', "links.0.uart: is missing"),
        ('kind = "tcp"\nhost = "example.net"', 'kind = "rs485"\nuart = 1\nde = 4', "links.0.de: pin 4 is already used"),
        ("[[links]]", "[links]", "links: is written [[links]]"),
        ('report = "change"', 'report = "sometimes"', "is one of always, change"),
        ('product = "demo"', "", "product: is missing"),
        ("per_pulse = 0.01", "per_pulse = 0.001", "more decimals"),
        ("[buses.loops]", "[buses.loops", "product.toml: "),
    ],
)
def test_what_is_wrong_is_refused_with_its_place_and_the_way_out(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    said = refusal(tmp_path, old, new)
    assert words in said
    assert "product.toml" in said


BELOW = '[[links]]\nkind = "serial"\nuart = 1\ncarries = "others"\n'


def test_a_link_for_others_and_what_it_may_cost(tmp_path: Path) -> None:
    links = compiled(tmp_path, RIGHT + BELOW + "buffer_bytes = 8192\n")["links"]
    del links[1]["baud"]
    assert links[1] == {"kind": "uart", "uart": 1, "carries": "others", "buffer_bytes": 8192, "cost": 0}


def test_a_relay_needs_a_key(tmp_path: Path) -> None:
    (tmp_path / "relay.toml").write_text(RIGHT + BELOW)
    with pytest.raises(product.ProductError, match="no host believes a relay without a key"):
        product.compile_product(tmp_path / "relay.toml", keyed=False)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("uart = 1\n", "", "links.1.uart: is missing: to which port"),
        ('kind = "serial"\nuart = 1', 'kind = "tcp"\nhost = "a"', "links.1.carries: no other board can speak"),
        ('"others"', '"others"\nbudget = "1 MB"', "links.1.budget: is for this board's own records"),
        ('"others"', '"nothing"\nrate_bytes = 1000', 'links.1.rate_bytes: says nothing without carries = "others"'),
        ('kind = "tcp"\nhost = "example.net"', 'kind = "rs485"\nuart = 0', "links: what others send needs a way up"),
        ('host = "example.net"', 'host = "example.net"\ncarries = "alarms"', "links: what others send needs a way up"),
    ],
)
def test_a_relay_that_could_not_work_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    text = RIGHT + BELOW
    assert text.count(old) == 1
    with pytest.raises(product.ProductError) as caught:
        compiled(tmp_path, text.replace(old, new))
    assert words in str(caught.value)


WIRES = {"onewire": {"pin"}, "i2c": {"scl", "sda"}, "spi": {"sck", "mosi", "miso"}}


@pytest.mark.parametrize("name", ["stove", "weather", "building"])
def test_the_products_name_every_pin_and_the_docs_have_the_same(root: Path, name: str) -> None:
    """A pin that is left out is the port's own, which nobody can hold against the others."""
    told = tomllib.loads((root / f"firmware/products/{name}.toml").read_text())
    page = (root / "docs/products.md").read_text()
    wires: dict[int, str] = {}

    def wire(who: str, **pins: int) -> None:
        for key, pin in pins.items():
            wires[pin] = f"{who} {key}"

    for bus, keys_ in told["buses"].items():
        assert keys_.keys() >= WIRES[keys_["kind"]], f"buses.{bus}"
        wire(f"bus {bus}", **{key: keys_[key] for key in WIRES[keys_["kind"]]})
    for link in told["links"]:
        if link["kind"] == "serial":
            wire("serial", tx=link["tx"], rx=link["rx"])
    for channel, keys_ in told["channels"].items():
        wire(f"{channel}", **{key: keys_[key] for key in ("pin", "cs") if key in keys_})
        wires.update({pin: f"{channel}" for pin in keys_.get("pins", ())})
    wires.update({output["pin"]: f"output {output['name']}" for output in told.get("outputs", ())})
    rows = [f"{pin} {wires[pin]}" for pin in sorted(wires)]
    assert f"| {name} | " + ", ".join(rows) + " |" in page, ", ".join(rows)


def test_two_users_of_one_converter_input_are_refused(tmp_path: Path) -> None:
    second = RIGHT[RIGHT.index("[channels.pressure]") : RIGHT.index("[channels.door]")]
    with pytest.raises(product.ProductError, match="input 0 of converter 72 is already used"):
        compiled(tmp_path, RIGHT + second.replace("pressure", "level"))


def test_a_sensor_without_address_must_be_alone_on_its_wire(tmp_path: Path) -> None:
    sensor = '[channels.%s]\ndriver = "ds18b20"\nbus = "wire"\nunit = "Cel"\ndecimals = 1\n%s'
    assert compiled(tmp_path, RIGHT + sensor % ("a", ""))
    with pytest.raises(product.ProductError, match="must be alone"):
        compiled(tmp_path, RIGHT + sensor % ("a", "") + sensor % ("b", 'rom = "28FF641D8C160358"\n'))


def test_a_log_that_cannot_work_is_refused(tmp_path: Path) -> None:
    for line, words in (
        ("max_bytes = 16384", "three segments"),
        ("max_bytes = 100000000", "at most 256"),
        ("flush_bytes = 10000", "at most segment_bytes"),
    ):
        with pytest.raises(product.ProductError, match=words):
            compiled(tmp_path, RIGHT + f"[log]\n{line}\n")
    assert compiled(tmp_path, RIGHT)["log"] == {}
    assert compiled(tmp_path, RIGHT + "[log]\nmax_bytes = 81920\n")["log"] == {"max_segments": 10}


def test_what_is_left_out_is_what_the_log_takes_by_itself() -> None:
    own = {n: p.default for n, p in inspect.signature(FlashLog).parameters.items()}
    for name, key in keys.LOG.items():
        if name != "max_bytes":
            assert own[key.name or name] == key.default, name
    assert own["max_segments"] == product.MAX_SEGMENTS
    assert keys.LOG["max_bytes"].default == product.MAX_SEGMENTS * own["segment_bytes"]


def test_the_products_of_this_repository_are_right(root: Path) -> None:
    products = sorted([*root.glob("firmware/products/*.toml"), *root.glob("firmware/examples/*/product.toml")])
    assert len(products) >= 4
    for path in products:
        words = [sys.executable, str(root / "firmware/product.py"), str(path)]
        assert subprocess.run(words, capture_output=True, text=True).stdout.startswith(str(path))


def test_a_wrong_product_ends_the_command_with_status_1(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(RIGHT + "colour = 1\n")
    words = [sys.executable, str(root / "firmware/product.py"), str(path)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1 and "links.0.colour: no such key" in done.stderr


def test_every_key_is_documented_and_every_documented_key_exists(root: Path) -> None:
    text = (root / "docs/products.md").read_text()
    named = set(re.findall(r"`(?:batch\.|log\.|health\.)?([a-z0-9_]+)`", text))
    tables = [keys.PRODUCT, keys.BATCH, keys.LOG, keys.HEALTH, keys.OUTPUT, keys.CHANNEL, keys.SEVERAL]
    tables += [*keys.BUSES.values(), *keys.LINKS.values(), *(d[0] for d in keys.DRIVERS.values())]
    tables += keys.OP_KINDS.values()
    known = {name for table in tables for name in table} | {"driver", "bus"}
    assert known - named == set(), "known, and not documented"
    words = {"ds18b20", "max31855", "ads1115", "pulse", "digital", "every_1s", "change_100ms", "m3", "false"}
    words |= {"ops", *keys.OWN_OPS, "application", "name", "value"}
    assert named - known <= words, "documented, and not known"


def test_a_broker_of_the_file_stays_whatever_the_command_line_says(tmp_path: Path) -> None:
    text = RIGHT.replace('kind = "tcp"', 'kind = "mqtt"\nuser = "me"')
    assert compiled(tmp_path, text, "10.0.0.2:99")["links"] == [
        {"kind": "mqtt", "host": "example.net", "port": 1883, "user": "me"}
    ]


def test_a_link_over_bluetooth_is_its_kind_and_nothing_else_and_needs_a_key(tmp_path: Path) -> None:
    text = RIGHT.replace('kind = "tcp"\nhost = "example.net"', 'kind = "ble"')
    assert compiled(tmp_path, text)["links"] == [{"kind": "ble"}]
    with pytest.raises(product.ProductError, match="'ble' needs a key, and this board has none: give it one"):
        product.compile_product(tmp_path / "product.toml", keyed=False)


def test_certificates_go_onto_the_board_as_der(tmp_path: Path) -> None:
    ca, own = sign(tmp_path, "ca", "Meuse test CA"), sign(tmp_path, "own", "board-1")
    (tmp_path / "own.der").write_bytes(own.cert_der)
    words = 'tls = true\nca = "ca.pem"\ncert = "own.der"\nclient_key = "own.key"\nclock = 2026-01-31\n'
    link = compiled(tmp_path, RIGHT + words)["links"][0]
    assert (link["tls"], link["ca"], link["cert"]) == (True, ca.cert_der, own.cert_der)
    assert link["client_key"] == own.key_der
    assert link["clock"] == [2026, 1, 31]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("tls = true", "links.0.ca: is missing"),
        ('ca = "ca.pem"', "links.0.ca: says nothing without tls = true"),
        ('tls = true\nca = "other.pem"', "other.pem: No such file"),
        ('tls = true\nca = "ca.key"', "ca.key holds no certificate, as PEM or DER"),
        ('tls = true\nca = "ca.pem"\ncert = "ca.pem"', "links.0.client_key: is missing: both or none"),
        ('tls = true\nca = "ca.pem"\ncert = "ca.pem"\nclient_key = "locked.key"', "is locked with a password"),
        ('tls = true\nca = "ca.pem"\nclock = "today"', "links.0.clock: is a day, written like 2026-01-31"),
        ('kind = "http"\nproxy = "p:1"\ntls = true\nca = "ca.pem"', "links.0.proxy: reads what it passes on"),
        ('kind = "http"\nproxy = "p"', "links.0.proxy: is a text like"),
        ('tls = true\nca = "long.der"', "is larger than 4096 bytes"),
    ],
)
def test_certificates_that_cannot_work_are_refused(tmp_path: Path, words: str, told: str) -> None:
    sign(tmp_path, "ca", "Meuse test CA")
    lines = ("-----BEGIN ENCRYPTED PRIVATE KEY-----", "AAAA", "-----END ENCRYPTED PRIVATE KEY-----")
    (tmp_path / "locked.key").write_text("\n".join(lines))
    (tmp_path / "long.der").write_bytes(b"0" * 5000)
    example = 'kind = "tcp"\nhost = "example.net"\n'
    words = words if words.startswith("kind") else 'kind = "tcp"\n' + words
    assert told in refusal(tmp_path, example, 'host = "example.net"\n' + words + "\n")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "stove"', 'name = "oven"', "application.name: 'oven' is not one of: stove"),
        ("set_point = 200", "set_point = 2000", "application.set_point: is a whole number from 50 to 300"),
        ("[channels.water_temp]", "[channels.boiler]", "channels.water_temp: is missing: application stove needs it"),
        ('name = "fan"', 'name = "vent"', "outputs.fan: is missing: application stove needs it"),
        ("[channels.feed]", "[channels.food]", "channels.feed: is missing"),
        ("[ops.power]", "[ops.level]", "ops.level: application stove knows nothing of it"),
        ("high = 5\n", "", "ops.power.high: is missing: both or none"),
        ('kind = "stats"', 'kind = "output"\noutput = "fan"', "ops.stats.kind: the application drives the outputs"),
    ],
)
def test_program_and_product_mean_the_same(root: Path, tmp_path: Path, old: str, new: str, words: str) -> None:
    text = (root / "firmware/examples/stove/product.toml").read_text()
    assert old in text
    with pytest.raises(product.ProductError) as caught:
        compiled(tmp_path, text.replace(old, new, 1))
    assert words in str(caught.value)
