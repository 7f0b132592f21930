"""The port PinStore over registries: fake and real."""

from __future__ import annotations

import json

import pytest

from ci_plugin.errors import DocumentError
from ci_plugin.ports import PinStore
from ci_plugin.registry.pin_store import ARTIFACT_TYPE, RegistryPinStore
from ci_plugin.values.reference import Repository
from tests.contract.pin_store_suite import KEY, NewStore, PinStoreSuite
from tests.fakes.registry import make_image
from tests.fakes.registry_client import make_client, push_image


def make_store(repository: Repository) -> PinStore:
    return RegistryPinStore(repository, make_client())


class TestStagesStorage(PinStoreSuite):
    @pytest.fixture
    def new_store(self, repository: Repository) -> NewStore:
        return lambda: make_store(repository)


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


def test_the_store_says_what_it_promises(repository: Repository) -> None:
    store = make_store(repository)
    assert store.name == f"stages storage {repository}"
    assert "no compare-and-set" in store.guarantee
