"""A line that somebody typed: what is meant by it, and which module of the console answers.

The only part of the console that a board always has: most work for years without anyone at the cable.
"""

from .loading import forget, load


def answer(app, link, line: bytes, typing: bool):
    """Iterator of lines, or None when the line is no command and nobody is typing."""
    words = meant(line).split(None, 3)  # what is set may have spaces in it
    name = words[0] if words else "hello"
    if name in "hello help status links log time frames reboot".split():
        return _said("console", name, app, link, words[1:])
    if name in "sensors config export".split():
        return _said("console_" + name, name, app, link, words[1:])
    return iter(("'%s' is no command. Type help" % name,)) if typing else None


def _said(module: str, name: str, app, link, words):
    """The lines of one command; its module goes with the last."""
    try:
        yield from load(module).answer(name, app, link, words)
    finally:
        forget(module, "wording", "meuse_protocol.carried", "meuse_protocol")


def meant(line: bytes) -> str:
    """Backspaces applied, escape codes of arrow keys and the like left out."""
    out = bytearray()
    for c in line:
        if c in b"\b\x7f":
            out = out[:-1]
        elif 32 <= c < 127:
            out.append(c)
    return out.decode()
