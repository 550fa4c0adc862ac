"""Meuse: the host."""
