"""The port PinStore over registries: fake and real."""

from __future__ import annotations

import json

import pytest

from ci_plugin.errors import DocumentError
from ci_plugin.ports import PinStore
from ci_plugin.registry.pin_store import ARTIFACT_TYPE, RegistryPinStore
from ci_plugin.values.document import LARGEST_DOCUMENT
from ci_plugin.values.pipeline import PipelineId, Scope, ScopeKey
from ci_plugin.values.reference import Repository
from tests.fakes.registry import make_image
from tests.fakes.registry_client import make_client, push_image

PIPELINE = PipelineId("gitlab", "gitlab.example.com", "4711", "group/app", "1001")
KEY = ScopeKey(PIPELINE, Scope("pipeline:1001"))
OTHER = ScopeKey(PIPELINE, Scope("pipeline:1002"))


def make_store(repository: Repository) -> PinStore:
    return RegistryPinStore(repository, make_client())


def test_a_fresh_store_has_neither_pins_nor_record(repository: Repository) -> None:
    store = make_store(repository)
    assert store.find_pins(KEY) is None
    assert store.find_record(KEY) is None


def test_pins_come_back_byte_for_byte(repository: Repository) -> None:
    make_store(repository).create_pins(KEY, b'{"pins": 1}\n')
    assert make_store(repository).find_pins(KEY) == b'{"pins": 1}\n'


def test_the_first_pins_stay(repository: Repository) -> None:
    store = make_store(repository)
    store.create_pins(KEY, b'"first"')
    store.create_pins(KEY, b'"second"')
    assert store.find_pins(KEY) == b'"first"'


def test_scopes_do_not_meet(repository: Repository) -> None:
    store = make_store(repository)
    store.create_pins(KEY, b'"one"')
    assert store.find_pins(OTHER) is None
    store.create_pins(OTHER, b'"two"')
    assert (store.find_pins(KEY), store.find_pins(OTHER)) == (b'"one"', b'"two"')


def test_a_record_is_filed_beside_the_pins_and_may_be_replaced(repository: Repository) -> None:
    store = make_store(repository)
    store.create_pins(KEY, b'"pins"')
    assert store.find_record(KEY) is None
    for record in (b'"partial"', b'"whole"', b'"whole"'):
        assert store.put_record(KEY, record, b'"pins"')
    assert (store.find_pins(KEY), store.find_record(KEY)) == (b'"pins"', b'"whole"')


def test_a_record_brings_its_pins_where_there_are_none(repository: Repository) -> None:
    store = make_store(repository)
    assert store.put_record(KEY, b'"record"', b'"pins"')
    assert (store.find_pins(KEY), store.find_record(KEY)) == (b'"pins"', b'"record"')


def test_a_record_is_not_filed_beside_other_pins(repository: Repository) -> None:
    store = make_store(repository)
    store.create_pins(KEY, b'"pins"')
    assert not store.put_record(KEY, b'"record"', b'"others"')
    assert (store.find_pins(KEY), store.find_record(KEY)) == (b'"pins"', None)


def test_another_artifact_under_the_tag_is_refused(repository: Repository) -> None:
    push_image(make_client(), repository.tagged(f"stagepin-{KEY.short_hash}"), make_image())
    with pytest.raises(DocumentError, match=r"expected a pin set of stagepin, found a manifest of .* that is none") as caught:
        make_store(repository).find_pins(KEY)
    assert str(caught.value.where) == f"{repository}:stagepin-{KEY.short_hash}"


def test_other_tools_find_named_files_in_it(repository: Repository) -> None:
    store = make_store(repository)
    store.create_pins(KEY, b'"pins"')
    assert store.put_record(KEY, b'"record"', b'"pins"')
    manifest = make_client().find_manifest(repository.tagged(f"stagepin-{KEY.short_hash}"))
    assert manifest is not None
    document = json.loads(manifest.data)
    titles = [layer["annotations"]["org.opencontainers.image.title"] for layer in document["layers"]]
    assert (document["artifactType"], titles) == (ARTIFACT_TYPE, ["pins.json", "build.json"])


def test_a_document_too_large_is_not_sent(repository: Repository) -> None:
    with pytest.raises(DocumentError, match=f"expected a pins.json of at most {LARGEST_DOCUMENT} bytes"):
        make_store(repository).create_pins(KEY, b" " * (LARGEST_DOCUMENT + 1))


def test_the_store_says_what_it_promises(repository: Repository) -> None:
    store = make_store(repository)
    assert store.name == f"stages storage {repository}"
    assert "no compare-and-set" in store.guarantee
