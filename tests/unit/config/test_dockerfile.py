"""Dockerfiles: every external image a target reaches, nothing else; pinned in place; content and context told from the text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.config.dockerfile import Dockerfile, DockerfileReference, parse_dockerfile
from ci_plugin.config.dockerfile_expand import NotKnown, expand
from ci_plugin.errors import ConfigError
from ci_plugin.values.digest import Digest
from ci_plugin.values.reference import Reference
from tests.unit.config.sources import snippet

DIGEST = Digest.of(b"base")
EXPANSIONS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "data" / "config" / "expansions.json").read_text())
"""Texts, what BuildKit's own ``shell`` package made of them (null: refused), and which of their variables it had no value for."""


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


@pytest.mark.parametrize("row", EXPANSIONS["texts"], ids=lambda row: row["escape"] + " " + row["text"])
def test_variables_are_expanded_as_buildkits_own_package_does(row: dict[str, Any]) -> None:
    found, reason = _expanded(row)
    is_unset_on_purpose = bool(row["unset"]) and reason.endswith(" is not set")
    assert found == (None if is_unset_on_purpose else row["result"]), reason


def _expanded(row: dict[str, Any]) -> tuple[str | None, str]:
    try:
        return expand(row["text"], EXPANSIONS["values"].get, row["escape"]), ""
    except NotKnown as error:
        return None, error.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("FROM a:${BUILDARCH:-x}", "BUILDARCH is set by the builder, and stagepin was not told it"),
        ("ARG P=$BUILDARCH\nFROM a:${P-x}", "BUILDARCH is set by the builder, and stagepin was not told it"),
        ("ARG V=1$U\nFROM a:${V:-2}", "U is not set"),
        ("ARG TARGETARCH=amd64\nFROM a:$TARGETARCH", "the file says TARGETARCH=amd64 and the build TARGETARCH=arm64"),
        ("FROM --platform=$NOPE a", "NOPE is not set"),
        ("ARG P=\nFROM --platform=$P a", "--platform=$P is empty"),
        ("ARG A=" + "x" * 50 + "\n" + "ARG A=$A$A\n" * 40 + "FROM a:$A", "it grows beyond 65536 characters"),
        ("FROM a:" + "${X:-" * 60 + "1" + "}" * 60, "it nests too deep"),
        (
            "ARG V=" + "a" * 2000 + "\nFROM ${V%%" + "*a" * 2000 + "b}",
            "stagepin does not compute a pattern of 4001 characters over a value of 2000",
        ),
    ],
)
def test_what_a_from_means_is_never_guessed(text: str, reason: str) -> None:
    _, unresolved = parse(text).find_references(None, {"TARGETARCH": "arm64", "TARGETPLATFORM": "linux/arm64"})
    assert [reason in item.reason for item in unresolved] == [True], unresolved


@pytest.mark.parametrize(
    "first", ["", "ARG BUILDPLATFORM\n", "ARG P=$BUILDPLATFORM\n", "ARG P=${BUILDPLATFORM}\n", "ARG P=${BUILDPLATFORM:-linux/amd64}\n"]
)
@pytest.mark.parametrize("platform", ["$BUILDPLATFORM", "${BUILDPLATFORM:-linux/arm64}", "linux/$BUILDARCH", "$P"])
def test_the_engines_own_platform_is_known_by_whatever_way_it_comes(first: str, platform: str) -> None:
    found, unresolved = parse(f"{first}FROM --platform={platform} a").find_references()
    if "ARG P" not in first and platform == "$P":
        assert "P is not set" in unresolved[0].reason
    else:
        assert [(item.by_build_platform, item.platform) for item in found] == [(True, None)]


def test_a_platform_that_is_said_is_no_longer_the_engines_own() -> None:
    text = "ARG BUILDPLATFORM=linux/arm64\nFROM --platform=$BUILDPLATFORM a"
    assert [(item.by_build_platform, item.platform) for item in parse(text).references()] == [(False, "linux/arm64")]
    assert [item.platform for item in parse("FROM --platform=$BUILDPLATFORM a").references(None, {"BUILDPLATFORM": "x/y"})] == ["x/y"]


@pytest.mark.parametrize(
    ("text", "target", "told_as"),
    [
        ("FROM a-$TARGETSTAGE AS x\nFROM x AS y", "X", "a-X"),
        ("FROM a-$TARGETSTAGE AS x", None, "a-x"),
        ("FROM a-$TARGETSTAGE", None, "a-default"),
    ],
)
def test_the_name_of_the_target_may_choose_an_image(text: str, target: str | None, told_as: str) -> None:
    if told_as != told_as.lower():
        assert "expected a repository of lower-case letters" in refuse(text, target)
    else:
        assert told(text, target) == [f"from docker.io/library/{told_as}:latest 1"]


STAGES = {
    "a stage that looks like an image": ("FROM a AS nginx\nFROM b\nCOPY --from=nginx x y", ["a", "b"]),
    "an image that has a tag is none": ("FROM a AS nginx\nFROM b\nCOPY --from=nginx:1 x y", ["b", "nginx"]),
    "a stage by other letters": ("FROM a AS Build\nFROM b\nCOPY --from=bUILD x y", ["a", "b"]),
    "the last of two of one name": ("FROM a AS x\nFROM b AS x\nFROM x", ["b"]),
    "a FROM means what stands above it": ("FROM alpine AS debian\nFROM debian AS alpine\nFROM alpine", ["alpine"]),
    "a FROM of its own name": ("FROM alpine AS alpine", ["alpine"]),
    "a number": ("FROM a\nFROM b\nCOPY --from=0 x y", ["a", "b"]),
    "a FROM of a number is an image": ("FROM a\nFROM 0", ["0"]),
    "a mount of a stage": ("FROM a AS s\nFROM b\nRUN --mount=type=cache,from=S,target=/x y", ["a", "b"]),
    "scratch": ("FROM scratch\nCOPY --from=scratch x y\nRUN --mount=from=scratch,target=/x y", []),
    "a stage called scratch": ("FROM a AS scratch\nFROM scratch", ["a"]),
    "a mount in quotes of the list": ('FROM b\nRUN --mount=type=bind,\\"from=a\\",target=/x y', ["a", "b"]),
    "the last from of a mount": ("FROM b\nRUN --mount=from=x,From=a y", ["a", "b"]),
    "flags after other flags": ("FROM b\nCOPY --link --chown=1:2 --from=a --exclude=*.md --parents x y", ["a", "b"]),
    "no flag behind the words": ("FROM b\nCOPY x --from=a y", ["b"]),
    "here-documents, several in one line": (
        "FROM b\nRUN <<A cat <<-'B B' <<\"C\"\nFROM x\nA\n\tFROM y\n\tB B\nFROM z\nC\nCOPY --from=a x y",
        ["a", "b"],
    ),
    "a here-document after a blank": ("FROM b\nRUN cat << E\nFROM x\nE\n", ["b"]),
    "a shift is no here-document": ("FROM b\nRUN echo $((1 << 2))\nCOPY --from=a x y", ["a", "b"]),
    "comments and empty lines in a continuation": ("FROM \\\n# FROM x\n\n  b \\\n  # c\n AS y", ["b"]),
    "a backtick as escape": ("# escape=`\nFROM `\n b\nRUN x \\\nCOPY --from=a x y", ["a", "b"]),
    "no escape below #!": ("#!/x\n# escape=`\nFROM \\\n b", ["b"]),
    "ONBUILD": ("FROM b\nONBUILD COPY --from=a x y\nONBUILD RUN --mount=from=c x\nONBUILD RUN FROM d", ["a", "b", "c"]),
    "a mark and CRLF": ("\ufeffFROM b\r\nCOPY \\\r\n --from=a x y\r\n", ["a", "b"]),
    "letters of any case": ("from b as X\ncopy --from=a x y\nrun --mount=from=c x", ["a", "b", "c"]),
}


@pytest.mark.parametrize("name", STAGES)
def test_stages_and_images_are_told_apart(name: str) -> None:
    text, names = STAGES[name]
    assert sorted(item.reference.repository.path.removeprefix("library/") for item in parse(text).references()) == names


SYNTAXES = {
    "the first line": ("# syntax=a/b:1\nFROM x", ["docker.io/a/b:1"]),
    "options after it": ("# syntax = a/b:1 c=d\nFROM x", ["docker.io/a/b:1"]),
    "below #!": ("#!/usr/bin/env x\n#syntax=a/b:1\nFROM x", ["docker.io/a/b:1"]),
    "below another directive": ("# escape=`\n# check=skip=all\n# SYNTAX=a/b:1\nFROM x", ["docker.io/a/b:1"]),
    "behind a mark, with CRLF": ("\ufeff# syntax=a/b:1\r\nFROM x", ["docker.io/a/b:1"]),
    "too late: a comment": ("# c\n# syntax=a/b:1\nFROM x", []),
    "too late: an empty line": ("\n# syntax=a/b:1\nFROM x", []),
    "too late: a directive nobody knows": ("# a=b\n# syntax=a/b:1\nFROM x", []),
    "indented": (" # syntax=a/b:1\nFROM x", []),
    "two slashes in a Dockerfile": ("# c\n// syntax=a\n", None),
}


@pytest.mark.parametrize("name", SYNTAXES)
def test_the_image_of_the_syntax_is_found_where_buildkit_finds_it(name: str) -> None:
    text, references = SYNTAXES[name]
    if references is None:
        assert "expected a Dockerfile instruction, found '// syntax=a'" in refuse(text)
    else:
        assert [str(item.reference) for item in parse(text).references() if item.kind == "syntax"] == references


def test_a_build_argument_may_name_the_image_of_the_syntax() -> None:
    found = parse("# syntax=a/b:1\nFROM x").references(None, {"BUILDKIT_SYNTAX": "c/d:2 option"})
    assert [str(item.reference) for item in found if item.kind == "syntax"] == ["docker.io/c/d:2"]
    found = parse("# syntax=a/b:1\nFROM x").references(None, {"BUILDKIT_SYNTAX": "dockerfile.v0"})
    assert [item.kind for item in found] == ["from"]
    assert "expected a repository of lower-case" in refuse("FROM x", BUILDKIT_SYNTAX="A")


BAD = {
    "a text for another frontend": (
        "//syntax=me/mine\nwhatever",
        "Dockerfile:1:1: expected a Dockerfile, found a text for the build frontend 'me/mine'",
        "# syntax=",
    ),
    "JSON for another frontend": (' {"syntax": "me/mine", "x": 1}', "found a text for the build frontend 'me/mine'", "# syntax="),
    "a syntax without an image": (
        "# syntax= \nFROM a",
        "Dockerfile:1:1: expected a value after `# syntax=`, found none",
        "remove the line",
    ),
    "two syntaxes": ("# syntax=a\n# syntax=b\nFROM a", "Dockerfile:2:1: expected one `# syntax=` line, found another", "remove one"),
    "ONBUILD FROM": (
        "FROM a\nONBUILD FROM b",
        "Dockerfile:2:1: expected an instruction after ONBUILD that may be a trigger, found FROM",
        "may not",
    ),
    "ONBUILD of ONBUILD": ("FROM a\n" + "ONBUILD " * 100_000, "found ONBUILD", "may not"),
    "ONBUILD of nothing known": (
        "FROM a\nONBUILD CPOY a b",
        "Dockerfile:2:1: expected a Dockerfile instruction, found 'CPOY a b'",
        "did you mean COPY?",
    ),
    "a mount by number": (
        "FROM a\nFROM b\nRUN --mount=from=0 x",
        "found the number 0: the builder would take it for an image",
        "name the stage",
    ),
    "a stage below": (
        "FROM a\nCOPY --from=x p q\nFROM b AS x\nFROM 0\nCOPY --from=0 p q",
        "found 'x', a stage that does not end above",
        "move",
    ),
    "the stage itself": (
        "FROM a AS x\nCOPY --from=x p q",
        "Dockerfile:2:13: expected a stage above or an image, found 'x', a stage that does not",
        "move",
    ),
    "two flags of one name": ("FROM a\nCOPY --from=x --from=y p q", "Dockerfile:2:1: expected one --from in COPY, found 2", "keep one"),
    "two platforms": ("FROM --platform=a/b --platform=a/b x", "Dockerfile:1:1: expected one --platform in FROM, found 2", "keep one"),
    "a quote in a mount": ('FROM a\nRUN --mount=\\"from=b x', "Dockerfile:2:1: expected --mount=key=value", "leave the quotes out"),
    "too many stages": ("FROM a\n" * 1001, "Dockerfile:1001:1: expected at most 1000 stages, found 1001", "right file"),
    "no FROM": ("# nothing\n", "Dockerfile:1:1: expected a FROM, found none", "begin with FROM"),
    "an instruction before FROM": ("RUN x\nFROM a", "Dockerfile:1:1: expected ARG or FROM first, found RUN", "below"),
    "an unknown instruction": ("FROM a\nRUNN x", "Dockerfile:2:1: expected a Dockerfile instruction, found 'RUNN x'", "did you mean RUN?"),
    "a FROM of another shape": ("FROM a b", "Dockerfile:1:1: expected FROM IMAGE or FROM IMAGE AS NAME", "stage name"),
    "an undefined ARG": ("FROM a\nFROM b:${V}", "Dockerfile:2:6: expected a value for every variable of FROM b:${V}", "--build-arg V=…"),
    "a required ARG": ("FROM b:${V:?say-it}", "V is not set: say-it", "--build-arg V"),
    "a pattern that is none": ("ARG V=1\nFROM b:${V#\\x}", "does not compute a backslash before 'x' in a pattern", "${X#…}"),
    "another form": ("ARG V=1\nFROM b:${V^^}", "does not compute ${V^…}", "${X:-default}"),
    "a reference that is none": ("FROM Alpine:3", "Dockerfile:1:6: expected a repository of lower-case letters", "name:tag"),
    "a variable in COPY --from": (
        "FROM a\nCOPY --from=$X a b",
        "Dockerfile:2:13: expected a stage above or an image, found '$X': the builder expands no variable here",
        "FROM $X AS name",
    ),
    "a stage number that is not there": (
        "FROM a\nCOPY --from=7 a b",
        "Dockerfile:2:13: expected a stage above or an image, found the number 7: this file has 1 stages",
        "count from 0",
    ),
    "an open here-document": ("FROM a\nRUN <<EOF\nx\n", "Dockerfile:2:1: expected the here-document to end with a line 'EOF'", "add it"),
    "another escape": ("# escape=x\nFROM a", "Dockerfile:1:10: expected `# escape=`", "one of the two"),
    "a NUL": ("FROM a\0", "Dockerfile:1:7: expected text, found a NUL byte", "binary"),
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
    found, unresolved = parse("FROM a:$V AS one\nCOPY --from=nginx x y\nFROM b:$Z\nCOPY --from=one x y\n").find_references()
    assert [str(item.reference) for item in found] == ["docker.io/library/nginx:latest"]
    assert [(item.spelling, item.kind, str(item.location)) for item in unresolved] == [
        ("a:$V", "from", "Dockerfile:1:6"),
        ("b:$Z", "from", "Dockerfile:3:6"),
    ]
    assert "V is not set" in unresolved[0].reason


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("FROM Foo:Bar::x\n", "1:6"),
        ("FROM a\nCOPY --link --from=B::1 x y\n", "2:20"),
        ("FROM a\nRUN --mount=type=bind,from=B::1 x\n", "2:28"),
        ("FROM a\nCOPY --from=$Z x y\n", "2:13"),
        ("FROM a\nCOPY --from=7 x y\n", "2:13"),
        ("# syntax=B::1\nFROM a\n", "1:10"),
        ("ARG TAG=:x\nFROM  a:${TAG}\n", "2:7"),
        ("\ufeffFROM B::1\n", "1:6"),
        ("FROM \\\n  B::1\n", "2:3"),
    ],
)
def test_what_can_never_be_an_image_is_an_error_with_its_column_and_not_unresolved(text: str, place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_dockerfile(text.encode(), "Dockerfile").find_references()
    assert str(caught.value.where) == f"Dockerfile:{place}"
    assert caught.value.exit_code == 2


def test_everything_that_is_wrong_with_a_file_is_told_in_the_order_of_its_lines() -> None:
    text = "FROM a b c d\nCPOY a b\nRUN x\nFROM a\nMKDIR x\nfoo bar\nbaz\nWORKDIRR /x\nFROM --platform=a --platform=b c\n"
    with pytest.raises(ConfigError) as caught:
        parse_dockerfile(text.encode(), "Dockerfile")
    # Lines 6 and 7 follow one that is no instruction, and resemble none: most likely they are more of the same.
    assert [(error.where and error.where.line) for error in caught.value.parts] == [1, 2, 5, 8, 9]
    told = caught.value.message
    assert told.startswith("expected FROM IMAGE or FROM IMAGE AS NAME, found 'a b c d'\nand 4 more errors:\n  Dockerfile:2:1: expected a")
    assert "\n  Dockerfile:8:1: expected a Dockerfile instruction, found 'WORKDIRR /x' (did you mean WORKDIR?)" in told


def test_what_stands_above_a_line_that_ends_the_reading_is_told_too() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_dockerfile(b"FROM a\nFOO x\nRUN <<EOF\nCOPPY x y\n", "Dockerfile")
    assert [str(error.where) for error in caught.value.parts] == ["Dockerfile:2:1", "Dockerfile:3:1"]
    assert "expected the here-document to end with a line 'EOF'" in caught.value.message


def test_every_wrong_operand_is_told_in_one_run() -> None:
    with pytest.raises(ConfigError) as caught:
        parse('FROM B::1 AS one\nCOPY --from=C::1 x y\nFROM one\nCOPY --from=9 x y\nRUN --mount=type=bind,"from=b x\n').references()
    assert [str(error.where) for error in caught.value.parts] == [f"Dockerfile:{place}" for place in ("1:6", "2:13", "4:13", "5:29")]


def test_pinning_replaces_the_operands_and_nothing_else() -> None:
    text = (
        "\ufeff# syntax=docker/dockerfile:1\r\nARG V=3\r\n# FROM alpine\r\nFROM --platform=linux/arm64  al\\\r\npine:${V}   AS x\r\n"
        'RUN --mount=type=bind,"from=busybox",target=/b <<E\r\nFROM alpine\r\nE\r\nCOPY --from="nginx:1" a b\r\n'
    )
    alpine, busybox, nginx = (f"docker.io/library/{name}@{DIGEST}" for name in ("alpine", "busybox", "nginx"))
    syntax = f"docker.io/docker/dockerfile@{DIGEST}"
    expected = text.replace("docker/dockerfile:1", syntax)
    expected = expected.replace("al\\\r\npine:${V}", alpine).replace("from=busybox", f"from={busybox}").replace("nginx:1", nginx)
    pinned = parse_dockerfile(text.encode(), "Dockerfile").pinned(by_digest)
    assert pinned == expected
    assert {str(item.reference) for item in parse(pinned).references()} == {syntax, alpine, busybox, nginx}


def test_a_syntax_that_a_build_argument_names_is_pinned_where_it_is_named() -> None:
    text = "# syntax=docker/dockerfile:1\nFROM alpine\n"
    pinned = parse(text).pinned(by_digest, None, {"BUILDKIT_SYNTAX": "me/mine:2"})
    assert pinned == f"# syntax=docker/dockerfile:1\nFROM docker.io/library/alpine@{DIGEST}\n"


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


@pytest.mark.parametrize(
    ("body", "kind", "spelling", "is_held"),
    [
        ("ADD https://example.com/x.tgz /d", "url", "https://example.com/x.tgz", False),
        ("ADD --checksum=sha256:aa https://example.com/x.tgz /d", "url", "https://example.com/x.tgz", True),
        ("ADD https://example.com/x$V.tgz /d", "url", "https://example.com/x$V.tgz", False),
        ("ADD https://me:pw@example.com/x /d", "url", "https://example.com/x", False),
        ("ADD https://example.com/r.git#main /d", "git", "https://example.com/r.git#main", False),
        (f"ADD https://example.com/r.git#{'a' * 40}:sub /d", "git", f"https://example.com/r.git#{'a' * 40}:sub", True),
        (f"ADD git@example.com:r.git?commit={'a' * 40} /d", "git", f"git@example.com:r.git?commit={'a' * 40}", True),
        ("ADD git@example.com:r.git /d", "git", "git@example.com:r.git", False),
        ("ADD git://example.com/r /d", "git", "git://example.com/r", False),
    ],
)
def test_what_add_takes_from_elsewhere_is_named(body: str, kind: str, spelling: str, is_held: bool) -> None:
    (found,) = parse(f"FROM a\n{body}\n").remote_sources()
    assert (found.kind, found.spelling, found.is_held, found.location.line) == (kind, spelling, is_held, 2)
    assert (found.reason == "") is is_held
    assert re.search(r"--checksum=|write the commit", found.hint)
    assert parse(f"FROM a\n{body}\n").context_use().patterns == ()


def test_a_directory_that_is_called_like_a_repository_is_a_path_of_the_context() -> None:
    dockerfile = parse("FROM a\nADD vendor/r.git x@y /d\n")
    assert dockerfile.remote_sources() == ()
    assert dockerfile.context_use().patterns == ("vendor/r.git", "x@y")


def test_what_the_builder_sets_by_itself_needs_buildkit_where_a_stage_asks_for_it() -> None:
    assert parse("FROM a\nARG TARGETARCH\n").needs_buildkit == "Dockerfile:2:1: ARG TARGETARCH, which the classic builder does not set"
    assert parse("FROM a\nARG OTHER\n").needs_buildkit is None


def test_a_platform_argument_with_a_default_of_its_own_bounds_no_context() -> None:
    text = "FROM scratch\nARG TARGETARCH=amd64\nCOPY $TARGETARCH /x\n"
    assert parse(text).context_use(None, {"TARGETARCH": "amd64"}).patterns == ("amd64",)
    assert "TARGETARCH is set from a variable the file does not know" in parse(text).context_use(None, {"TARGETARCH": "arm64"}).reason
    assert parse("FROM scratch\nARG BUILDARCH\nCOPY ${BUILDARCH:-x} /x\n").context_use().whole


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ('FROM "a', 'a closing " is missing'),
        ("FROM 'a:$X", "a closing ' is missing"),
        ("FROM a:${X:-1", "a closing } is missing"),
        ("FROM --platform=${X:-l a", "a closing } is missing"),
    ],
)
def test_what_does_not_close_is_wrong_whatever_the_variables_are(first: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"ARG X=1\n{first}\n").find_references()
    assert caught.value.message == f"expected quotes and braces that close in {first}, found: {reason}"
    assert str(caught.value.where).startswith("Dockerfile:2:")


def test_a_default_that_does_not_close_is_mended_by_a_build_argument() -> None:
    text = 'ARG X="1\nFROM a:$X\n'
    assert [item.spelling for item in parse(text).find_references()[1]] == ["a:$X"]
    assert told(text, X="2") == ["from docker.io/library/a:2 2"]


def test_a_commit_behind_the_address_of_a_download_holds_nothing() -> None:
    (found,) = parse(f"FROM a\nADD https://example.com/x.tgz#{'a' * 40} /x\n").remote_sources()
    assert (found.kind, found.is_held) == ("url", False)
