"""Keys and the directory: made once, readable by the host alone, believed only with a MAC; keyless within bounds."""

import asyncio
import stat
from pathlib import Path

import pytest
from meuse.errors import ConfigError
from meuse.identity import MAX_KEYLESS_DEVICES, TRUSTED_BINDS_PER_MINUTE, Identity, TrustedIdentity
from meuse.journal.batch import Batch, Binding, Row
from meuse.journal.database import FILE_NAME
from meuse.journal.sqlite import SqliteJournal
from meuse.keys import KeyStore, check_device_id


def test_a_key_is_made_once_random_and_private(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    path = store.provision("stove-1")
    first = store.keys("stove-1")
    assert first is not None and len(first) == 1 and len(first[0]) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert store.provision("stove-1") == path and store.keys("stove-1") == first
    store.provision("weather-1")
    assert store.keys("weather-1") != first
    assert store.devices() == ["stove-1", "weather-1"]
    assert [child.name for child in sorted(path.parent.iterdir())] == ["stove-1.key", "weather-1.key"]


def test_after_a_rotation_the_previous_key_still_holds(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    store.provision("a")
    (old,) = store.keys("a") or []
    store.rotate("a")
    new, previous = store.keys("a") or []
    assert previous == old != new
    store.rotate("a")
    assert (store.keys("a") or [])[1] == new


@pytest.mark.parametrize("device", ["", "-a", "A", "a.b", "a b", "../x", "a" * 33, "é"])
def test_an_id_that_no_topic_could_carry_is_refused(tmp_path: Path, device: str) -> None:
    with pytest.raises(ConfigError):
        check_device_id(device)
    assert KeyStore(tmp_path).keys(device) is None


@pytest.mark.parametrize("text", ["", "00" * 31, "zz" * 32, "\n".join(["11" * 32] * 3)])
def test_a_broken_key_file_lets_nobody_in(tmp_path: Path, text: str) -> None:
    store = KeyStore(tmp_path)
    (tmp_path / "a.key").write_text(text)
    with pytest.raises(ConfigError, match=r"a\.key"):
        store.keys("a")
    identity = Identity(store)
    assert identity.keys("a") is None
    assert TrustedIdentity(identity, lambda: 0).keys("a") is None


def test_a_device_provisioned_while_the_host_runs_is_known_at_once(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    identity = Identity(store)
    assert identity.keys("a") is None
    KeyStore(tmp_path).provision("a")
    assert identity.keys("a") == store.keys("a") != None  # noqa: E711


def test_streams_are_known_again_after_a_restart(tmp_path: Path) -> None:
    stream = 0x80000001

    async def scene() -> None:
        journal = await SqliteJournal.open(tmp_path / FILE_NAME, 1)
        rows = [Row(stream, seq, 4, 1, "tcp", b"r") for seq in (1, 2, 5)]
        await journal.commit(Batch(rows, [Binding(stream, "a", 1, 9)]))
        store = KeyStore(tmp_path / "keys")
        store.provision("b")
        identity = await Identity.load(journal, store, 2)
        state = identity.stream(stream)
        assert state is not None and state is identity.stream(stream)
        assert (state.device, state.cum, state.next_seq) == ("a", 3, 9)
        assert state.received.ranges() == [(1, 2), (5, 5)]
        assert identity.stream(stream + 1) is None
        devices = await journal.read(lambda db: db.execute("SELECT device, tenant, site FROM devices").fetchall())
        assert devices == [("a", "default", "default"), ("b", "default", "default")]
        await journal.close()

    asyncio.run(scene())


def test_on_a_trusted_link_names_are_free_within_bounds(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    store.provision("with-key")
    now_ms = 0
    identity = Identity(store)
    trusted = TrustedIdentity(identity, lambda: now_ms)
    assert trusted.keys("bare") == [] and identity.keys("bare") is None
    assert trusted.keys("with-key") == store.keys("with-key")  # trust does not go before a key
    assert trusted.keys("Not An Id") is None
    for stream in range(TRUSTED_BINDS_PER_MINUTE + 1):
        assert trusted.keys("bare") == []
        trusted.bind(0x80000000 + stream, "bare")
    assert trusted.keys("bare") is None  # a board does not need a new stream every second
    now_ms = 60_000
    assert trusted.keys("bare") == []
    identity.keyless |= {f"d{n}" for n in range(MAX_KEYLESS_DEVICES)}
    assert trusted.keys("one-more") is None
    assert trusted.keys("bare") == []
