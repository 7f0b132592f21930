"""The references of a configuration: what a pin set has to hold."""

from __future__ import annotations

import pytest

from ci_plugin.config.load import load_configuration
from ci_plugin.config.model import Image
from ci_plugin.config.references import find_references, list_references, platform_args
from ci_plugin.errors import ConfigError
from ci_plugin.values.platform import DEFAULT_PLATFORM, Platform, parse_platform
from tests.unit.config.sources import META, source

WERF = META + "image: a\nfrom: alpine\nfromLatest: true\n---\nimage: b\nfromImage: a\n---\n"
WERF += "image: c\nfrom: scratch\n---\nimage: d\ndockerfile: Dockerfile\n"


def default(_image: Image) -> tuple[Platform, ...]:
    return (DEFAULT_PLATFORM,)


def test_external_references_are_listed_with_kind_image_line_and_whether_they_enter_the_signature() -> None:
    files = source({"werf.yaml": WERF, "Dockerfile": "# syntax=x/y\nFROM debian-$TARGETARCH\nCOPY --from=nginx a b\n"})
    found = list_references(load_configuration(files, "p"), files, lambda _image: (parse_platform("linux/arm64"),))
    assert [(item.kind, str(item.reference), item.image, str(item.location), item.in_signature) for item in found] == [
        ("from", "docker.io/library/alpine:latest", "a", "werf.yaml:5:1", True),
        ("syntax", "docker.io/x/y:latest", "d", "Dockerfile:1:10", False),
        ("from", "docker.io/library/debian-arm64:latest", "d", "Dockerfile:2:6", False),
        ("copy-from", "docker.io/library/nginx:latest", "d", "Dockerfile:3:13", False),
    ]


def test_a_lone_dockerfile_follows_the_registry_but_for_its_syntax_image() -> None:
    files = source({"Dockerfile": "# syntax=x/y\nFROM debian\n"})
    assert [item.in_signature for item in list_references(load_configuration(files, "p"), files, default)] == [False, True]


def test_a_dockerfile_that_is_not_committed_says_git_add() -> None:
    files = source({"werf.yaml": WERF})
    with pytest.raises(ConfigError, match="expected the Dockerfile Dockerfile of image 'd' in the commit, found none") as caught:
        list_references(load_configuration(files, "p"), files, default)
    assert (caught.value.hint, str(caught.value.where)) == ("git add Dockerfile, or correct `dockerfile`", "werf.yaml:15:1")


def test_what_cannot_be_told_stops_a_pin_and_is_listed_for_people() -> None:
    files = source({"Dockerfile": "FROM debian:$V\n"})
    configuration = load_configuration(files, "p")
    with pytest.raises(ConfigError, match="V is not set"):
        list_references(configuration, files, default)
    ((), (unresolved,)) = find_references(configuration.images[0], files)
    assert (unresolved.spelling, unresolved.image, str(unresolved.location)) == ("debian:$V", "p", "Dockerfile:1:6")


TOLD = WERF + "dependencies:\n- image: a\n  imports:\n  - {type: ImageName, targetBuildArg: NAME}\n"
TOLD += "  - {type: ImageRepo, targetBuildArg: REPO}\n"
TOLD += "  - {type: ImageTag, targetBuildArg: TAG}\n  - {type: ImageDigest, targetBuildArg: DIGEST}\n"


@pytest.mark.parametrize(
    "text",
    [
        "ARG NAME\nFROM $NAME\n",
        "ARG NAME=alpine\nFROM $NAME\n",
        "ARG REPO\nARG TAG\nFROM ${REPO}:$TAG\n",
        "ARG REPO DIGEST\nFROM $REPO@$DIGEST\n",
    ],
)
def test_a_base_that_dependencies_name_is_no_external_image(text: str) -> None:
    files = source({"werf.yaml": TOLD, "Dockerfile": text})
    assert [item for item in list_references(load_configuration(files, "p"), files, default) if item.image == "d"] == []


@pytest.mark.parametrize(
    "text",
    ["ARG TAG=1\nFROM debian:$TAG\n", "ARG DIGEST\nFROM debian@$DIGEST\n", "ARG REPO\nFROM $REPO\n", "ARG NAME\nFROM $NAME-slim\n"],
)
def test_a_base_by_a_part_of_what_is_told_is_refused(text: str) -> None:
    files = source({"werf.yaml": TOLD, "Dockerfile": text})
    with pytest.raises(ConfigError, match="found one by another part of what is told") as caught:
        list_references(load_configuration(files, "p"), files, default)
    assert "`type: ImageName`" in caught.value.hint
    assert str(caught.value.where).startswith("Dockerfile:")


def test_what_dependencies_tell_to_a_run_names_no_base() -> None:
    files = source({"werf.yaml": TOLD, "Dockerfile": "ARG TAG=1\nFROM debian\nARG TAG NAME\nRUN echo $NAME:$TAG\n"})
    references = list_references(load_configuration(files, "p"), files, default)
    assert [str(item.reference) for item in references if item.image == "d"] == ["docker.io/library/debian:latest"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("linux/amd64", "linux/amd64 linux amd64  "),
        ("linux/arm", "linux/arm/v7 linux arm v7 "),
        ("linux/arm/v7", "linux/arm/v7 linux arm v7 "),
        ("linux/arm/v6", "linux/arm/v6 linux arm v6 "),
        ("linux/arm64", "linux/arm64 linux arm64  "),
        ("linux/arm64/v8", "linux/arm64 linux arm64  "),
    ],
)
def test_a_dockerfile_is_told_the_platform_as_the_builder_tells_it(asked: str, told: str) -> None:
    args = platform_args({}, parse_platform(asked))
    assert " ".join(args[f"TARGET{part}"] for part in ("PLATFORM", "OS", "ARCH", "VARIANT", "OSVERSION")) == told


def test_a_base_may_be_named_by_every_part_of_the_platform() -> None:
    text = "FROM --platform=$TARGETPLATFORM a:$TARGETOS$TARGETOSVERSION-$TARGETARCH$TARGETVARIANT\n"
    files = source({"Dockerfile": text})
    (image,) = load_configuration(files, "p")
    ((use,), ()) = find_references(image, files, parse_platform("linux/arm"))
    assert (str(use.reference), str(use.platform)) == ("docker.io/library/a:linux-armv7", "linux/arm")
