"""The host's states and transitions on one link, in one table. What is absent ('.') is an error.

A message that is absent changes nothing but the counter `unexpected` or the one named for it.
"""

OPEN = "O"  # nobody has said HELLO here: stream 0 means nothing yet
BOUND = "B"  # stream 0 is the stream of the last HELLO that held
MUTE = "M"  # too many forged packets: nothing is read for ten seconds

HELLO_GOOD = 0
HELLO_BAD = 1
FULL = 2
SHORT = 3
STRANGER = 4
FORGED = 5
FLOOD = 6
CALM = 7
FOREIGN = 8

HOST = {
    #  .----------- 0 HELLO that holds
    #  |.---------- 1 HELLO that does not: MAC, device, version, or late
    #  ||.--------- 2 authentic, full stream id
    #  |||.-------- 3 stream 0
    #  ||||.------- 4 of a stream that is bound to no device
    #  |||||.------ 5 MAC does not verify
    #  ||||||.----- 6 more than ten of those within a second
    #  |||||||.---- 7 ten seconds later (timer)
    #  ||||||||.--- 8 a message that only hosts send
    "O": "BOO.OOM..",
    "B": "BBBBBBM..",
    "M": ".......O.",
}
