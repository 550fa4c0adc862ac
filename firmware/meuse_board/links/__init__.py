"""What a link is: the way to one peer, one file per kind, each with one class `Link`; nothing here imports a link.

    Link(settings, hardware, random_u32)   opens nothing yet; random_u32() -> 0 .. 2**32 - 1
    name                for people: "tcp to meuse.local:7878"
    open(now_ms)        begin to connect; never raises, never waits for the peer
    close(now_ms)       give everything back; the board stops
    doubt(now_ms)       the peer has been silent for long though records are in flight: a connection is begun anew
    hurry(now_ms)       the board is about to stop: packets go first from now on
    up                  True while packets can flow
    mtu                 longest E2E packet, in bytes, that one send() takes
    cost                0 (a cable) .. 100 (paid by the byte); of several that work the cheapest carries the stream
    overhead            bytes that the network counts beside each packet; 0 where bytes cost nothing
    ordered             True where packets arrive in the order sent
    room(now_ms)        True while send() takes a packet
    send(e2e, now_ms)   only while `up` and with room; what is sent may be lost, like all that travels
    receive(now_ms)     next E2E packet or None; also moves the link's own business: reconnecting, writing what waits;
                        None, and due_ms now, after some 512 bytes that were no packets: a flood must not hold the board
    pollable            what select.poll may wait on, or None
    problem             (where a link has it) what keeps it down, in words; None while nothing does
    due_ms              uptime at which receive() wants to be called even when nothing arrives
    sent, received      packets so far
    damaged             frames received that were no frames
and, where there is something to say:
    needs_key           True where hosts refuse every board without a key
    window              most records in flight, where 32 are too many
    keep_alive_ms       after so long without a packet sent a PING goes out (0: never), for what forgets idle ways back

    signal              ", " and how strong it is, in words; "" while nobody knows

A link that no window and no greeting suit (a card that a person carries, SMS) is never `up`. It takes records itself:

    serve(endpoint, log)  whose records go there: the endpoint makes packets, and hears what receive() brings
    words()             how it stands, for people
    count(kept, clock)  (where messages cost money) where it keeps how many it has sent today
"""
