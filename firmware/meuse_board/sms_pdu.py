"""Short messages as a modem takes and gives them in PDU mode: 8-bit data, one message each.

Sources: 3GPP TS 23.040, 9.2.2 (SMS-SUBMIT, SMS-DELIVER) and 9.1.2.5 (addresses); TS 23.038, 4 (coding). Refuses to
know what the data mean.
"""

from binascii import hexlify, unhexlify

DATA_BYTES = 140
DAY = 167  # validity, 9.2.3.12.1: 24 h
EIGHT_BITS = 4


def submit(number: str, data: bytes):
    """An SMS-SUBMIT to `number` ("+" and digits) -> (in hexadecimal, the length that AT+CMGS wants)."""
    digits = number.lstrip("+")
    if len(digits) % 2:
        padded = digits + "F"
    else:
        padded = digits
    swapped = "".join([padded[i + 1] + padded[i] for i in range(0, len(padded), 2)])
    tpdu = b"\x11\0" + bytes((len(digits), 0x91 if number[0] == "+" else 0x81)) + unhexlify(swapped)
    tpdu += bytes((0, EIGHT_BITS, DAY, len(data))) + data
    return b"00" + hexlify(tpdu).upper(), len(tpdu)


def delivered(line: bytes):
    """(sender, data) of an SMS-DELIVER in hexadecimal; None for what is none, has a header, or is no 8-bit data."""
    try:
        pdu = unhexlify(line)
        at = 1 + pdu[0]
        first, digits, kind = pdu[at], pdu[at + 1], pdu[at + 2]
        end = at + 3 + (digits + 1) // 2
        sender = "".join(["%x%x" % (octet & 15, octet >> 4) for octet in pdu[at + 3 : end]])[:digits]
        coding, size = pdu[end + 1], pdu[end + 9]
        data = pdu[end + 10 :]
    except (ValueError, IndexError):
        return None
    if first & 0x43 or size != len(data) or not (coding & 0xCC == EIGHT_BITS or coding & 0xF4 == 0xF4):
        return None
    return ("+" if kind & 0x70 == 0x10 else "") + sender, data
