"""Mirrors: who is asked, in which order, and in whose name the answer is given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import pytest

from ci_plugin.errors import AccessDenied, AnswerIsNo, Bug, Gone, StagepinError, Unavailable
from ci_plugin.ports import Registry
from ci_plugin.registry.mirrors import MirroredRegistry, place_on_mirror
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import DOCKER_MANIFEST, Descriptor, Manifest, parse_manifest
from ci_plugin.values.reference import Reference, Repository, parse_reference
from tests.fakes.registry import make_image

DATA = make_image().manifest
MANIFEST = parse_manifest(DATA, DOCKER_MANIFEST)
ALPINE = parse_reference("alpine:3.20")
MIRRORS = {"docker.io": ("one.example", "two.example:5000/hub")}
ON_ONE = parse_reference("one.example/library/alpine:3.20")
ON_TWO = parse_reference("two.example:5000/hub/library/alpine:3.20")


@dataclass
class ListedRegistry:
    """Has what it is told, raises what it is told, lacks the rest; ``asked`` holds every reference in order, ``batches`` every resolve."""

    answers: Mapping[str, Manifest | StagepinError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    batches: list[list[str]] = field(default_factory=list)

    def resolve(self, references: Collection[Reference]) -> Mapping[Reference, Descriptor | StagepinError]:
        self.batches.append([str(reference) for reference in references])
        return {reference: self._resolve_one(reference) for reference in references}

    def _resolve_one(self, reference: Reference) -> Descriptor | StagepinError:
        found = self.answers.get(str(reference), Gone(f"expected {reference} in its registry, found nothing"))
        return found.descriptor if isinstance(found, Manifest) else found

    def find_descriptor(self, reference: Reference) -> Descriptor | None:
        found = self.find_manifest(reference)
        return found.descriptor if found else None

    def find_manifest(self, reference: Reference) -> Manifest | None:
        self.asked.append(str(reference))
        found = self.answers.get(str(reference))
        if isinstance(found, StagepinError):
            raise found
        return found

    def get_blob(self, repository: Repository, blob: Descriptor, limit: int) -> bytes:
        found = self.find_manifest(repository.at(blob.digest))
        if found is None:
            raise Gone(f"expected blob {blob.digest} in {repository}, found nothing")
        return found.data

    def put_blob(self, repository: Repository, data: bytes) -> Digest:
        self.asked.append(f"PUT {repository}")
        return Digest.of(data)

    def copy_blob(self, source: Repository, blob: Descriptor, target: Repository) -> None:
        self.asked.append(f"COPY to {target}")
        self.get_blob(source, blob, blob.size)

    def put_manifest(self, reference: Reference, data: bytes, media_type: str, restore: Callable[[], object] | None = None) -> Digest:
        self.asked.append(f"PUT {reference}")
        return Digest.of(data)


def mirrored(inner: ListedRegistry) -> Registry:
    return MirroredRegistry(inner, MIRRORS)


@pytest.mark.parametrize(
    ("text", "mirror", "expected"),
    [
        ("alpine", "mirror.example", "mirror.example/library/alpine:latest"),
        ("alpine", "mirror.example:5000/hub/", "mirror.example:5000/hub/library/alpine:latest"),
        ("alpine", "MIRROR.example", "mirror.example/library/alpine:latest"),
        ("quay.io/a/b:1", "localhost/quay", "localhost/quay/a/b:1"),
        (f"quay.io/a/b:1@{MANIFEST.descriptor.digest}", "m.example", f"m.example/a/b:1@{MANIFEST.descriptor.digest}"),
    ],
)
def test_an_image_has_a_place_on_a_mirror(text: str, mirror: str, expected: str) -> None:
    placed = place_on_mirror(parse_reference(text), mirror)
    assert (str(placed), placed.spelling) == (expected, text)


@pytest.mark.parametrize(
    "mirror", ["", "mirror", "mirror/hub", "http://mirror.example", "mirror.example:port", "a.example/UPPER", "a.example//b"]
)
def test_what_names_no_mirror_is_refused_at_once(mirror: str) -> None:
    with pytest.raises(ValueError, match=r"^expected .*, found "):
        place_on_mirror(ALPINE, mirror)
    with pytest.raises(ValueError, match=r"^expected .*, found "):
        MirroredRegistry(ListedRegistry(), {"quay.io": (mirror,)})


def test_the_first_mirror_that_has_it_answers_in_the_name_of_the_original() -> None:
    inner = ListedRegistry({str(ON_ONE): MANIFEST})
    assert mirrored(inner).resolve([ALPINE]) == {ALPINE: MANIFEST.descriptor}
    assert inner.batches == [[str(ON_ONE)]]


def test_resolving_asks_every_mirror_once_for_all_it_may_have_and_keeps_the_order() -> None:
    busybox, quay = parse_reference("busybox"), parse_reference("quay.io/a/b:1")
    inner = ListedRegistry({str(ON_TWO): MANIFEST, "docker.io/library/busybox:latest": MANIFEST, str(quay): MANIFEST})
    found = mirrored(inner).resolve([busybox, quay, ALPINE, busybox])
    assert list(found) == [busybox, quay, ALPINE]
    assert set(found.values()) == {MANIFEST.descriptor}
    assert inner.batches == [
        ["one.example/library/busybox:latest", str(quay), str(ON_ONE)],
        ["two.example:5000/hub/library/busybox:latest", str(ON_TWO)],
        ["docker.io/library/busybox:latest"],
    ]


def test_two_registries_may_share_a_mirror() -> None:
    inner = ListedRegistry({"m.example/a/b:1": MANIFEST})
    one, two = parse_reference("quay.io/a/b:1"), parse_reference("ghcr.io/a/b:1")
    found = MirroredRegistry(inner, {"quay.io": ("m.example",), "ghcr.io": ("m.example",)}).resolve([one, two])
    assert found == dict.fromkeys([one, two], MANIFEST.descriptor)
    assert inner.batches == [["m.example/a/b:1"]]


REASONS = [Gone("lacks it"), AccessDenied("denies it"), AnswerIsNo("serves other bytes"), Unavailable("is down")]


@pytest.mark.parametrize("reason", REASONS, ids=lambda error: type(error).__name__)
def test_what_a_mirror_lacks_denies_or_cannot_answer_passes_on(reason: StagepinError) -> None:
    inner = ListedRegistry({str(ON_ONE): reason, str(ON_TWO): MANIFEST})
    assert mirrored(inner).resolve([ALPINE])[ALPINE] == MANIFEST.descriptor
    assert mirrored(inner).find_descriptor(ALPINE) == MANIFEST.descriptor
    assert mirrored(inner).find_manifest(ALPINE) == MANIFEST
    assert inner.asked == [str(ON_ONE), str(ON_TWO)] * 2


def test_a_blob_is_read_from_mirrors_too() -> None:
    there = ON_TWO.repository.at(MANIFEST.descriptor.digest)
    inner = ListedRegistry({str(there): MANIFEST})
    assert mirrored(inner).get_blob(ALPINE.repository, MANIFEST.descriptor, 10_000) == DATA
    assert [name.partition("/")[0] for name in inner.asked] == ["one.example", "two.example:5000"]


def test_absence_is_the_word_of_the_host_itself() -> None:
    inner = ListedRegistry()
    assert mirrored(inner).find_manifest(ALPINE) is None
    assert inner.asked == [str(ON_ONE), str(ON_TWO), str(ALPINE)]
    error = mirrored(inner).resolve([ALPINE])[ALPINE]
    assert isinstance(error, Gone)
    assert (error.message, error.hint) == (f"expected {ALPINE} in its registry, found nothing", "")
    with pytest.raises(Gone, match=f"expected blob {Digest.of(b'')} in docker.io/library/alpine, found nothing"):
        mirrored(inner).get_blob(ALPINE.repository, Descriptor(Digest.of(b""), "", 0), 10)


def test_the_last_error_is_the_hosts_own_and_its_hint_names_what_the_mirrors_said() -> None:
    answers = {str(ON_ONE): AccessDenied("expected to be let in by one.example, found status 403")}
    inner = ListedRegistry({**answers, str(ALPINE): Unavailable("expected an answer from docker.io", hint="try again later")})
    expected = "try again later; its mirror one.example: expected to be let in by one.example, found status 403"
    error = mirrored(inner).resolve([ALPINE])[ALPINE]
    assert isinstance(error, Unavailable)
    assert (error.message, error.hint) == ("expected an answer from docker.io", expected)
    error.hint = "try again later"
    with pytest.raises(Unavailable, match=r"expected an answer from docker\.io") as caught:
        mirrored(inner).find_manifest(ALPINE)
    assert caught.value.hint == expected


def test_a_mirror_that_is_down_is_not_asked_for_the_next_image() -> None:
    inner = ListedRegistry({str(ON_ONE): Unavailable("is down"), str(ALPINE): MANIFEST})
    registry = mirrored(inner)
    registry.resolve([ALPINE])
    registry.find_manifest(ALPINE)
    registry.resolve([ALPINE])
    assert inner.asked == [str(ON_TWO), str(ALPINE)]
    assert inner.batches[3:] == [[str(ON_TWO)], [str(ALPINE)]]


def test_our_own_mistake_is_not_passed_over() -> None:
    inner = ListedRegistry({str(ON_ONE): Bug("ours"), str(ON_TWO): MANIFEST})
    with pytest.raises(Bug, match="ours"):
        mirrored(inner).find_manifest(ALPINE)


def test_a_blob_is_copied_from_where_it_can_be_had() -> None:
    target, digest = parse_reference("registry.example/app").repository, MANIFEST.descriptor.digest
    inner = ListedRegistry({str(ON_ONE.repository.at(digest)): Unavailable("is down"), str(ON_TWO.repository.at(digest)): MANIFEST})
    mirrored(inner).copy_blob(ALPINE.repository, MANIFEST.descriptor, target)
    assert [name.partition("/")[0] for name in inner.asked[1::2]] == ["one.example", "two.example:5000"]
    with pytest.raises(Gone, match=f"expected blob {digest} in docker.io/library/alpine"):
        mirrored(ListedRegistry()).copy_blob(ALPINE.repository, MANIFEST.descriptor, target)


def test_a_blob_that_may_be_mounted_is_copied_from_the_host_itself() -> None:
    target = parse_reference("docker.io/me/app").repository
    inner = ListedRegistry({str(ALPINE.repository.at(MANIFEST.descriptor.digest)): MANIFEST})
    mirrored(inner).copy_blob(ALPINE.repository, MANIFEST.descriptor, target)
    assert inner.asked[1:] == [str(ALPINE.repository.at(MANIFEST.descriptor.digest))]


def test_what_is_written_goes_to_the_host_itself() -> None:
    inner = ListedRegistry()
    mirrored(inner).put_blob(ALPINE.repository, b"x")
    mirrored(inner).put_manifest(ALPINE, DATA, DOCKER_MANIFEST)
    assert inner.asked == ["PUT docker.io/library/alpine", f"PUT {ALPINE}"]


def test_a_registry_without_mirrors_is_asked_itself() -> None:
    quay = parse_reference("quay.io/a/b:1")
    inner = ListedRegistry({str(quay): MANIFEST})
    assert mirrored(inner).find_manifest(quay) == MANIFEST
    assert inner.asked == [str(quay)]
