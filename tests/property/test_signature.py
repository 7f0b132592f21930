"""A stage signature is moved by every input and by nothing else, over generated configurations and projects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TypeAlias, TypeVar

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ci_plugin.config.model import (
    USER_STAGES,
    ArchiveBase,
    Base,
    Configuration,
    DockerfileImage,
    DockerInstructions,
    ExternalBase,
    Image,
    ImageBase,
    ScratchBase,
    Shell,
    StapelImage,
)
from ci_plugin.conveyor.plan import PlannedImage, make_plan
from ci_plugin.conveyor.signature import index_signature
from ci_plugin.errors import Location
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.values.platform import DEFAULT_PLATFORM, Platform
from ci_plugin.values.reference import parse_reference
from tests.property.strategies import signatures
from tests.unit.conveyor.project import ARM64, MemoryProject, make_pin, make_pins

_T = TypeVar("_T")
modest = settings(max_examples=25, deadline=None)
AT, ELSEWHERE = Location("werf.yaml", 4), Location("other.yaml", 99)
PINS = make_pins(make_pin("alpine"), make_pin("debian"), make_pin("alpine:3"), make_pin("debian:3"))
MOVED_BASES = make_pins(make_pin("alpine", "moved"), make_pin("debian", "moved"), make_pin("alpine:3", "moved"))
ATTESTED = make_pins(make_pin("alpine", index="attested"), make_pin("debian", index="attested"), make_pin("alpine:3", index="attested"))
LATER = replace(
    PINS,
    created_at=PINS.created_at + timedelta(days=9),
    pins=tuple(replace(pin, resolved_at=pin.resolved_at + timedelta(days=9), origin=()) for pin in PINS.pins),
)

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
lists = st.lists(words, min_size=1, max_size=3).map(tuple)
mappings = st.dictionaries(words, words, min_size=1, max_size=3)
some = st.none() | words
shells = st.builds(
    Shell,
    st.dictionaries(st.sampled_from(USER_STAGES), lists, min_size=1),
    st.dictionaries(st.sampled_from(USER_STAGES), words),
    some,
)
dockers = st.builds(
    DockerInstructions, lists, lists, mappings, mappings, st.none() | lists, st.none() | lists, some, some, st.none() | lists
)
bases = st.sampled_from([ExternalBase(parse_reference("alpine"), AT, latest) for latest in (True, False)])
images = st.builds(
    StapelImage,
    name=st.just("app"),
    base=bases,
    location=st.just(AT),
    from_cache_version=some,
    cache_version=some,
    shell=shells,
    docker=dockers,
)


def planned(
    image: Image, *others: Image, pins: PinSet = PINS, project: MemoryProject | None = None, platform: Platform = DEFAULT_PLATFORM
) -> PlannedImage:
    configuration = Configuration.of("p", "werf", "werf.yaml", [*others, image])
    return make_plan(configuration, pins, project or MemoryProject(), [image.name], [platform]).get(image.name)


def signature(
    image: Image, *others: Image, pins: PinSet = PINS, project: MemoryProject | None = None, platform: Platform = DEFAULT_PLATFORM
) -> str:
    return planned(image, *others, pins=pins, project=project, platform=platform).signature


StapelChange: TypeAlias = Callable[[StapelImage], StapelImage]


def _docker(change: Callable[[DockerInstructions], DockerInstructions]) -> StapelChange:
    def apply(image: StapelImage) -> StapelImage:
        assert image.docker is not None
        return replace(image, docker=change(image.docker))

    return apply


def _shell(change: Callable[[Shell, str], Shell]) -> StapelChange:
    """A change of the shell at its first stage that has commands."""

    def apply(image: StapelImage) -> StapelImage:
        stage = next(name for name in USER_STAGES if name in image.shell.commands)
        return replace(image, shell=change(image.shell, stage))

    return apply


def _commands(change: Callable[[tuple[str, ...]], tuple[str, ...]]) -> StapelChange:
    return _shell(lambda shell, stage: replace(shell, commands={**shell.commands, stage: change(shell.commands[stage])}))


def _first(values: Mapping[str, str]) -> dict[str, str]:
    """The mapping with its first value changed."""
    name, value = next(iter(values.items()))
    return {**values, name: value + "x"}


def _renamed(values: Mapping[str, str]) -> dict[str, str]:
    """The mapping with its first name changed."""
    return {name + "xxxxxxx" if index == 0 else name: value for index, (name, value) in enumerate(values.items())}


def _reversed(values: Mapping[str, _T]) -> dict[str, _T]:
    return dict(reversed(list(values.items())))


def _longer(values: tuple[str, ...] | None) -> tuple[str, ...]:
    return (*(values or ()), "x")


MOVING: dict[str, StapelChange] = {
    "base reference": lambda image: replace(image, base=ExternalBase(parse_reference("debian"), AT, True)),
    "fromCacheVersion": lambda image: replace(image, from_cache_version=(image.from_cache_version or "") + "x"),
    "fromCacheVersion empty or absent": lambda image: replace(image, from_cache_version="" if image.from_cache_version is None else None),
    "cacheVersion": lambda image: replace(image, cache_version=(image.cache_version or "") + "x"),
    "one more command": _commands(_longer),
    "a changed command": _commands(lambda commands: (commands[0] + "x", *commands[1:])),
    "a command cut in two": _commands(lambda commands: (commands[0], "", *commands[1:])),
    "commands in one": _commands(lambda commands: ("\n".join((*commands, "x")),)),
    "stage cache version": _shell(
        lambda shell, stage: replace(shell, cache_versions={**shell.cache_versions, stage: shell.cache_versions.get(stage, "") + "x"})
    ),
    "shell cache version": _shell(lambda shell, stage: replace(shell, cache_version=(shell.cache_version or "") + "x")),
    "VOLUME": _docker(lambda docker: replace(docker, volumes=_longer(docker.volumes))),
    "EXPOSE": _docker(lambda docker: replace(docker, expose=_longer(docker.expose))),
    "ENV value": _docker(lambda docker: replace(docker, env=_first(docker.env))),
    "ENV name": _docker(lambda docker: replace(docker, env=_renamed(docker.env))),
    "LABEL value": _docker(lambda docker: replace(docker, labels=_first(docker.labels))),
    "LABEL name": _docker(lambda docker: replace(docker, labels=_renamed(docker.labels))),
    "CMD": _docker(lambda docker: replace(docker, cmd=_longer(docker.cmd))),
    "CMD empty": _docker(lambda docker: replace(docker, cmd=() if docker.cmd is None else None)),
    "ENTRYPOINT": _docker(lambda docker: replace(docker, entrypoint=_longer(docker.entrypoint))),
    "WORKDIR": _docker(lambda docker: replace(docker, workdir=(docker.workdir or "") + "x")),
    "USER": _docker(lambda docker: replace(docker, user=(docker.user or "") + "x")),
    "HEALTHCHECK": _docker(lambda docker: replace(docker, healthcheck=_longer(docker.healthcheck))),
    "no docker section": lambda image: replace(image, docker=None),
}


@pytest.mark.parametrize("name", MOVING)
@given(image=images)
@modest
def test_every_input_of_a_stapel_image_moves_its_signature(name: str, image: StapelImage) -> None:
    assert signature(MOVING[name](image)) != signature(image)


def test_every_field_of_the_docker_section_has_a_change_above() -> None:
    names = {"volumes": "VOLUME", "env": "ENV value", "labels": "LABEL value"}
    without = {"healthcheck_times", "exact_values"}  # refused by the plan, and what is always done: tests/unit/conveyor/test_unbuilt.py
    assert {names.get(name, name.upper()) for name in DockerInstructions.__dataclass_fields__ if name not in without} <= set(MOVING)


@given(image=images)
@modest
def test_the_platform_moves_every_stage(image: StapelImage) -> None:
    ours, other = planned(image), planned(image, platform=ARM64)
    assert not {stage.signature for stage in ours.stages} & {stage.signature for stage in other.stages}


@given(image=images, from_latest=st.booleans())
@modest
def test_the_digest_of_the_base_moves_the_signature_with_from_latest_and_only_then(image: StapelImage, from_latest: bool) -> None:
    image = replace(image, base=ExternalBase(parse_reference("alpine"), AT, from_latest))
    assert (signature(image, pins=MOVED_BASES) != signature(image)) is from_latest


@given(image=images)
@modest
def test_nothing_else_moves_the_signature_of_a_stapel_image(image: StapelImage) -> None:
    assert image.docker is not None
    expected = signature(image)
    other = StapelImage("zzz", ScratchBase(AT), AT, shell=Shell({"setup": ("make",)}))
    base = replace(image.base, location=ELSEWHERE)
    docker = replace(image.docker, env=_reversed(image.docker.env), labels=_reversed(image.docker.labels))
    shell = replace(image.shell, commands=_reversed(image.shell.commands))
    assert signature(replace(image, name="renamed")) == expected
    assert signature(replace(image, location=ELSEWHERE, base=base, is_final=False)) == expected
    assert signature(replace(image, docker=docker, shell=shell)) == expected
    assert signature(image, other) == expected
    assert signature(image, pins=ATTESTED) == expected
    assert signature(image, pins=LATER) == expected
    assert signature(image, pins=replace(PINS, pins=PINS.pins[::-1], commit="d" * 40, images=())) == expected
    assert signature(image, project=MemoryProject({"unrelated": b"x"})) == expected


ARCHIVES = MemoryProject(archives={"a.tar": b"a", "b.tar": b"b", "copy of a.tar": b"a"})


def _all_bases() -> list[Base]:
    external = [ExternalBase(parse_reference(text), AT, latest) for text in ("alpine", "alpine:3", "debian") for latest in (True, False)]
    return [ScratchBase(AT), ArchiveBase("a.tar", AT), ArchiveBase("b.tar", AT), ImageBase("one", AT), ImageBase("two", AT), *external]


@given(image=images, two=shells)
@modest
def test_images_that_differ_only_in_their_base_never_share_a_stage(image: StapelImage, two: Shell) -> None:
    others = (StapelImage("one", ScratchBase(AT), AT, cache_version="1"), StapelImage("two", ScratchBase(AT), AT, shell=two))
    found = [planned(replace(image, base=base), *others, project=ARCHIVES) for base in _all_bases()]
    every = [stage.signature for item in found for stage in item.stages]
    assert len(every) == len(set(every))


@given(image=images)
@modest
def test_the_path_of_an_archive_is_no_input_but_its_files_are(image: StapelImage) -> None:
    a, b, copy = (signature(replace(image, base=ArchiveBase(name, AT)), project=ARCHIVES) for name in ("a.tar", "b.tar", "copy of a.tar"))
    assert a == copy != b


@given(grandparent=images, parent=images, child=images, name=st.sampled_from(sorted(MOVING)))
@modest
def test_the_signature_of_a_child_moves_with_its_parents_and_not_with_their_names(
    grandparent: StapelImage, parent: StapelImage, child: StapelImage, name: str
) -> None:
    def chain(root: StapelImage, middle: str = "b") -> str:
        images = (replace(root, name="a"), replace(parent, name=middle, base=ImageBase("a", AT)))
        return signature(replace(child, name="c", base=ImageBase(middle, AT)), *images)

    assert chain(MOVING[name](grandparent)) != chain(grandparent)
    assert chain(grandparent, "renamed") == chain(grandparent)


@given(secret=st.text("XYZ0123456789", min_size=8, max_size=12))
@modest
def test_what_is_shown_never_holds_a_hidden_value(secret: str) -> None:
    docker = DockerInstructions(
        (secret,), (secret,), {"TOKEN": secret}, {"label": secret}, (secret,), (secret,), secret, secret, ("CMD", secret)
    )
    shell = Shell(dict.fromkeys(USER_STAGES, (f"echo {secret}",)), dict.fromkeys(USER_STAGES, secret), secret)
    stapel = StapelImage("app", ExternalBase(parse_reference("alpine"), AT, True), AT, False, True, secret, secret, shell, docker)
    dockerfile = replace(DOCKERFILE, build_args={"USED": secret}, cache_version=secret)
    project = PROJECT.with_file(".dockerignore", secret.encode()).with_file("conf.txt", secret.encode())
    project = project.with_file("Dockerfile", TEXT.replace("make", f"make {secret}").encode())
    for item in (planned(stapel), planned(dockerfile, project=project)):
        inputs = [entry for stage in item.stages for entry in stage.inputs]
        assert inputs
        assert secret not in "".join(f"{entry.label} {entry.shown} {entry.hash} {entry!r}" for entry in inputs)


TEXT = """ARG BASE=alpine
FROM ${BASE}:3 AS build
ARG USED=1
COPY src/ /src/
COPY --chmod=755 bin/run /run
RUN make
FROM debian AS unreached
COPY doc /doc
FROM debian
COPY --from=build /x /x
ENV A=b
COPY conf.txt /
"""
DOCKERFILE = DockerfileImage("app", "Dockerfile", AT, from_latest=True, context_add=("dist",))
PROJECT = MemoryProject(
    files={
        "Dockerfile": TEXT.encode(),
        ".dockerignore": b"**/*.log\n",
        "src/main.c": b"main",
        "bin/run": b"run",
        "conf.txt": b"conf",
        "doc/a.md": b"doc",
        "other/b": b"b",
    },
    disk={"dist/app.js": b"js"},
)

ProjectChange: TypeAlias = Callable[[MemoryProject, DockerfileImage, str], tuple[MemoryProject, DockerfileImage]]


def _text(old: str, new: str) -> ProjectChange:
    assert TEXT.count(old) == 1

    def apply(project: MemoryProject, image: DockerfileImage, word: str) -> tuple[MemoryProject, DockerfileImage]:
        text = TEXT.replace(old, new.replace("WORD", word))
        return project.with_file("Dockerfile", text.encode()), image

    return apply


def _file(path: str) -> ProjectChange:
    return lambda project, image, word: (project.with_file(path, project.files.get(path, b"") + word.encode()), image)


def _without(path: str) -> ProjectChange:
    return lambda project, image, word: (replace(project, files={k: v for k, v in project.files.items() if k != path}), image)


def _image(change: Callable[[DockerfileImage, str], DockerfileImage]) -> ProjectChange:
    return lambda project, image, word: (project, change(image, word))


DOCKERFILE_MOVING: dict[str, ProjectChange] = {
    "an instruction": _text("RUN make", "RUN make WORD"),
    "one more instruction": _text("ENV A=b\n", "ENV A=b\nLABEL x=WORD\n"),
    "the order of instructions": _text("RUN make\n", "RUN make\nRUN make\n"),
    "the default of an argument": _text("ARG USED=1", "ARG USED=1WORD"),
    "a base": _text("FROM debian\n", "FROM alpine\n"),
    "a build argument that is used": _image(lambda image, word: replace(image, build_args={"USED": word})),
    "a base of a stage the target copies from": _text("FROM ${BASE}:3", "FROM ${BASE}:latest"),
    "a build argument of FROM": _image(lambda image, word: replace(image, build_args={"BASE": "debian"})),
    "the target": _image(lambda image, word: replace(image, target="build")),
    "the cache version": _image(lambda image, word: replace(image, cache_version=word)),
    "a file a COPY reads": _file("src/main.c"),
    "one more file a COPY reads": _file("src/new/deep.c"),
    "a file a COPY reads, gone": _without("src/main.c"),
    "a file of the target's own COPY": _file("conf.txt"),
    "the mode of a file": lambda project, image, word: (replace(project, modes={"bin/run": "100755"}), image),
    "the path of a file": lambda project, image, word: (
        _without("src/main.c")(project.with_file("src/renamed.c", b"main"), image, word)[0],
        image,
    ),
    ".dockerignore": _file(".dockerignore"),
    "no .dockerignore": _without(".dockerignore"),
    "a file that was added to the context": lambda project, image, word: (replace(project, disk={"dist/app.js": word.encode()}), image),
    "one more file added to the context": lambda project, image, word: (replace(project, disk={**project.disk, "dist/b": b""}), image),
    "the mode of an added file": lambda project, image, word: (replace(project, modes={"dist/app.js": "100755"}), image),
    "the path of an added file": lambda project, image, word: (replace(project, disk={"dist/x/app.js": b"js"}), image),
    "nothing added to the context": _image(lambda image, word: replace(image, context_add=())),
}

DOCKERFILE_NOT_MOVING: dict[str, ProjectChange] = {
    "a file no COPY reads": _file("other/b"),
    "one more file no COPY reads": _file("srcs/new"),
    "an ignored file": _file("src/deep/a.log"),
    "a file only an unreached stage reads": _file("doc/a.md"),
    "an unreached stage": _text("COPY doc /doc", "COPY doc /doc\nRUN echo WORDS"),
    "a comment": _text("RUN make\n", "# comment\n\nRUN make\n"),
    "the name of a stage": lambda project, image, word: (
        project.with_file("Dockerfile", TEXT.replace("AS build", "AS renamed").replace("from=build", "from=renamed").encode()),
        image,
    ),
    "a spelling of a base": _text("FROM debian\n", "FROM docker.io/library/debian:latest\n"),
    "a build argument nobody declares": _image(lambda image, word: replace(image, build_args={"UNUSED": word})),
    "the image's name and place": _image(lambda image, word: replace(image, name="app2", location=ELSEWHERE, is_final=False)),
    "uncommitted files nobody asked for": lambda project, image, word: (
        replace(project, disk={**project.disk, "src/uncommitted.c": word.encode()}),
        image,
    ),
    "the directory of it all": lambda project, image, word: (
        replace(
            project,
            files={f"services/app/{path}": data for path, data in project.files.items()},
            disk={f"services/app/{path}": data for path, data in project.disk.items()},
        ),
        replace(image, context="services/app", dockerfile="services/app/Dockerfile"),
    ),
}
plain_words = st.text("abcdefgh", min_size=1, max_size=6)


@pytest.mark.parametrize("name", DOCKERFILE_MOVING)
@given(word=plain_words, content=st.binary(max_size=8), from_latest=st.booleans())
@settings(max_examples=8, deadline=None)
def test_every_input_of_a_dockerfile_image_moves_its_signature(name: str, word: str, content: bytes, from_latest: bool) -> None:
    project, image = PROJECT.with_file("bin/run", content), replace(DOCKERFILE, from_latest=from_latest)
    new_project, new_image = DOCKERFILE_MOVING[name](project, image, word)
    assume(new_image.build_args.get("USED") != "1")
    assert signature(new_image, project=new_project) != signature(image, project=project)


@pytest.mark.parametrize("name", DOCKERFILE_NOT_MOVING)
@given(word=plain_words, content=st.binary(max_size=8), from_latest=st.booleans())
@settings(max_examples=8, deadline=None)
def test_nothing_else_moves_the_signature_of_a_dockerfile_image(name: str, word: str, content: bytes, from_latest: bool) -> None:
    project, image = PROJECT.with_file("bin/run", content), replace(DOCKERFILE, from_latest=from_latest)
    new_project, new_image = DOCKERFILE_NOT_MOVING[name](project, image, word)
    assert signature(new_image, project=new_project) == signature(image, project=project)


@pytest.mark.parametrize("from_latest", [True, False])
@pytest.mark.parametrize("reference", ["alpine:3", "debian"])
def test_the_pinned_digest_of_every_base_of_a_dockerfile_moves_it_with_from_latest_and_only_then(reference: str, from_latest: bool) -> None:
    image = replace(DOCKERFILE, from_latest=from_latest)
    pins = make_pins(*(make_pin(text, "moved" if text == reference else "") for text in ("alpine:3", "debian")))
    assert (signature(image, project=PROJECT, pins=pins) != signature(image, project=PROJECT)) is from_latest
    assert signature(image, project=PROJECT, pins=ATTESTED) == signature(image, project=PROJECT)
    assert signature(image, project=PROJECT, pins=LATER) == signature(image, project=PROJECT)


@given(content=st.binary(max_size=8))
@settings(max_examples=8, deadline=None)
def test_the_order_of_files_and_of_other_images_is_no_input(content: bytes) -> None:
    project = PROJECT.with_file("src/z", content)
    expected = signature(DOCKERFILE, project=project)
    turned = replace(project, files=_reversed(project.files))
    assert signature(DOCKERFILE, StapelImage("x", ScratchBase(AT), AT), project=turned) == expected


@given(one=signatures, two=signatures)
@modest
def test_the_signature_of_an_index_moves_with_each_platform_and_each_signature(one: str, two: str) -> None:
    assume(one != two)
    found = [
        index_signature(signatures)
        for signatures in ({DEFAULT_PLATFORM: one}, {DEFAULT_PLATFORM: two}, {ARM64: one}, {DEFAULT_PLATFORM: one, ARM64: two})
    ]
    found.append(index_signature({DEFAULT_PLATFORM: two, ARM64: one}))
    assert len(set(found)) == 5
    assert index_signature({ARM64: two, DEFAULT_PLATFORM: one}) == found[3]
