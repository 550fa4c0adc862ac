"""Every channel: its newest value with its unit and age, or why there is none."""

from .wording import decimal, span

WHY = "sensor does not answer|bus fault or bad checksum|open or broken wire|out of range|not ready|stale"


def answer(name: str, app, link, words):
    now = app.clock.now()
    for group in app.sampler.groups:
        settings = group.settings
        yield "%s, newest %s ago" % (settings["name"], span(now - group.at_ms))
        for i, c in enumerate(settings["channels"]):
            value = group.values[i]
            if isinstance(value, int):
                text = decimal(value, c["exp"]) + " " + c["unit"]
                alarm = group.alarms.get(i)
                if alarm and alarm.on:
                    text += "  ALARM"
            elif value is None:
                text = "not read yet"
            else:
                text = "no value: " + why(-value[0])
            yield "  %-16s %s" % (c["name"], text)


def why(quality: int) -> str:
    """The quality's words, counted from 1."""
    words = WHY.split("|")
    return words[quality - 1] if quality <= len(words) else "reason %d" % quality
