"""What nats-server and this host must know of each other, and the lines of nats.conf that say it.

Three accounts: MEUSE, where boards, backends and the host meet over MQTT; MEUSE_ACCESS, where the server asks who
comes; and the system account, by which connections are ended. Kept under `data/access`, mode 600.
"""

import base64
import json
from pathlib import Path
from typing import Final, NamedTuple

from meuse import secret_file
from meuse.access import nkey, passwords
from meuse.access.backends import FOLDER
from meuse.access.register import Register
from meuse.access.rights import BOARDS, LINK, TOPICS, Rights
from meuse.errors import HostError

FILE: Final = "nats.json"

ACCOUNT: Final = "MEUSE"
ASKING: Final = "MEUSE_ACCESS"
SYSTEM: Final = "SYS"

# The host's two connections of NATS's own protocol.
ANSWERS: Final = "meuse-access"
ENDS: Final = "meuse-system"

# Boards that all come back at once wait their turn: some 300 are let in per second.
ANSWER_S: Final = 30


class NatsAccount(NamedTuple):
    """seed: of the key that signs the host's answers; the two passwords are those of ANSWERS and ENDS."""

    seed: bytes
    answers: str
    ends: str

    @property
    def public(self) -> str:
        return nkey.Signer(self.seed).public

    def password(self, user: str) -> str:
        """Of one of the host's own users; follows from the seed, so all hosts that answer know it."""
        return passwords.of_own(self.seed, user)

    def introduce(self, register: Register, topics: Rights) -> None:
        """The host's own users. topics: what its connection for backends may."""
        register.fixed[TOPICS] = (self.password(TOPICS), topics)
        register.fixed[BOARDS] = (self.password(BOARDS), LINK)

    def lines(self) -> str:
        """For nats.conf, with both passwords."""
        return f"""accounts {{
  {ACCOUNT} {{ jetstream: enabled }}
  {ASKING} {{ users: [ {{ user: "{ANSWERS}", password: "{self.answers}" }} ] }}
  {SYSTEM} {{ users: [ {{ user: "{ENDS}", password: "{self.ends}" }} ] }}
}}
system_account: {SYSTEM}
authorization {{
  timeout: {ANSWER_S}
  auth_callout {{ issuer: {self.public}, account: {ASKING}, auth_users: [ "{ANSWERS}", "{ENDS}" ] }}
}}
"""


def password_file(data: Path, user: str) -> Path:
    """Where `meuse access nats` writes that of one of the host's own users."""
    return data / FOLDER / f"{user.removeprefix('_')}.password"


def of(data: Path) -> NatsAccount:
    """As it was made at the first time; raises HostError when the file makes no sense."""
    path = data / FOLDER / FILE
    try:
        found = json.loads(path.read_text())
        return NatsAccount(base64.b64decode(found["seed"]), found["answers"], found["ends"])
    except FileNotFoundError:
        account = NatsAccount(nkey.new_seed(), passwords.made(), passwords.made())
        form = account._asdict() | {"seed": base64.b64encode(account.seed).decode()}
        secret_file.folder(path.parent)
        secret_file.write(path, json.dumps(form, indent=1) + "\n")
        return account
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HostError(f"cannot read {path}: {error}", "remove it: it is made anew") from error
