"""docs/asyncapi.yaml holds together, and the examples of docs/topics.md are what it describes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.topics_listener import DOCUMENT, Heard, validator

TEXT = (Path(__file__).resolve().parent.parent / "docs/topics.md").read_text()
SECTIONS = {
    "telemetry and backfill": "readings",
    "latest": "latest",
    "state": "state",
    "event": "event",
    "alert": "alert",
    "command": "request",
    "command/<id>": "commandState",
}


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [each for value in node.values() for each in references(value)]
    return [each for value in node for each in references(value)] if isinstance(node, list) else []


def test_every_reference_leads_somewhere() -> None:
    assert DOCUMENT["asyncapi"].startswith("3.")
    for reference in set(references(DOCUMENT)):
        node = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_every_channel_is_sent_and_every_parameter_described() -> None:
    sent = {operation["channel"]["$ref"].rpartition("/")[2] for operation in DOCUMENT["operations"].values()}
    assert sent == set(DOCUMENT["channels"])
    for channel in DOCUMENT["channels"].values():
        assert set(re.findall(r"\{(\w+)\}", channel["address"])) == set(channel.get("parameters", {}))


@pytest.mark.parametrize("section", SECTIONS)
def test_the_examples_are_as_described(section: str) -> None:
    part = TEXT.split(f"\n## {section}\n")[1].split("\n## ")[0]
    examples = re.findall(r"```json\n(.*?)```", part, re.DOTALL)
    assert examples
    for example in examples:
        schema = {"$ref": f"#/components/schemas/{SECTIONS[section]}"}
        validator(schema).validate(json.loads(example))


@pytest.mark.parametrize("spoiled", ['"measured_at": "yesterday"', '"measured_at": 1767268800000'])
def test_what_is_not_as_described_is_found(spoiled: str) -> None:
    example = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)[0]
    form = json.loads(re.sub(r'"measured_at": "[^"]+"', spoiled, example))
    assert not validator({"$ref": "#/components/schemas/readings"}).is_valid(form)
    assert Heard("meuse/a/b/c/telemetry", b"{}", False).form == {}
