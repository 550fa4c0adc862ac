"""Discovery messages of Home Assistant: one retained message per channel, whose values it then takes from `latest`.

After its documentation "MQTT > Discovery" and "MQTT Sensor": topic PREFIX/sensor/NODE/OBJECT/config.
"""

from typing import Any, Final

from meuse.catalog import Origin
from meuse.topics import forms
from meuse.topics.names import HOST_STATE, LATEST, STATE, of

# SenML unit -> (unit there, device class); others keep their name and have no class.
UNITS: Final[dict[str, tuple[str, str | None]]] = {
    "Cel": ("°C", "temperature"),
    "K": ("K", "temperature"),
    "%RH": ("%", "humidity"),
    "%": ("%", None),
    "Pa": ("Pa", "pressure"),
    "hPa": ("hPa", "pressure"),
    "lx": ("lx", "illuminance"),
    "W": ("W", "power"),
    "kW": ("kW", "power"),
    "J": ("J", "energy"),
    "kWh": ("kWh", "energy"),
    "V": ("V", "voltage"),
    "A": ("A", "current"),
    "m3": ("m³", "volume"),
    "ppm": ("ppm", None),
}

TOTAL: Final = 1  # flags of a channel (protocol, SCHEMA)
CODE: Final = 2


def message(prefix: str, origin: Origin, channel: str, unit: str, flags: int) -> tuple[str, bytes]:
    """(topic, payload) that announces one channel."""
    latest = of(origin, LATEST)
    entry = f"value_json.channels['{channel}']"
    form: dict[str, Any] = {
        "name": channel,
        "unique_id": f"meuse_{origin.tenant}_{origin.device}_{channel}",
        "state_topic": latest,
        "value_template": f"{{{{ {entry}.value if {entry} is defined else None }}}}",
        "json_attributes_topic": latest,
        "json_attributes_template": f"{{{{ {entry} | tojson if {entry} is defined else '{{}}' }}}}",
        "availability_mode": "all",
        "availability": [
            _available(of(origin, STATE)),
            _available(HOST_STATE),
        ],
        "device": {
            "identifiers": [f"meuse_{origin.tenant}_{origin.device}"],
            "name": origin.device,
            "manufacturer": "Meuse",
            "suggested_area": origin.site,
        },
    }
    shown, kind = UNITS.get(unit, (unit, None))
    if shown:
        form["unit_of_measurement"] = shown
    if kind:
        form["device_class"] = kind
    if not flags & CODE and shown:
        form["state_class"] = "total_increasing" if flags & TOTAL else "measurement"
    return f"{prefix}/sensor/meuse_{origin.device}/{channel}/config", forms.to_json(form)


def _available(topic: str) -> dict[str, str]:
    return {
        "topic": topic,
        "value_template": "{{ 'online' if value_json.presence == 'online' else 'offline' }}",
        "payload_available": "online",
        "payload_not_available": "offline",
    }
