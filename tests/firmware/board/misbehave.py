"""Runs on a virtual board: each life notes why it began in argv[1], then ends in another way than the one before."""

import sys
import time

import machine
import wires

PATH = sys.argv[1]
with open(PATH, "a") as f:
    f.write("%d\n" % machine.reset_cause())
with open(PATH) as f:
    life = len(f.read().split())

if life == 1:
    machine.reset()
    with open(PATH + ".not-reset", "w") as f:
        f.write("still here")
elif life == 2:
    dog = machine.WDT(timeout=500)
    for _ in range(5):
        time.sleep_ms(200)
        dog.feed()
    with open(PATH + ".fed", "w") as f:
        f.write("fed for a second")
    time.sleep(60)
elif life == 3:
    raise ValueError("a bug")
else:
    igniter = machine.Pin(25, machine.Pin.OUT, value=1)
    ended = []
    wires.on_stop = lambda: ended.append(1)
    while not ended:
        time.sleep_ms(10)
        wires.drain()
