"""What may go wrong on the host, told so that a person knows what to do next.

HostError               status 1  something failed
├── ConfigError         status 2  the settings or the arguments are wrong
├── NotReachable        status 3  a board, a port or another process does not answer
└── JournalError        status 1  the journal cannot be opened or written
    └── JournalBusy     status 1  another process holds the journal
LaterError is a HostError too, of which whoever raises it tells people by itself.
"""


class HostError(Exception):
    """A failure with advice: `message` says what is wrong, `advice` what to do next."""

    status = 1

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


class ConfigError(HostError):
    """A setting or an argument is wrong; `message` names the key path or the line."""

    status = 2


class NotReachable(HostError):
    """Something that should answer does not."""

    status = 3


class LaterError(HostError):
    """What was asked for has to wait for something that is told elsewhere."""


class JournalError(HostError):
    """The journal cannot be opened, read or written."""


class JournalBusy(JournalError):
    """Another process holds the journal for writing."""
