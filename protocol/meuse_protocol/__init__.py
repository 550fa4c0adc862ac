"""Meuse wire protocol: one source for MicroPython and CPython, bytes in, events and bytes out."""
