"""What modems of Quectel's BG95, BG77 and BG600L series say for TCP, as modem.py asks them.

Sources: BG95&BG77&BG600L Series TCP/IP Application Note V1.1 (2.3.4 AT+QIOPEN, 2.3.7 AT+QISEND, 2.3.8 AT+QIRD, 2.4
+QIURC), AT Commands Manual (AT+QPINC), BG95 Series Hardware Design (3.6 PWRKEY).
"""


class Family:
    """Each command as (text, the line it waits for beside OK); context 1, connection 0, buffer access mode."""

    tries = ('AT+QPINC="SC"', '+QPINC: "SC",')  # of the PIN, first number
    attach = (('AT+QICSGP=1,1,"%s"', ""), ("AT+QIACT=1", ""))
    detach = ("AT+QIDEACT=1", "")
    dial = ('AT+QIOPEN=1,0,"TCP","%s",%d,0,0', "+QIOPEN: 0,")  # and the error, 0 for none
    hang_up = ("AT+QICLOSE=0", "")
    send = ("AT+QISEND=0,%d", "")  # SEND OK
    read = ("AT+QIRD=0,%d", "+QIRD: ")  # bytes that follow; 0: no more, and the next are announced
    arrived = b'+QIURC: "recv",0'
    gone = (b'+QIURC: "closed",0', b'+QIURC: "pdpdeact",1')
    press_ms = 1000  # 500 to 1000 ms switch it on, 650 to 1500 ms off
