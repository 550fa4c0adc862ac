"""What a driver is: one module per kind of sensor, with one class `Driver`, one instance per channel.

    Driver(bus, settings, kept)
        bus       the opened bus that settings["bus"] names, shared by all who name it (machine.I2C, machine.SPI,
                  drivers.onewire.Bus); None for a driver that needs pins only and opens them itself
        settings  dict: "name" (channel), "exp" (channel's exp10), and the keys of the driver's own documentation
        kept      small durable integers: kept.get(name) -> int (0 at first), kept.put(name, int). put() is cheap;
                  the application writes to flash with the next flush of the log
        A constructor may raise on wrong settings, never on a missing device.
    start(now_ms) -> int
        Begin a conversion; ms until read() has it (0: at once). A device that does not answer is read()'s to tell.
    read(now_ms) -> int | [-q] | None
        int   the value times 10**-exp, rounded half away from zero (`scaled`)
        [-q]  no value, and why: q of meuse_protocol.quality. Never an invented value.
        None  not ready, ask again: a converter shared by several channels was busy with another one, and this call
              has begun (or waits for) the own conversion. Asked again every 5 ms; after the channel's time limit
              the sampler itself writes "not ready".

Both are short (a few ms at most), never wait, and never raise; the sampler guards against one that does all the same.
`now_ms` is the uptime in ms, never wrapping. Integers only: a float on a board has 24 bits.
"""

from ..scaling import scaled as scaled
