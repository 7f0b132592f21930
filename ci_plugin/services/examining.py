"""What a store of pins gives here and now: can it be read, and what does it hold for the asking job. Nothing is written anywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ci_plugin.errors import Location, StagepinError
from ci_plugin.pins.pin_file import parse_pin_file
from ci_plugin.ports import PinStore
from ci_plugin.services.pinning import Asking


@dataclass(frozen=True, slots=True)
class Examined:
    """One store as this job meets it. ``holds`` says what it has for the scope; ``error`` why it cannot be read, None where it can.

    ``guarantee`` is the store's own sentence, empty where it could not even be opened.
    """

    name: str
    is_chosen: bool
    guarantee: str = ""
    holds: str = ""
    error: StagepinError | None = None


def examine_store(name: str, is_chosen: bool, open_store: Callable[[], PinStore], asking: Asking) -> Examined:
    """The store behind ``open_store``, asked for the pins of ``asking``: the cheapest read every store has. Raises nothing of ours."""
    guarantee = ""
    try:
        store = open_store()
        guarantee = store.guarantee
        holds = _holds(store, asking)
    except StagepinError as error:
        return Examined(name, is_chosen, guarantee, error=error)
    return Examined(name, is_chosen, guarantee, holds)


def _holds(store: PinStore, asking: Asking) -> str:
    data = store.find_pins(asking.key)
    if data is None:
        return f"no pins of {asking.key.scope} yet"
    pins = parse_pin_file(data, store.name)
    pins.check_ours(asking.key, asking.commit, by_name=asking.by_name, where=Location(store.name))
    return f"pins of {pins.scope}, references: {len(pins.pins)}"
