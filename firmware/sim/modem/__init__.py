"""Simulated cellular modems: the AT dialogue of the vendors' manuals on a socket or pty, real TCP behind it.

Used by tests only. Written from the manuals that meuse_board/sim7600.py and bg95.py name; no modem was at hand.
"""
