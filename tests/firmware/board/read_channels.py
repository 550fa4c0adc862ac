"""Runs on a virtual board: the real drivers on the real shim, round after round, one JSON line each.

argv: file with {"buses": {...}, "channels": [{...}]}, file to append to, file of kept numbers. Each line has the values
as the drivers gave them, and how long the longest single call took (ms).
"""

import json
import sys
import time

import wires
from meuse_board.hardware import Hardware
from meuse_board.kept import Kept


class Rounds:
    def __init__(self, plan, kept):
        hardware = Hardware(plan["buses"])
        self.found = [[rom.hex() for rom in hardware.bus(name).scan()] for name in plan["scan"]]
        self.drivers = []
        self.longest_ms = 0
        self.ended = False
        wires.on_stop = self.stop
        for settings in plan["channels"]:
            module = __import__("meuse_board.drivers." + settings["driver"], None, None, ("x",))
            self.drivers.append(module.Driver(hardware.bus(settings.get("bus")), settings, kept))

    def stop(self):
        self.ended = True

    def call(self, function, *args):
        began = time.ticks_ms()
        answer = function(*args)
        self.longest_ms = max(self.longest_ms, time.ticks_diff(time.ticks_ms(), began))
        return answer

    def collect(self):
        """As the sampler does it: start all, then ask each until it answers."""
        self.longest_ms = 0
        now = time.ticks_ms()
        due = [now + self.call(d.start, now) for d in self.drivers]
        values = [None] * len(due)
        while None in values:
            for i, d in enumerate(self.drivers):
                now = time.ticks_ms()
                if values[i] is None and now >= due[i]:
                    values[i] = self.call(d.read, now)
                    due[i] = now + 5
                    if time.ticks_diff(now, due[i]) > 3000:
                        raise RuntimeError("a driver hangs")
            time.sleep_ms(1)
            wires.drain()
        return values


def run(plan_path, out_path, kept_path):
    with open(plan_path) as f:
        plan = json.load(f)
    kept = Kept(kept_path)
    for name in plan["meters"]:  # as firmware/sim/micropython/start.py does it
        wires.send(wires.NOTE, b"%s=%d" % (name.encode(), kept.get(name)))
    rounds = Rounds(plan, kept)
    with open(out_path, "a") as out:
        out.write(json.dumps({"found": rounds.found}) + "\n")
        while not rounds.ended:
            values = rounds.collect()
            out.write(json.dumps({"values": values, "longest_ms": rounds.longest_ms}) + "\n")
            out.flush()
            kept.flush()
            end = time.ticks_ms() + plan.get("pause_ms", 20)
            while time.ticks_ms() < end:
                time.sleep_ms(2)
                wires.drain()


run(*sys.argv[1:])
