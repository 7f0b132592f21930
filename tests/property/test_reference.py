"""References: what is parsed is written back as itself, and Docker's own grammar agrees wherever ours does not differ on purpose.

Where we differ from distribution/reference, and why (each has a test in tests/unit/values/test_reference.py):

1. A registry is lower case (host names have no case); a first part with capitals but neither dot nor port is refused, because written
   in lower case it would be a path on Docker Hub.
2. ``registry-1.docker.io`` is Docker Hub.
3. A port is 1-65535.
4. The limit of 255 characters covers registry and path together.
5. Digests are sha256 or sha512.
6. Text after the name is refused, never cut: the other package reads ``alpine\\n`` as ``alpine``.
"""

from __future__ import annotations

from docker_image import digest as their_digest
from docker_image import reference as theirs
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.platform import Platform, parse_platform
from ci_plugin.values.reference import Reference, Repository, parse_reference, parse_repository
from tests.property.strategies import hex_text, platforms, references, repositories

modest = settings(max_examples=150, deadline=None)
_PIECES = (
    "a b1 library docker.io localhost registry.example.com A Foo : : / / . - _ __ @ :5000 :latest :v1.0 [::1] é 0 :0/ index.docker.io -- .."
)
_pieces = st.sampled_from([*_PIECES.split(), " ", "sha256", "@sha256:" + "a" * 64, "ab" * 32])
spellings = st.lists(_pieces, min_size=1, max_size=7).map("".join)


@given(reference=references())
@modest
def test_a_reference_is_parsed_from_its_own_text(reference: Reference) -> None:
    assert parse_reference(str(reference)) == reference


@given(repository=repositories(), seed=hex_text(64))
@modest
def test_a_repository_is_parsed_from_its_own_text(repository: Repository, seed: str) -> None:
    assert parse_repository(str(repository)) == repository
    assert parse_reference(str(repository.at(Digest(f"sha256:{seed}")))).repository == repository
    assert parse_reference(str(repository.tagged("v1"))) == repository.tagged("v1")


@given(platform=platforms)
@modest
def test_a_platform_is_parsed_from_its_own_text(platform: Platform) -> None:
    assert parse_platform(str(platform)) == platform


@given(text=spellings)
@example("Foo/bar")
@example("LOCALHOST/a")
@modest
def test_normalising_twice_changes_nothing(text: str) -> None:
    reference = _parse(text)
    if reference is not None:
        assert parse_reference(str(reference)) == reference
        assert reference.spelling == text


@given(text=spellings)
@example("a" * 64)
@example("docker.io/a")
@example("a/b:c@sha256:" + "a" * 64)
@settings(max_examples=500, deadline=None)
def test_dockers_grammar_agrees_where_we_do_not_differ_on_purpose(text: str) -> None:
    ours, other = _parse(text), _parse_theirs(text)
    if ours is None and other is not None:
        assert _differs_on_purpose(other), f"only we refuse {text!r}"
    if ours is not None:
        assert other is not None, f"only we take {text!r} as {ours}"
        assert (ours.repository.registry, ours.repository.path) == _normalised(other)
        assert (ours.tag, ours.digest) == (other["tag"] or (None if other["digest"] else "latest"), _digest(other["digest"]))


@given(text=st.text(max_size=20))
@modest
def test_any_text_is_a_reference_or_a_value_error(text: str) -> None:
    reference = _parse(text)
    assert reference is None or str(reference).isprintable()


@given(text=st.one_of(st.from_regex(r"\A[a-z0-9]{3,7}:[0-9a-fA-F]{62,66}\Z"), st.text(max_size=80), hex_text(64).map("sha256:{}".format)))
@modest
def test_digests_and_image_ids_take_what_dockers_validation_takes(text: str) -> None:
    try:
        their_digest.validate_digest(text)
    except their_digest.InvalidDigest:
        is_valid = False
    else:
        is_valid = not text.startswith("sha384:")
    assert (_digest(text, strict=False) is not None) is is_valid
    assert not is_valid or len({ImageId(text), Digest(text)}) == 2


def _parse(text: str) -> Reference | None:
    try:
        return parse_reference(text)
    except ValueError:
        return None


def _parse_theirs(text: str) -> theirs.Reference | None:
    try:
        return theirs.Reference.parse_normalized_named(text)
    except (theirs.InvalidReference, their_digest.InvalidDigest):
        return None


def _normalised(other: theirs.Reference) -> tuple[str, str]:
    registry, path = other.domain().lower(), other.path()
    if registry in ("registry-1.docker.io", "index.docker.io", "docker.io"):
        return "docker.io", path if "/" in path else f"library/{path}"
    return registry, path


def _differs_on_purpose(other: theirs.Reference) -> bool:
    registry, path = other.domain(), other.path()
    port = registry.rpartition(":")[2]
    if port.isdigit() and not 0 < int(port) < 65536:
        return True
    has_no_mark = not ({".", ":"} & set(registry)) and registry.lower() != "localhost"
    return (registry != registry.lower() and has_no_mark) or len(registry) + 1 + len(path) > 255


def _digest(text: str | None, *, strict: bool = True) -> Digest | None:
    if text is None:
        return None
    try:
        return Digest(text)
    except ValueError:
        assert not strict, text
        return None
