"""Resolving: which failures become a pin without digest, and what an index must have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ci_plugin.config.references import ConfigReference
from ci_plugin.errors import AccessDenied, ConfigError, InputError, Location, StagepinError, Unavailable
from ci_plugin.pins.pin_set import Pin
from ci_plugin.services.resolving import Patience, resolve_pins
from ci_plugin.values.digest import Digest
from ci_plugin.values.platform import DEFAULT_PLATFORM, Platform, parse_platform
from ci_plugin.values.reference import Reference, parse_reference
from tests.fakes.clock import FakeClock
from tests.fakes.registry import OCI_MANIFEST, FakeRegistry, Request
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

    def test_an_index_that_several_references_name_is_read_once(self, registry: FakeRegistry) -> None:
        children = self.index(registry, "linux/amd64", "linux/arm64")
        registry.tags["base/alpine", "3.20"] = registry.tags["base/alpine", "latest"]
        named = [reference(registry, name) for name in ("base/alpine", "base/alpine:3.20")]
        pins = resolve(*map(use, named), use(named[1], platform=ARM, image="web"))
        assert [registry.count("HEAD"), registry.count("GET")] == [2, 1]
        amd64, both = {DEFAULT_PLATFORM: children["linux/amd64"]}, {DEFAULT_PLATFORM: children["linux/amd64"], ARM: children["linux/arm64"]}
        assert {str(pin.reference): pin.platforms for pin in pins} == {str(named[0]): amd64, str(named[1]): both}

    def test_a_platform_it_lacks_is_named_with_what_it_has(self, registry: FakeRegistry) -> None:
        self.index(registry, "linux/amd64", "linux/s390x")
        error = error_of(use(reference(registry), platform=ARM))
        assert isinstance(error, InputError)
        assert error.message == f"expected {reference(registry)} for linux/arm64, found it for linux/amd64, linux/s390x"
        assert (error.hint, error.where) == ("choose another base or platform (`--platform`)", WHERE)

    def test_all_platforms_it_lacks_are_named_at_once(self, registry: FakeRegistry) -> None:
        self.index(registry, "linux/amd64")
        wanted = [parse_platform(name) for name in ("linux/amd64", "linux/arm64", "linux/s390x")]
        error = error_of(*(use(reference(registry), platform=platform) for platform in wanted))
        assert error.message == f"expected {reference(registry)} for linux/arm64, linux/s390x, found it for linux/amd64"

    def test_an_index_that_vanished_since_it_was_resolved_may_be_tried_again(self, registry: FakeRegistry) -> None:
        self.index(registry, "linux/amd64")
        digest = Digest(registry.tags["base/alpine", "latest"])
        registry.on_request = lambda request: registry.delete("base/alpine", digest) if request.method == "GET" else None
        error = error_of(use(reference(registry)))
        assert isinstance(error, Unavailable)
        assert error.message == f"expected {reference(registry).at(digest)} to be there, found it absent right after it was resolved"


class TestPatience:
    """An index is often pushed before the last platform's image is in it."""

    def pin(self, registry: FakeRegistry, seconds: float, *uses: ConfigReference) -> tuple[Pin, ...]:
        self.clock, self.told = FakeClock(), list[str]()
        return resolve_pins(uses, make_client(), self.clock, Patience(seconds, self.told.append))

    def index(self, registry: FakeRegistry, name: str, *platforms: str) -> Digest:
        children = {platform: registry.put_image(name, platform=platform) for platform in platforms}
        return registry.put_index(name, "latest", children)

    def complete_after(self, registry: FakeRegistry, heads: int, *names: str) -> None:
        """Each index gets its second platform when it was asked for that often."""

        def on_request(request: Request) -> None:
            for name in names:
                if registry.count("HEAD", f"/{name}/") > heads:
                    self.index(registry, name, "linux/amd64", "linux/arm64")

        registry.on_request = on_request

    def test_an_index_that_is_being_completed_is_waited_for_and_people_are_told_once(self, registry: FakeRegistry) -> None:
        first = self.index(registry, "base/alpine", "linux/amd64")
        self.complete_after(registry, 3, "base/alpine")
        (pin,) = self.pin(registry, 10, use(reference(registry), platform=ARM))
        assert list(pin.platforms) == [ARM]
        assert pin.digest not in (first, None)
        assert str(pin.digest) == registry.tags["base/alpine", "latest"]
        assert self.clock.slept == [1, 2, 4]
        assert self.told == [f"{reference(registry)} has no linux/arm64 yet: asking again for up to 10 s"]
        assert registry.count("HEAD") == 4
        # The incomplete index and the complete one; asking again what has not moved costs its HEAD.
        assert registry.count("GET") == 2

    def test_the_wait_is_bounded_for_all_of_them_together_and_then_says_what_there_is(self, registry: FakeRegistry) -> None:
        names = ("base/a", "base/b", "base/c")
        for name in names:
            self.index(registry, name, "linux/amd64")
        with pytest.raises(InputError) as caught:
            self.pin(registry, 10, *(use(reference(registry, name), platform=ARM) for name in names))
        expected = f"expected {reference(registry, 'base/a')} for linux/arm64, found it for linux/amd64 (10 s later still)"
        assert caught.value.message == expected
        assert caught.value.where == WHERE
        assert self.clock.slept == [1, 2, 4, 3]
        assert len(self.told) == 1
        assert all(str(reference(registry, name)) in self.told[0] for name in names)

    def test_what_is_complete_is_not_asked_again(self, registry: FakeRegistry) -> None:
        self.index(registry, "base/a", "linux/amd64", "linux/arm64")
        self.index(registry, "base/b", "linux/amd64")
        self.complete_after(registry, 1, "base/b")
        pins = self.pin(registry, 10, *(use(reference(registry, name), platform=ARM) for name in ("base/a", "base/b")))
        assert [str(pin.reference) for pin in pins] == [str(reference(registry, name)) for name in ("base/a", "base/b")]
        assert (registry.count(path="/base/a/"), self.clock.slept) == (2, [1])

    def test_without_patience_or_for_a_single_manifest_nobody_waits(self, registry: FakeRegistry) -> None:
        self.index(registry, "base/alpine", "linux/amd64")
        with pytest.raises(InputError, match=r"found it for linux/amd64$"):
            self.pin(registry, 0, use(reference(registry), platform=ARM))
        assert (self.clock.slept, self.told) == ([], [])
        registry.put_image("base/one", "latest", platform="linux/s390x")
        wanted = reference(registry, "base/one")
        with pytest.raises(InputError, match=r"found it for linux/s390x$"):
            self.pin(registry, 10, use(wanted), use(wanted, platform=ARM))
        assert (self.clock.slept, self.told) == ([], [])

    def test_an_index_that_goes_away_meanwhile_is_said_to_be_gone(self, registry: FakeRegistry) -> None:
        digest = self.index(registry, "base/alpine", "linux/amd64")
        registry.on_request = lambda request: registry.delete("base/alpine", digest) if registry.count("HEAD") > 1 else None
        with pytest.raises(ConfigError, match="in its registry, found nothing"):
            self.pin(registry, 10, use(reference(registry), platform=ARM))


def test_one_tag_that_moves_at_every_request_is_one_digest_for_all_who_name_it(registry: FakeRegistry) -> None:
    built: list[tuple[str, dict[str, Digest]]] = []

    def move(_request: object = None) -> None:
        seed = str(len(built))
        children = {name: registry.put_image("base/alpine", platform=name, seed=seed) for name in ("linux/amd64", "linux/arm64")}
        built.append((str(registry.put_index("base/alpine", "latest", children)), children))

    move()
    registry.on_request = move
    wanted = reference(registry)
    spelled = [parse_reference(f"{registry.address}/{name}") for name in ("base/alpine", "base/alpine:latest")]
    (pin,) = resolve(use(wanted), *(use(one, image="web", line=9, platform=ARM) for one in spelled))
    assert len(built) > 2
    assert pin.platforms == {
        DEFAULT_PLATFORM: dict(built)[str(pin.digest)]["linux/amd64"],
        ARM: dict(built)[str(pin.digest)]["linux/arm64"],
    }


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
