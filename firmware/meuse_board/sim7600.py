"""What modems of the SIM7500 and SIM7600 series say for TCP, as modem.py asks them.

Sources: SIM7500_SIM7600 Series AT Command Manual (AT+SPIC, AT+CGDCONT, AT+CFUN) and SIM7500_SIM7600 Series TCPIP
Application Note (AT+NETOPEN, AT+CIPOPEN, AT+CIPSEND, AT+CIPRXGET, AT+CIPCLOSE, +IPCLOSE, +CIPEVENT), both SIMCom.
"""


class Family:
    """Each command as (text, the line it waits for beside OK); the link number is always 0."""

    tries = ("AT+SPIC", "+SPIC: ")  # of the PIN, first number
    attach = (("AT+CIPRXGET=1", ""), ('AT+CGDCONT=1,"IP","%s"', ""), ("AT+NETOPEN", "+NETOPEN: "))
    detach = ("AT+NETCLOSE", "+NETCLOSE: ")
    dial = ('AT+CIPOPEN=0,"TCP","%s",%d', "+CIPOPEN: 0,")  # and the error, 0 for none
    hang_up = ("AT+CIPCLOSE=0", "+CIPCLOSE: 0,")
    send = ("AT+CIPSEND=0,%d", "+CIPSEND: 0,")  # asked, and done: -1 where the connection is gone
    read = ("AT+CIPRXGET=2,0,%d", "+CIPRXGET: 2,0,")  # bytes that follow, bytes that wait
    arrived = b"+CIPRXGET: 1,0"
    gone = (b"+IPCLOSE: 0", b"+CIPEVENT: NETWORK CLOSED", b"+NETWORK CLOSED")
    press_ms = 3000  # SIM7600 Series Hardware Design: 2.5 s switch it off, 0.5 s on
