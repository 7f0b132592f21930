"""Resolving: which failures become a pin without digest, and what an index must have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ci_plugin.config.references import ConfigReference
from ci_plugin.errors import AccessDenied, ConfigError, InputError, Location, StagepinError, Unavailable
from ci_plugin.pins.pin_set import Pin
from ci_plugin.services.resolving import resolve_pins
from ci_plugin.values.digest import Digest
from ci_plugin.values.platform import DEFAULT_PLATFORM, Platform, parse_platform
from ci_plugin.values.reference import Reference, parse_reference
from tests.fakes.clock import FakeClock
from tests.fakes.registry import OCI_MANIFEST, FakeRegistry
from tests.fakes.registry_client import make_client

ARM = parse_platform("linux/arm64")
WHERE = Location("werf.yaml", 5)


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


def reference(registry: FakeRegistry, name: str = "base/alpine") -> Reference:
    return parse_reference(f"{registry.address}/{name}")


def use(
    wanted: Reference, *, in_signature: bool = True, platform: Platform | None = DEFAULT_PLATFORM, image: str = "app", line: int = 5
) -> ConfigReference:
    return ConfigReference(wanted, "from", image, Location("werf.yaml", line), in_signature, platform)


def resolve(*uses: ConfigReference) -> tuple[Pin, ...]:
    return resolve_pins(uses, make_client(), FakeClock())


def error_of(*uses: ConfigReference) -> StagepinError:
    with pytest.raises(StagepinError) as caught:
        resolve(*uses)
    return caught.value


class TestFailures:
    @staticmethod
    def kind(status: int) -> type[StagepinError]:
        return {403: AccessDenied, 404: ConfigError, 503: Unavailable}[status]

    def fail(self, registry: FakeRegistry, status: int) -> None:
        if status != 404:
            registry.put_image("base/alpine", "latest")
            registry.fail(status=status, path="/base/", times=None)

    @pytest.mark.parametrize("status", [403, 404])
    def test_missing_or_forbidden_and_in_no_signature_is_a_pin_without_digest(self, registry: FakeRegistry, status: int) -> None:
        self.fail(registry, status)
        (pin,) = resolve(use(reference(registry), in_signature=False))
        assert (pin.digest, pin.platforms, pin.in_signature) == (None, {}, False)
        assert pin.reason.startswith("expected ")

    @pytest.mark.parametrize("status", [403, 404, 503])
    def test_in_a_signature_every_failure_stops_at_the_line_that_names_the_image(self, registry: FakeRegistry, status: int) -> None:
        self.fail(registry, status)
        error = error_of(use(reference(registry)))
        assert type(error) is self.kind(status)
        assert error.where == WHERE

    def test_a_registry_that_gives_no_answer_stops_even_where_nothing_is_signed(self, registry: FakeRegistry) -> None:
        self.fail(registry, 503)
        assert isinstance(error_of(use(reference(registry), in_signature=False)), Unavailable)

    def test_an_image_of_syntax_alone_stops_nothing_whatever_its_registry_says(self, registry: FakeRegistry) -> None:
        self.fail(registry, 503)
        (pin,) = resolve(replace(use(reference(registry), in_signature=False), kind="syntax", platform=None))
        assert (pin.digest, pin.in_signature) == (None, False)
        assert "503" in pin.reason

    def test_one_use_in_a_signature_is_enough(self, registry: FakeRegistry) -> None:
        wanted = reference(registry)
        assert isinstance(error_of(use(wanted, in_signature=False), use(wanted, image="web", line=9)), ConfigError)


class TestIndexes:
    def index(self, registry: FakeRegistry, *platforms: str) -> dict[str, Digest]:
        children = {name: registry.put_image("base/alpine", platform=name) for name in platforms}
        registry.put_index("base/alpine", "latest", children, attestation=True)
        return children

    def test_only_the_platforms_we_build_are_recorded(self, registry: FakeRegistry) -> None:
        children = self.index(registry, "linux/amd64", "linux/arm64", "linux/s390x")
        wanted = reference(registry)
        (pin,) = resolve(use(wanted), use(wanted, platform=ARM, image="web"))
        assert pin.platforms == {DEFAULT_PLATFORM: children["linux/amd64"], ARM: children["linux/arm64"]}
        assert str(pin.digest) == registry.tags["base/alpine", "latest"]

    def test_one_get_by_digest_is_all_an_index_costs(self, registry: FakeRegistry) -> None:
        self.index(registry, "linux/amd64")
        resolve(use(reference(registry)))
        digest = registry.tags["base/alpine", "latest"]
        assert [str(request) for request in registry.requests] == [
            "HEAD /v2/base/alpine/manifests/latest",
            f"GET /v2/base/alpine/manifests/{digest}",
        ]

    def test_a_platform_it_lacks_is_named_with_what_it_has(self, registry: FakeRegistry) -> None:
        self.index(registry, "linux/amd64", "linux/s390x")
        error = error_of(use(reference(registry), platform=ARM))
        assert isinstance(error, InputError)
        assert error.message == f"expected {reference(registry)} for linux/arm64, found it for linux/amd64, linux/s390x"
        assert (error.hint, error.where) == ("choose another base or platform (`--platform`)", WHERE)

    def test_an_index_that_vanished_since_it_was_resolved_may_be_tried_again(self, registry: FakeRegistry) -> None:
        self.index(registry, "linux/amd64")
        digest = Digest(registry.tags["base/alpine", "latest"])
        registry.on_request = lambda request: registry.delete("base/alpine", digest) if request.method == "GET" else None
        error = error_of(use(reference(registry)))
        assert isinstance(error, Unavailable)
        assert error.message == f"expected {reference(registry).at(digest)} to be there, found it absent right after it was resolved"


class TestManifests:
    def test_a_single_manifest_for_one_platform_costs_one_head(self, registry: FakeRegistry) -> None:
        digest = registry.put_image("base/alpine", "latest")
        (pin,) = resolve(use(reference(registry)))
        assert pin.platforms == {DEFAULT_PLATFORM: digest}
        assert [request.method for request in registry.requests] == ["HEAD"]

    def test_a_single_manifest_for_two_platforms_is_looked_into(self, registry: FakeRegistry) -> None:
        registry.put_image("base/alpine", "latest", platform="linux/arm64")
        wanted = reference(registry)
        error = error_of(use(wanted), use(wanted, platform=ARM, image="web", line=9))
        assert error.message == f"expected {wanted} for linux/amd64, found it for linux/arm64"

    def test_something_that_is_no_image_is_said_to_be_none(self, registry: FakeRegistry) -> None:
        registry.blobs[str(Digest.of(b"{}"))] = b"{}"
        config = f'{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{Digest.of(b"{}")}","size":2}}'
        document = f'{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{config},"layers":[]}}'
        registry.put_manifest("base/alpine", "latest", document.encode(), OCI_MANIFEST)
        wanted = reference(registry)
        error = error_of(use(wanted), use(wanted, platform=ARM))
        assert isinstance(error, InputError)
        assert error.message.startswith(f"expected {wanted} to be an image, found something else: expected ")
        assert error.where == WHERE


def test_pins_are_sorted_and_have_every_place_they_stand_at(registry: FakeRegistry) -> None:
    for name in ("base/b", "base/a"):
        registry.put_image(name, "latest")
    b, a = reference(registry, "base/b"), reference(registry, "base/a")
    first, second = resolve(use(b, image="one"), use(a, image="two"), use(b, image="three", line=9))
    assert [str(first.reference), str(second.reference)] == [str(a), str(b)]
    assert [(place.image, place.line) for place in second.origin] == [("one", 5), ("three", 9)]
    assert registry.count() == 2
