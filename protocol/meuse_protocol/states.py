"""The board's states and transitions on one link, in one table. What is absent ('.') is an error.

A local input that is absent (link_up while up) raises LocalError; a message that is absent changes
nothing but the counter `unexpected`. An input that may come but moves nothing names its own state.
What each state sends, and when, is in the specification beside this package, under "Behaviour".
"""

DOWN = "D"  # no link: the log waits; an ACK that a person brings in a file is as true as any
GREETING = "G"  # HELLO until WELCOME; records flow under the full stream id
READY = "R"  # welcomed: records flow under the short stream
HELD = "H"  # the host takes nothing now (win = 0): ask from time to time
QUIET = "Q"  # nothing heard while records were in flight: ask ever more rarely
REFUSED = "X"  # no common version: HELLO once a minute; all data is kept

LINK_UP = 0
LINK_DOWN = 1
WELCOMED = 2
WELCOMED_HELD = 3
REFUSAL = 4
ACKED = 5
ACKED_HELD = 6
HEARD = 7
CALLED = 8
NOTED = 9
ALIEN = 10
SILENCE = 11

BOARD = {
    #  .-------------- 0 link up
    #  |.------------- 1 link down
    #  ||.------------ 2 WELCOME, win > 0
    #  |||.----------- 3 WELCOME, win = 0
    #  ||||.---------- 4 WELCOME of another major version, or ERR 1
    #  |||||.--------- 5 ACK, win > 0
    #  ||||||.-------- 6 ACK, win = 0
    #  |||||||.------- 7 TIME, CMD, NEED or ERR of other kinds
    #  ||||||||.------ 8 NEED 1, with or without MAC
    #  |||||||||.----- 9 ERR without MAC
    #  ||||||||||.--- 10 a message that only boards send
    #  |||||||||||.-- 11 silence (timer)
    "D": "GD...DD.....",
    "G": ".DRHXGGGGG.Q",
    "R": ".DRHXRHRGR.Q",
    "H": ".DRHXRHHGH..",
    "Q": ".DRHXGGGQQ..",
    "X": ".DRHXXXXXX..",
}


def after(table: dict[str, str], state: str, event: int) -> str:
    """The state that follows, '' where the table has none."""
    found = table[state][event]
    return "" if found == "." else found
