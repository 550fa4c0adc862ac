"""Reads tests/vectors/*.jsonl under CPython."""

import json
import struct
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "vectors"


def read(*names: str) -> list[dict[str, Any]]:
    lines = [line for name in names for line in (FOLDER / name).read_text("utf-8").splitlines()]
    return [json.loads(line) for line in lines]


def pdus() -> list[dict[str, Any]]:
    return read("pdus.jsonl", "pdus_large.jsonl")


def real(x: Any) -> Any:
    """The object a vector's JSON stands for."""
    if isinstance(x, list):
        return [real(item) for item in x]
    if isinstance(x, dict):
        ((kind, value),) = x.items()
        if kind == "bin":
            return bytes.fromhex(value)
        if kind == "float":
            return struct.unpack(">d", bytes.fromhex(value))[0]
        return {key: real(item) for key, item in value.items()}
    return x


def same(a: Any, b: Any) -> bool:
    """Equal in value and in kind: 1, 1.0 and True differ, 0.0 and -0.0 too."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return struct.pack(">d", a) == struct.pack(">d", b)
    return type(a) is type(b) and bool(a == b)
