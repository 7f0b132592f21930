"""Pins in the engine's own store: one winner on one engine, records that follow each other."""

from __future__ import annotations

import pytest

from ci_plugin.engine.pin_store import EnginePinStore
from ci_plugin.errors import DocumentError
from ci_plugin.values.pipeline import PipelineId, Scope, ScopeKey
from tests.fakes.engine import FakeEngine

KEY = ScopeKey(PipelineId("gitlab", "gitlab.example.com", "4711", "group/app", "1001"), Scope("pipeline:1001"))


def test_the_first_pins_stay_and_everybody_reads_them() -> None:
    engine = FakeEngine()
    one, other = EnginePinStore(engine), EnginePinStore(engine)
    assert one.find_pins(KEY) is None
    assert one.create_pins(KEY, '{"é": 1}\n'.encode()) == '{"é": 1}\n'.encode()
    assert other.create_pins(KEY, b"other") == other.find_pins(KEY) == '{"é": 1}\n'.encode()


def test_the_last_record_counts_and_needs_the_same_pins() -> None:
    store = EnginePinStore(FakeEngine())
    assert store.find_record(KEY) is None
    for record in (b"partial", b"whole", b"whole"):
        assert store.put_record(KEY, record, b"pins")
    assert store.find_record(KEY) == b"whole"
    assert not store.put_record(KEY, b"later", b"other pins")
    assert (store.find_pins(KEY), store.find_record(KEY)) == (b"pins", b"whole")


def test_a_volume_somebody_else_made_is_refused() -> None:
    engine = FakeEngine()
    name = f"stagepin-{KEY.short_hash}"
    engine.create_volume(name, {"mine": "yes"})
    with pytest.raises(DocumentError, match=r"expected a volume with the label dev\.stagepin\.document, found none") as caught:
        EnginePinStore(engine).find_pins(KEY)
    assert caught.value.hint == f"somebody else made that volume; remove it: docker volume rm {name}"
