"""States and transitions of both endpoints, one table each. What is absent there ('.') is an error.

An absent local input (link_up while up) raises LocalError. An absent remote input changes nothing but the counter
`unexpected`. An input that may stand in a state but does not move it names that state again. Times and what each
state sends are in the specification beside this package, under "Behaviour".
"""

from .errors import LocalError

# --- the board, one per link -------------------------------------------------------------------------------------
DOWN = "D"  # no link: the log waits
GREETING = "G"  # HELLO goes out until a WELCOME comes; records flow under the full stream id
READY = "R"  # welcomed: records flow under stream 0
HELD = "H"  # the host takes nothing now (win = 0): ask from time to time
QUIET = "Q"  # nothing heard for long while records were in flight: ask ever more rarely
REFUSED = "X"  # no common version: HELLO every five minutes, all data is kept

# Inputs: the first two and the last are local, all others are messages. Those marked * were authentic.
LINK_UP, LINK_DOWN, WELCOMED, WELCOMED_HELD, REFUSAL, ACKED, ACKED_HELD, HEARD, CALLED, NOTED, ALIEN, SILENCE = range(12)

BOARD = {
    #           up
    #           |down
    #           ||WELCOME* win > 0
    #           |||WELCOME* win = 0
    #           ||||WELCOME* of another major, ERR 1*
    #           |||||ACK* win > 0
    #           ||||||ACK* win = 0
    #           |||||||TIME* CMD* NEED* ERR*
    #           ||||||||NEED 1
    #           |||||||||ERR without MAC
    #           ||||||||||a message that only boards send
    #           |||||||||||silence (timer)
    DOWN:     "GD..........",
    GREETING: ".DRHXGGGGG.Q",
    READY:    ".DRHXRHRGR.Q",
    HELD:     ".DRHXRHHGH..",
    QUIET:    ".DRHXGGGQQ..",
    REFUSED:  ".DRHXXXXXX..",
}  # fmt: skip

# --- the host, one per link --------------------------------------------------------------------------------------
OPEN = "O"  # nobody has said HELLO here: stream 0 means nothing yet
BOUND = "B"  # stream 0 is the stream of the last verified HELLO
MUTE = "M"  # too many forged packets: nothing is read for ten seconds

HELLO_GOOD, HELLO_BAD, FULL, SHORT, STRANGER, FORGED, FLOOD, CALM, FOREIGN = range(9)

HOST = {
    #      HELLO that verifies
    #      |HELLO that does not, or of an unknown device
    #      ||authentic, full stream id
    #      |||stream 0
    #      ||||stream that is bound to no device
    #      |||||MAC does not verify
    #      ||||||more than ten of those within a second (timer)
    #      |||||||ten seconds later (timer)
    #      ||||||||a message that only hosts send
    OPEN:  "BOO.OOM..",
    BOUND: "BBBBBBM..",
    MUTE:  ".......O.",
}  # fmt: skip


def after(table: dict[str, str], state: str, event: int) -> str:
    """The state that follows, '' where the table has none (a remote error, for the caller to count)."""
    next_state = table[state][event]
    return "" if next_state == "." else next_state


def must(table: dict[str, str], state: str, event: int) -> str:
    """The state that follows; LocalError where the table has none."""
    next_state = after(table, state, event)
    if not next_state:
        raise LocalError("not in state " + state)
    return next_state
