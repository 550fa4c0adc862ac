"""Everybody who may come, and what they may: asked by whatever lets somebody in.

Devices (by a password that follows from their key), backends (by one that is stored as a hash), and users that the
host has made for itself. Knows no broker.
"""

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from meuse.access import passwords, rights
from meuse.access.backends import Backend, Backends
from meuse.access.rights import Rights
from meuse.errors import ConfigError, HostError
from meuse.identity import Home
from meuse.keys import KeyStore

log = logging.getLogger(__name__)

# What nats-server calls a client without an id: 22 random letters. Ids of devices have no capitals.
_GIVEN: Final = re.compile(r"(?=.*[A-Z])[0-9A-Za-z]{22}")


class Admitted(NamedTuple):
    """Somebody who has shown who they are. `mark` stands for that password and those rights, and tells neither."""

    user: str
    rights: Rights
    mark: str


class Grant(NamedTuple):
    """What a backend may ask of the host: about one tenant, and whether to send commands to its devices."""

    user: str
    tenant: str
    may_command: bool


class Register:
    """`homes` is replaced whenever it changes; a device that is not in it is at home in the default tenant and site."""

    def __init__(self, keys: KeyStore, backends: Backends, homes: Mapping[str, Home]) -> None:
        self.homes = homes
        self.fixed: dict[str, tuple[str, Rights]] = {}  # user -> password and rights
        self._keys = keys
        self._backends = backends

    def admit(self, user: str, password: str) -> Admitted | None:
        """Who this is; None for anybody else."""
        proof = passwords.hashed(password)
        if user in self.fixed and passwords.same(self.fixed[user][0], password):
            return Admitted(user, self.fixed[user][1], _mark(proof, None))
        if any([passwords.same(proof, good) for good in self._proofs(user)]):
            found = self._rights(user)
            return Admitted(user, found, _mark(proof, found))
        return None

    def holds(self, user: str, mark: str) -> bool:
        """Whether somebody who was admitted with this mark, by any host, would be so now, with the same rights."""
        # Rights of the host's own users are each host's own: so their marks do not tell them.
        if user in self.fixed and mark == _mark(passwords.hashed(self.fixed[user][0]), None):
            return True
        try:
            self._backends.of(user)
        except HostError:
            return True  # nobody can tell, and who is revoked has no file, or an empty one
        return mark in [_mark(proof, self._rights(user)) for proof in self._proofs(user)]

    def may_use(self, user: str, client_id: str) -> bool:
        """Whether this client id is its own: whoever takes another's gets its session, or ends it."""
        if client_id == user or _GIVEN.fullmatch(client_id):
            return True
        if user in self.fixed:
            return not self._someones(client_id)
        return "_" in user and client_id.startswith(user + "_")

    def who_may(self, token: str) -> Grant | None:
        """A backend by USER:PASSWORD, as HTTP's Basic has it and as a bearer may say it; None for anybody else."""
        user, _, password = token.partition(":")
        backend = self._backend(user)
        if backend is None or self.admit(user, password) is None:
            return None
        return Grant(user, backend.tenant, backend.commands)

    def names(self) -> list[str]:
        """Users who may come to a broker that keeps its own list."""
        return [*self._keys.devices(), *(backend.user for backend in self._backends.all())]

    def entry(self, user: str) -> tuple[str, Rights] | None:
        """(hash of its current password, rights); None when nothing holds."""
        proofs = self._proofs(user)
        return (proofs[0], self._rights(user)) if proofs else None

    # -- inside

    def _proofs(self, user: str) -> list[str]:
        """Hashes of the passwords that hold, the current one first."""
        backend = self._backend(user)
        if backend is not None:
            return list(backend.hashes)
        try:
            keys = self._keys.keys(user)
        except ConfigError:
            keys = None  # a broken file is told where boards speak
        return [passwords.hashed(passwords.of_board(key)) for key in keys or ()]

    def _rights(self, user: str) -> Rights:
        backend = self._backend(user)
        if backend is not None:
            return rights.of_backend(backend.tenant, backend.commands)
        return rights.of_board(self.homes.get(user, Home()).tenant, user)

    def _backend(self, user: str) -> Backend | None:
        try:
            return self._backends.of(user)
        except HostError as error:
            log.error("%s; %s", error.message, error.advice)
            return None

    def _someones(self, client_id: str) -> bool:
        """A device's, known or not yet, or a backend's."""
        head = "_".join(client_id.split("_")[:2])
        return self._keys.exists(client_id) or client_id in self.homes or self._backend(head) is not None


def _mark(proof: str, may: Rights | None) -> str:
    """16 letters. Passwords have 192 random bits, so nobody finds one by what it is made of."""
    return hashlib.sha256(json.dumps([proof, may]).encode()).hexdigest()[:16]
