"""Short messages as a modem takes and gives them in PDU mode: 8-bit data, one message each.

3GPP TS 23.040, 9.2.2 (SMS-SUBMIT, SMS-DELIVER) and 9.1.2.5 (addresses); TS 23.038, 4 (coding).
"""

DATA_BYTES = 140
DAY = 167  # validity, 9.2.3.12.1: 24 h
EIGHT_BITS = 4


def submit(number: str, data: bytes) -> tuple[str, int]:
    """An SMS-SUBMIT to `number` ("+" and digits): in hexadecimal, and the length that AT+CMGS wants."""
    digits = number.lstrip("+")
    padded = digits + "F" * (len(digits) % 2)
    swapped = "".join(padded[i + 1] + padded[i] for i in range(0, len(padded), 2))
    kind = 0x91 if number.startswith("+") else 0x81
    tpdu = bytes([0x11, 0, len(digits), kind]) + bytes.fromhex(swapped) + bytes([0, EIGHT_BITS, DAY, len(data)]) + data
    return "00" + tpdu.hex().upper(), len(tpdu)


def delivered(line: str) -> tuple[str, bytes] | None:
    """(sender, data) of an SMS-DELIVER in hexadecimal; None for what is none, has a header, or is no 8-bit data."""
    try:
        pdu = bytes.fromhex(line)
        at = 1 + pdu[0]
        first, digits, kind = pdu[at : at + 3]
        end = at + 3 + (digits + 1) // 2
        sender = "".join(f"{octet & 15:x}{octet >> 4:x}" for octet in pdu[at + 3 : end])[:digits]
        coding, size, data = pdu[end + 1], pdu[end + 9], pdu[end + 10 :]
    except (ValueError, IndexError):
        return None
    eight_bits = coding & 0xCC == EIGHT_BITS or coding & 0xF4 == 0xF4
    if first & 0x43 or size != len(data) or not eight_bits:
        return None
    return ("+" if kind & 0x70 == 0x10 else "") + sender, data
