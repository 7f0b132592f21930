"""Dockerfiles: every external image a target reaches, nothing else; pinned in place; content and context told from the text."""

from __future__ import annotations

import pytest

from ci_plugin.config.dockerfile import Dockerfile, DockerfileReference, parse_dockerfile
from ci_plugin.errors import ConfigError
from ci_plugin.values.digest import Digest
from ci_plugin.values.reference import Reference
from tests.unit.config.sources import snippet

DIGEST = Digest.of(b"base")


def parse(text: str) -> Dockerfile:
    return parse_dockerfile(text.encode(), "Dockerfile")


def base_of(dockerfile: Dockerfile, target: str | None = None) -> str:
    use = dockerfile.base_use(target)
    assert use is not None
    return str(use.reference)


def told(text: str, target: str | None = None, **build_args: str) -> list[str]:
    return [f"{item.kind} {item.reference} {item.location.line}" for item in parse(text).references(target, build_args)]


def refuse(text: str, target: str | None = None, **build_args: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text).references(target, build_args)
    assert caught.value.hint
    return f"{caught.value.where}: {caught.value.message} | {caught.value.hint}"


def by_digest(item: DockerfileReference) -> Reference:
    return item.reference.at(DIGEST)


def test_the_dockerfiles_of_the_documentation_mean_what_they_say() -> None:
    scratch, debian = parse(snippet("Dockerfile.scratch")), parse(snippet("Dockerfile.debian"))
    assert [item.kind for item in scratch.references()] == ["syntax"]
    assert scratch.base_use() is None
    assert scratch.context_use().patterns == ("hello",)
    assert base_of(debian) == "docker.io/library/debian:latest"


def test_every_kind_of_external_image_is_found_with_its_line() -> None:
    text = (
        "# syntax=docker/dockerfile:1\nFROM golang AS build\nRUN --mount=type=bind,from=busybox:1,target=/b \\\n"
        "  --mount=from=redis true\nFROM alpine\nCOPY --from=build /a /a\nCOPY --from=0 /a /a\nCOPY --from=nginx:1 /n /n\n"
        "ONBUILD COPY --from=postgres x x\n"
    )
    assert told(text) == [
        "syntax docker.io/docker/dockerfile:1 1",
        "from docker.io/library/golang:latest 2",
        "mount-from docker.io/library/busybox:1 3",
        "mount-from docker.io/library/redis:latest 4",
        "from docker.io/library/alpine:latest 5",
        "copy-from docker.io/library/nginx:1 8",
        "copy-from docker.io/library/postgres:latest 9",
    ]


def test_stages_the_target_does_not_reach_do_not_count() -> None:
    text = "FROM a AS one\nFROM b AS two\nFROM two AS Three\nFROM c AS four\n"
    assert told(text, "three") == ["from docker.io/library/b:latest 2"]
    assert told(text, "0") == ["from docker.io/library/a:latest 1"]
    assert base_of(parse(text), "THREE") == "docker.io/library/b:latest"


@pytest.mark.parametrize(
    ("text", "build_args", "reference"),
    [
        ("ARG V=1\nFROM a:$V", {}, "a:1"),
        ("ARG V=1\nFROM a:$V", {"V": "2"}, "a:2"),
        ("ARG V\nFROM a:${V:-3}", {}, "a:3"),
        ("ARG V=\nFROM a:${V:-3}", {}, "a:3"),
        ("ARG V=1\nFROM a${V:+:x}", {}, "a:x"),
        ("FROM a${V:+:$U}", {}, "a"),
        ("ARG R=a\nARG V=${R}1\nFROM $R/$V", {}, "a/a1"),
        ('ARG V="1"\nFROM "a":\'$V\'x', {}, "error"),
        ('ARG V="1"\nFROM "a:$V"', {}, "a:1"),
        ("FROM a-$TARGETARCH", {"TARGETARCH": "arm64"}, "a-arm64"),
        ("ARG TARGETARCH\nFROM a-$TARGETARCH", {"TARGETARCH": "arm64"}, "a-arm64"),
        ("FROM a:$V", {"V": "1"}, "error"),
    ],
)
def test_variables_of_from_are_expanded_with_defaults_and_build_arguments(text: str, build_args: dict[str, str], reference: str) -> None:
    if reference == "error":
        with pytest.raises(ConfigError):
            parse(text).references(None, build_args)
    else:
        assert [item.reference.spelling for item in parse(text).references(None, build_args)] == [reference]


BAD = {
    "no FROM": ("# nothing\n", "Dockerfile:1: expected a FROM, found none", "begin with FROM"),
    "an instruction before FROM": ("RUN x\nFROM a", "Dockerfile:1: expected ARG or FROM first, found RUN", "below"),
    "an unknown instruction": ("FROM a\nRUNN x", "Dockerfile:2: expected a Dockerfile instruction, found 'RUNN x'", "did you mean RUN?"),
    "a FROM of another shape": ("FROM a b", "Dockerfile:1: expected FROM IMAGE or FROM IMAGE AS NAME", "stage name"),
    "an undefined ARG": ("FROM a\nFROM b:${V}", "Dockerfile:2: expected a value for every variable of FROM b:${V}", "--build-arg V=…"),
    "a required ARG": ("FROM b:${V:?say-it}", "V is not set: say-it", "--build-arg V"),
    "a pattern that is none": ("ARG V=1\nFROM b:${V#\\x}", "does not compute a backslash before 'x' in a pattern", "${X#…}"),
    "another form": ("ARG V=1\nFROM b:${V^^}", "does not compute ${V^…}", "${X:-default}"),
    "a reference that is none": ("FROM Alpine:3", "Dockerfile:1: expected a repository of lower-case letters", "name:tag"),
    "a variable in COPY --from": (
        "FROM a\nCOPY --from=$X a b",
        "Dockerfile:2: expected a stage above or an image, found '$X': the builder expands no variable here",
        "FROM $X AS name",
    ),
    "a stage number that is not there": (
        "FROM a\nCOPY --from=7 a b",
        "Dockerfile:2: expected a stage above or an image, found the number 7: this file has 1 stages",
        "count from 0",
    ),
    "an open here-document": ("FROM a\nRUN <<EOF\nx\n", "Dockerfile:2: expected the here-document to end with a line 'EOF'", "add it"),
    "another escape": ("# escape=x\nFROM a", "Dockerfile:1: expected `# escape=`", "one of the two"),
    "a NUL": ("FROM a\0", "Dockerfile:1: expected text, found a NUL byte", "binary"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_dockerfiles_are_told_with_line_and_way_out(name: str) -> None:
    text, message, hint = BAD[name]
    found = refuse(text)
    assert message in found
    assert hint in found


def test_an_unknown_target_names_the_nearest_stage() -> None:
    assert "did you mean 'build'?" in refuse("FROM a AS build\n", "biuld")


def test_references_that_cannot_be_told_are_listed_with_their_reason() -> None:
    found, unresolved = parse("FROM a:$V AS one\nCOPY --from=nginx x y\nCOPY --from=$Z x y\n").find_references()
    assert [str(item.reference) for item in found] == ["docker.io/library/nginx:latest"]
    assert [(item.spelling, item.kind, item.location and item.location.line) for item in unresolved] == [
        ("a:$V", "from", 1),
        ("$Z", "copy-from", 3),
    ]
    assert "V is not set" in unresolved[0].reason


def test_pinning_replaces_the_operands_and_nothing_else() -> None:
    text = (
        "\ufeff# syntax=docker/dockerfile:1\r\nARG V=3\r\n# FROM alpine\r\nFROM --platform=linux/arm64  al\\\r\npine:${V}   AS x\r\n"
        'RUN --mount=type=bind,"from=busybox",target=/b <<E\r\nFROM alpine\r\nE\r\nCOPY --from="nginx:1" a b\r\n'
    )
    alpine, busybox, nginx = (f"docker.io/library/{name}@{DIGEST}" for name in ("alpine", "busybox", "nginx"))
    expected = text.replace("al\\\r\npine:${V}", alpine).replace("from=busybox", f"from={busybox}").replace("nginx:1", nginx)
    pinned = parse_dockerfile(text.encode(), "Dockerfile").pinned(by_digest)
    assert pinned == expected
    assert {str(item.reference) for item in parse(pinned).references() if item.kind != "syntax"} == {alpine, busybox, nginx}


def test_stages_the_target_does_not_reach_can_be_blanked() -> None:
    text = "FROM a AS one\nRUN x\n\nFROM b\nFROM c AS three\nCOPY --from=1 a b\n"
    pinned = parse(text).pinned(by_digest, blank_unreached=True)
    assert (
        pinned
        == f"FROM scratch AS one\n\n\nFROM docker.io/library/b@{DIGEST}\nFROM docker.io/library/c@{DIGEST} AS three\nCOPY --from=1 a b\n"
    )


def test_the_platform_of_a_from_is_told() -> None:
    text = "FROM --platform=$BUILDPLATFORM a AS b\nFROM --platform=linux/arm64 c\nCOPY --from=b x x\n"
    assert [(item.by_build_platform, item.platform) for item in parse(text).references()] == [(True, None), (False, "linux/arm64")]


def test_respelling_leaves_the_instructions_as_they_are() -> None:
    one = "# c\nFROM golang:latest AS build\nRUN a && \\\n b\nFROM alpine\nCOPY --from=build a b\nCOPY --from=nginx a b\n"
    two = "FROM unused\nfrom docker.io/library/golang as b\nRUN a && \\\n# c\n b\n\nFROM alpine:latest\n"
    two += "copy --from=1 a b\nCOPY --from=nginx:latest a b"
    assert parse(one).instructions() == parse(two).instructions()


@pytest.mark.parametrize(
    "other", ["FROM a\nRUN y\n", "FROM b\nRUN x\n", "FROM a\nRUN x\nUSER 1\n", "FROM a\nRUN <<E\nx\nE\n", "FROM a AS x\nRUN x\nFROM x\n"]
)
def test_other_content_gives_other_instructions(other: str) -> None:
    assert parse("FROM a\nRUN x\n").instructions() != parse(other).instructions()


def test_here_documents_are_part_of_the_instructions() -> None:
    assert parse("FROM a\nRUN <<E\nx\nE\n").instructions() != parse("FROM a\nRUN <<E\ny\nE\n").instructions()


def test_build_arguments_are_those_the_reached_stages_declare() -> None:
    text = "ARG G=1\nARG H=2\nFROM a AS x\nARG X=0\nFROM b\nARG G\nARG D=4\nARG U\n"
    assert parse(text).build_arg_values(None, {"D": "5", "OTHER": "6"}) == (("D", "5"), ("G", "1"))


@pytest.mark.parametrize(
    ("body", "patterns"),
    [
        ("COPY a b/ ./c /d", ("a", "b", "c")),
        ('COPY ["a b", "/c"]', ("a b",)),
        ("COPY --chown=1 src/*.go /x", ("src/*.go",)),
        ("ADD https://example.com/x git@github.com:a/b.git c /d", ("c",)),
        ("COPY --from=nginx a b", ()),
        ("COPY <<E x /d\ntext\nE", ("x",)),
        ("ENV D=src\nCOPY $D/x /d", ("src/x",)),
        ("RUN --mount=type=bind,source=go.mod,target=/x true", ("go.mod",)),
        ("RUN --mount=type=cache,target=/x true", ()),
        ("ONBUILD COPY later /d", ("later",)),
    ],
)
def test_the_context_that_is_read_is_told_by_patterns(body: str, patterns: tuple[str, ...]) -> None:
    use = parse(f"FROM a\n{body}\n").context_use()
    assert (use.patterns, use.whole) == (patterns, False)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("COPY . /d", "COPY . reads the whole build context"),
        ("ADD / /d", "ADD / reads the whole build context"),
        ("COPY a/.. /d", "reads the whole build context"),
        ("RUN --mount=target=/x true", "RUN --mount of the whole build context"),
        ("COPY $X /d", "the ENV of the base image may set X"),
        ("ARG X=a\nCOPY $X /d", "the ENV of the base image may set X"),
        ("ENV X=$Y\nCOPY $X /d", "X is set from a variable the file does not know"),
    ],
)
def test_what_cannot_be_bounded_is_the_whole_context_with_the_reason(body: str, reason: str) -> None:
    use = parse(f"FROM a\n{body}\n").context_use()
    assert use.whole
    assert reason in use.reason
    assert use.reason.startswith("Dockerfile:")


def test_on_scratch_an_argument_is_what_the_file_says() -> None:
    text = "FROM scratch AS one\nENV E=e\nFROM one\nARG X=a\nCOPY $X $E /d\n"
    assert parse(text).context_use().patterns == ("a", "e")
    assert parse(text).context_use(None, {"X": "b"}).patterns == ("b", "e")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("RUN --mount=type=cache,target=/x true", "RUN --mount"),
        ("RUN <<E\nx\nE", "a here-document in RUN"),
        ("COPY --link a b", "COPY --link"),
        ("COPY --chmod=755 a b", "COPY --chmod"),
        ("FROM --platform=$BUILDPLATFORM b", "--platform=$BUILDPLATFORM"),
    ],
)
def test_what_only_buildkit_builds_is_told(body: str, reason: str) -> None:
    told = parse(f"FROM a\n{body}\n").needs_buildkit
    assert told is not None
    assert told.startswith("Dockerfile:2")
    assert reason in told


def test_a_plain_dockerfile_needs_no_buildkit() -> None:
    assert parse("FROM a\nCOPY --from=b --chown=1 c d\nRUN x\n").needs_buildkit is None
