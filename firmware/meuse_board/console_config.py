"""The board's settings: read, or one of them changed."""

from .loading import forget, load


def answer(name: str, app, link, words):
    try:
        yield from _configured(load("config").Config(app.root + "/config.msgpack"), words)
    except ValueError as problem:
        yield str(problem)
    except OSError as problem:
        yield "flash refuses (error %d), nothing changed; try again" % problem.errno
    finally:
        forget("config")  # its heap is worth more to the readings


def _configured(config, words):
    if words[:1] == ["get"] and len(words) < 3:
        yield from config.lines(*words[1:])
    elif words[:1] == ["set"] and len(words) == 3:
        text = words[2].strip()
        if len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1]
        changed = config.set(words[1], text)
        yield "stored, works after: reboot" if changed else "it has that value already"
    else:
        yield "say: config get, config get KEY, or config set KEY VALUE"
