"""`meuse access`: credentials of boards and backends, made, listed and ended; a running host notices within seconds.

A secret is written to a file of mode 600 and nowhere else: not to the screen, not to a log.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meuse.cli.query import Config, Data, place

if TYPE_CHECKING:
    from meuse.access.backends import Backends
    from meuse.access.register import Register
    from meuse.journal.place import Place
    from meuse.keys import KeyStore

EXAMPLES = (
    "Examples: meuse access add grafana --tenant acme --commands --file grafana.password;"
    " meuse access device stove-1 --tenant acme --site hall; meuse access revoke stove-1 (or acme_grafana)"
)

Out = Annotated[Path | None, typer.Option("--file", help="Where to write the secret; mode 600.")]
Who = Annotated[str, typer.Argument(help="A device, or a backend as `list` shows it: TENANT_NAME.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Who may come: boards and backends.", no_args_is_help=True, epilog=EXAMPLES)
    group.command("device", epilog="Example: meuse access device stove-1 --tenant acme --site hall")(device)
    group.command("add", epilog="Example: meuse access add grafana --tenant acme --commands")(add)
    group.command("list", epilog="Example: meuse access list")(show)
    group.command("rotate", epilog="Example: meuse access rotate acme_grafana")(rotate)
    group.command("revoke", epilog="Example: meuse access revoke stove-1")(revoke)
    group.command("mosquitto", epilog="Example: meuse access mosquitto /etc/mosquitto/meuse")(mosquitto)
    group.command("nats", epilog="Example: meuse access nats --file meuse-access.conf")(nats)
    app.add_typer(group, name="access")


def device(
    name: Annotated[str, typer.Argument(help="Id of the board.")],
    tenant: Annotated[str | None, typer.Option(help="Whose it is.")] = None,
    site: Annotated[str | None, typer.Option(help="Where it is.")] = None,
    file: Out = None,
    config: Config = None,
    data: Data = None,
) -> None:
    """Let a board in: its key, made if it has none, its place, and what it says to a broker."""
    where = place(config, data)
    keys = _keys(where)
    if keys.revoked(name):
        from meuse.errors import ConfigError
        from meuse.invocation import meuse

        raise ConfigError(f"the key of {name} is revoked", f"make it another: {meuse(f'access rotate {name}')}")
    if tenant is not None or site is not None:
        print(f"{name}: {_move(where, name, tenant, site)}")
    print(f"key: {keys.provision(name)}")
    _board_password(keys, name, file)


def add(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    tenant: Annotated[str, typer.Option(help="Whose devices it sees.")] = "default",
    commands: Annotated[bool, typer.Option("--commands", help="It may send commands to them, too.")] = False,
    file: Out = None,
    config: Config = None,
    data: Data = None,
) -> None:
    """Let a backend in, over MQTT and HTTP."""
    user = f"{tenant}_{name}"
    path = _free(file, user)
    _give(path, user, _backends(place(config, data)).add(tenant, name, commands))


def show(
    config: Config = None,
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Show everybody who may come, and who may not any more; no secrets."""
    import json

    from meuse.cli.devices import table

    rows = _rows(place(config, data))
    if as_json:
        for row in rows:
            print(json.dumps(dict(zip(HEADS, row, strict=True))))
    else:
        table([HEADS, *rows])


HEADS = ("user", "role", "tenant", "state")


def rotate(name: Who, file: Out = None, config: Config = None, data: Data = None) -> None:
    """Another key or password; the one before stays valid until the next time, unless it was revoked."""
    where = place(config, data)
    if "_" in name:
        path = _free(file, name)
        _give(path, name, _backends(where).rotate(name))
        return
    keys = _known_device(where, name)
    print(f"key: {keys.rotate(name)}, its first line; put it on the board")
    _board_password(keys, name, file)


def revoke(name: Who, config: Config = None, data: Data = None) -> None:
    """End somebody's access, everywhere, within a minute; `rotate` lets them in again."""
    from meuse.checks import host_runs

    where = place(config, data)
    if "_" in name:
        _backends(where).revoke(name)
    else:
        _known_device(where, name).revoke(name)
    print(f"{name} is revoked" + ("" if host_runs(where.data) else "; no host runs here: brokers learn of it from one"))


def mosquitto(
    to: Annotated[Path, typer.Argument(help="Folder for the files; Mosquitto's pid file belongs there.")],
    config: Config = None,
    data: Data = None,
) -> None:
    """Write a password file, an ACL file and a configuration for Mosquitto, and let it read them."""
    from meuse.access import mosquitto as files
    from meuse.access.rights import BOARDS, TOPICS, of_topics
    from meuse.config import load_with
    from meuse.errors import HostError

    settings = load_with(config, data)
    people = _register(place(config, data))
    try:
        changed = files.write(to, people, of_topics(settings.mqtt.discovery))
        told = files.reload(to)
    except OSError as error:
        raise HostError(
            f"cannot update {to}, or signal Mosquitto: {error.strerror or error}", "run it as who may"
        ) from error
    print(f"{to}: {'written' if changed else 'nothing new'}; Mosquitto {'reads it again' if told else 'does not run'}")
    for user in (TOPICS, BOARDS):
        print(f'the host\'s user {user}: password_file = "{files.password_file(to, user)}"')


def nats(file: Out = None, config: Config = None, data: Data = None) -> None:
    """Write what a nats-server needs in its configuration to ask this host who may come, and the host's own users."""
    from meuse.access import nats_account
    from meuse.access.rights import BOARDS, TOPICS

    path, where = _free(file, "meuse-access", ".conf"), place(config, data).data
    account = nats_account.of(where)
    _put(path, account.lines())
    print(f"written to {path}: include it in nats.conf, then set access.nats")
    for user in (TOPICS, BOARDS):
        own = nats_account.password_file(where, user)
        _put(own, account.password(user) + "\n")
        print(f'the host\'s user {user}: password_file = "{own}"')


# -- inside


def _keys(where: "Place") -> "KeyStore":
    from meuse.keys import FOLDER, KeyStore

    return KeyStore(where.data / FOLDER)


def _backends(where: "Place") -> "Backends":
    from meuse.access.backends import Backends

    return Backends(where.data)


def _known_device(where: "Place", name: str) -> "KeyStore":
    """The keys, when there is such a device: one with a key, or one that was heard without."""
    from meuse.errors import ConfigError

    keys = _keys(where)
    if not keys.exists(name) and name not in _homes(where):
        raise ConfigError(f"no device is called {name!r}", "list them: meuse access list")
    return keys


def _homes(where: "Place") -> dict[str, Any]:
    """Of every device the journal knows; before the first start there is none."""
    from meuse.identity import homes
    from meuse.journal.database import FILE_NAME

    if where.address is None and not (where.data / FILE_NAME).exists():
        return {}
    db = where.open_reader()
    try:
        return dict(homes(db))
    finally:
        db.close()


def _register(where: "Place") -> "Register":
    from meuse.access.register import Register

    return Register(_keys(where), _backends(where), _homes(where))


def _rows(where: "Place") -> list[tuple[str, ...]]:
    keys, homes = _keys(where), _homes(where)
    rows: list[tuple[str, ...]] = []
    for name in sorted({*keys.devices(), *homes}):
        state = "no key" if not keys.exists(name) else "revoked" if keys.revoked(name) else "may come"
        rows.append((name, "device", homes[name].tenant if name in homes else "default", state))
    for each in _backends(where).all():
        role = "backend, commands" if each.commands else "backend, reads"
        rows.append((each.user, role, each.tenant, "may come" if each.hashes else "revoked"))
    return rows


def _move(where: "Place", name: str, tenant: str | None, site: str | None) -> str:
    """-> where it is now, in words."""
    from meuse.cli.send import write_between
    from meuse.clock import Clock
    from meuse.identity import move

    found: list[str] = []

    def work(db: Any) -> None:
        now = move(db, name, tenant, site, Clock().utc_ms())
        found.append(f"tenant {now.tenant}, site {now.site}")

    write_between(where, work)
    return found[0]


def _board_password(keys: "KeyStore", name: str, file: Path | None) -> None:
    from meuse.access import passwords

    current = keys.keys(name)
    assert current is not None
    _give(file or Path(f"{name}.password"), name, passwords.of_board(current[0]))


def _give(path: Path, user: str, password: str) -> None:
    _put(path, password + "\n")
    print(f"user: {user}")
    print(f"password: in {path}, which only you may read")


def _put(path: Path, text: str) -> None:
    from meuse import secret_file
    from meuse.errors import HostError

    try:
        secret_file.write(path, text)
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}", "name another with --file") from error


def _free(file: Path | None, name: str, suffix: str = ".password") -> Path:
    """Looked at before a secret is made that could not be written."""
    from meuse.errors import HostError

    path = file or Path(name + suffix)
    if not path.absolute().parent.is_dir():
        raise HostError(f"there is no folder for {path}", "name another with --file")
    return path
