"""Hypothesis strategies for our value types and documents: every value they give is one the parsers take back unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ci_plugin.pins.git_pin import GitPin
from ci_plugin.pins.pin_set import ORIGIN_KINDS, Origin, Pin, PinSet
from ci_plugin.records.build_record import BaseRecord, BaseState, BuildRecord, BuiltBy, ImageRecord, PlatformRecord, StageRecord
from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.pipeline import PipelineId, Scope
from ci_plugin.values.platform import Platform, parse_platform
from ci_plugin.values.reference import Reference, Repository, parse_reference

_HEX = "0123456789abcdef"
_T = TypeVar("_T")

texts = st.text(st.characters(codec="utf-8"), max_size=20)
"""Any text that has UTF-8 bytes."""


def hex_text(size: int) -> SearchStrategy[str]:
    """Lower-case hex: few distinct ones made from a short seed, so that examples stay small."""
    return st.text(_HEX, min_size=1, max_size=6).map(lambda seed: (seed * size)[:size])


signatures = hex_text(64)
commits = st.one_of(hex_text(40), hex_text(64))
_hash_texts = st.one_of(hex_text(64).map("sha256:{}".format), hex_text(128).map("sha512:{}".format))
digests: SearchStrategy[Digest] = _hash_texts.map(Digest)
image_ids: SearchStrategy[ImageId] = _hash_texts.map(ImageId)
platforms: SearchStrategy[Platform] = st.sampled_from(
    ["linux/amd64", "linux/arm64", "linux/arm", "linux/arm/v6", "linux/386", "linux/s390x", "windows/amd64", "linux/amd64/v3"]
).map(parse_platform)
times: SearchStrategy[datetime] = st.datetimes(timezones=st.just(UTC)).map(lambda time: time.replace(microsecond=0))
scopes: SearchStrategy[Scope] = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,40}\Z").map(Scope)
pipelines: SearchStrategy[PipelineId] = st.builds(
    PipelineId, st.sampled_from(["gitlab", "github", "local"]), texts, st.from_regex(r"\A\d{0,9}\Z"), texts, texts
)

registries = st.one_of(
    st.sampled_from(["docker.io", "localhost", "localhost:5000", "registry.example.com", "ghcr.io:443", "[::1]:5000", "10.0.0.1:80"]),
    st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?(\.[a-z0-9]{1,4}){1,2}(:[1-9][0-9]{0,3})?\Z"),
)
paths = st.from_regex(r"\A[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,4}){0,2}\Z")
tags = st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}\Z")


@st.composite
def repositories(draw: st.DrawFn) -> Repository:
    """Normalised: on Docker Hub there are always two parts."""
    registry, path = draw(registries), draw(paths)
    return Repository(registry, path if registry != "docker.io" or "/" in path else f"library/{path}")


@st.composite
def references(draw: st.DrawFn) -> Reference:
    """With a tag, a digest, or both."""
    repository, tag, digest = draw(repositories()), draw(st.none() | tags), draw(st.none() | digests)
    reference = Reference(repository, tag or (None if digest else "latest"), digest)
    return parse_reference(str(reference))


def tuples_of(items: SearchStrategy[_T], most: int = 3) -> SearchStrategy[tuple[_T, ...]]:
    """Short tuples."""
    return st.lists(items, max_size=most).map(tuple)


origins = st.builds(Origin, st.sampled_from(ORIGIN_KINDS), texts, texts, st.none() | st.integers(1, 2**53 - 1))


@st.composite
def pins(draw: st.DrawFn, reference: Reference | None = None) -> Pin:
    """Resolved or, with a reason, not."""
    reference = reference or draw(references())
    in_signature, time, origin = draw(st.booleans()), draw(times), draw(tuples_of(origins))
    if draw(st.integers(0, 4)) == 0:
        return Pin(reference, None, "", 0, {}, in_signature, time, origin, reason=draw(texts))
    by_platform: Mapping[Platform, Digest] = draw(st.dictionaries(platforms, digests, max_size=3))
    return Pin(reference, draw(digests), draw(texts), draw(st.integers(0, 2**53 - 1)), by_platform, in_signature, time, origin)


git_urls = st.sampled_from(["https://git.example.com/a.git", "ssh://git@h:22/b", "git@h:c.git", "/srv/d e", "file:///srv/f", "git://h/g"])
git_refs = st.one_of(commits, st.from_regex(r"\Arefs/(heads|tags)/[a-z0-9]{1,5}(/[\u00e0-\u00ff.-]{0,3}x)?\Z"))


@st.composite
def git_pins(draw: st.DrawFn, url: str, ref: str) -> GitPin:
    """The pin of a branch or tag, or of a commit, which means itself."""
    origin = draw(tuples_of(st.builds(Origin, st.just("git"), texts, texts, st.none() | st.integers(1, 2**40))))
    return GitPin(url, ref, draw(commits) if ref.startswith("refs/") else ref, draw(times), origin)


@st.composite
def pin_sets(draw: st.DrawFn) -> PinSet:
    """Up to four pins, sorted."""
    chosen = sorted(draw(st.lists(references(), max_size=4, unique=True)), key=str)
    return PinSet(
        tool=draw(texts),
        scope=draw(scopes),
        pipeline=draw(pipelines),
        commit=draw(commits),
        created_at=draw(times),
        images=draw(tuples_of(texts)),
        pins=tuple(draw(pins(reference)) for reference in chosen),
        git=tuple(draw(git_pins(url, ref)) for url, ref in sorted(draw(st.sets(st.tuples(git_urls, git_refs), max_size=2)))),
    )


bases = st.builds(BaseRecord, st.none() | references().map(str), st.none() | digests, st.sampled_from(list(BaseState)), tuples_of(digests))
seconds = st.integers(0, 10_000_000).map(lambda thousandths: thousandths / 1000)
stages = st.builds(StageRecord, texts, signatures, st.none() | digests, st.booleans(), seconds, tuples_of(st.tuples(texts, signatures)))
built_by = st.builds(BuiltBy, texts, commits)
platform_records = st.builds(PlatformRecord, signatures, st.none() | digests, image_ids, built_by, bases, tuples_of(stages, 2))


@st.composite
def image_records(draw: st.DrawFn) -> ImageRecord:
    """In a repository, or in ``:local`` without reference and digest."""
    digest = draw(st.none() | digests)
    reference = parse_reference(str(draw(repositories()).at(digest))) if digest else None
    by_platform: Mapping[Platform, PlatformRecord] = draw(st.dictionaries(platforms, platform_records, min_size=1, max_size=2))
    return ImageRecord(reference, digest, draw(texts), draw(tuples_of(texts)), by_platform)


image_names = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9./_-]{0,10}\Z")
build_records: SearchStrategy[BuildRecord] = st.builds(
    BuildRecord,
    scopes,
    pipelines,
    commits,
    st.none() | repositories(),
    digests.map(str),
    st.booleans(),
    st.booleans(),
    st.dictionaries(image_names, image_records(), max_size=2),
)
