"""What a link is: the way to one peer, one file per kind, each with one class `Link`; nothing here imports a link.

    Link(settings, hardware, random_u32)   opens nothing yet
    open(now_ms)        begin to connect; never blocks for long, never raises
    close()             give everything back; may be called in any state
    up                  True while bytes or packets can flow
    mtu                 longest E2E packet in bytes that one send() takes
    cost                0 (a cable) .. 100 (paid by the byte); a supervisor prefers the cheapest that is up
    ordered             True where packets arrive in the order sent
    send(e2e, now_ms)   True: taken; False: no room now, offer it again; only called while `up`
    receive(now_ms)     next E2E packet, or None; also moves the link's own timers: call it often
    poll_ms             how long the runner may sleep between two calls of receive()
    counters            dict of name -> count
"""
