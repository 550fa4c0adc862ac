"""Who is at fault: this program (LocalError) or what came over the wire (RemoteError).

    MeuseError
    |-- LocalError          misuse by the caller; a defect in this program
    `-- RemoteError         the bytes received break the specification; `reason` says how
        |-- FrameError      COBS or CRC: damage on the line, never answered
        |-- PacketError     not one msgpack array with type, stream and seq; answered with ERR 2
        |-- LimitError      larger or deeper than the limits allow; answered with ERR 3
        `-- ContentError    a well-formed PDU whose elements make no sense; answered with ERR 4

`code` is the code of the ERR message that answers the error; 0 means no answer.
"""


class MeuseError(Exception):
    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class LocalError(MeuseError):
    pass


class RemoteError(MeuseError):
    code = 0


class FrameError(RemoteError):
    pass


class PacketError(RemoteError):
    code = 2


class LimitError(RemoteError):
    code = 3


class ContentError(RemoteError):
    code = 4
