"""No stage signature passes over a directive in silence: a field of the model moves it, is refused, or is harmless and says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest

from ci_plugin.config.load import load_configuration
from ci_plugin.config.model import (
    Configuration,
    DockerfileImage,
    DockerInstructions,
    ExternalBase,
    Image,
    ScratchBase,
    Shell,
    StapelImage,
)
from ci_plugin.config.parts import (
    Ansible,
    Dependency,
    GitMapping,
    Healthcheck,
    ImageSource,
    ImageSpec,
    Import,
    Moment,
    Mount,
    MountKind,
    Placed,
    Secret,
    SecretValue,
    Selection,
    Side,
)
from ci_plugin.conveyor.plan import make_plan
from ci_plugin.conveyor.unbuilt import list_unbuilt
from ci_plugin.errors import ConfigError, Location
from ci_plugin.values.reference import parse_reference
from tests.unit.config.sources import META, source
from tests.unit.conveyor.project import ARM64, MemoryProject, make_pin, make_pins

AT = Location("werf.yaml", 5, 1)
PINS = make_pins(make_pin("alpine"), make_pin("debian"))
PROJECT = MemoryProject(
    {"Dockerfile": b"FROM alpine AS a\nARG X\nRUN a\nFROM alpine\nARG X\n", "x/Dockerfile": b"FROM debian\n"}, disk={"add": b"x"}
)
MOMENT = Moment(Side.AFTER, "setup")
FILES = Selection("/", "/app")
CHECK = Healthcheck(("CMD", "x"), interval=1)
STAPEL = StapelImage(
    "app", ExternalBase(parse_reference("alpine"), AT), AT, shell=Shell({"install": ("make",)}), docker=DockerInstructions()
)
DOCKERFILE = DockerfileImage("app", "Dockerfile", AT)

MOVES, REFUSED, HARMLESS = "moves the stage signature", "is refused", "is harmless"
Fate = tuple[str, Any]
"""What becomes of a field, and another value for it; for a harmless one also why."""

STAPEL_FATES: Mapping[str, Fate] = {
    "name": (HARMLESS, "other"),  # a name of ours, nothing in the image
    "location": (HARMLESS, Location("elsewhere", 1)),  # where it is written
    "is_final": (HARMLESS, False),  # whether it is deployed
    "base": (MOVES, ScratchBase(AT)),
    "is_artifact": (MOVES, True),  # it has no dockerInstructions
    "from_cache_version": (MOVES, "1"),
    "cache_version": (MOVES, "1"),
    "shell": (MOVES, Shell({"install": ("make", "x")})),
    "docker": (MOVES, DockerInstructions(user="x")),
    "platforms": (MOVES, (ARM64,)),
    "git": (MOVES, (GitMapping(FILES, AT),)),
    "imports": (MOVES, (Import(ImageSource("lib", AT), MOMENT, FILES, AT),)),
    "mounts": (MOVES, (Mount(MountKind.TMP_DIR, "/x", AT),)),
    "dependencies": (MOVES, (Dependency("lib", AT, MOMENT),)),
    "secrets": (HARMLESS, (Secret("a", SecretValue(env="A"), AT),)),  # a credential is no input: another one must not rebuild
    "image_spec": (MOVES, ImageSpec(AT)),
    "ansible": (REFUSED, Ansible((), AT)),
    "network": (HARMLESS, Placed("host", AT)),  # how the commands reach the network, not what they are
    "disable_git_after_patch": (HARMLESS, Placed(True, AT)),  # without git; see test_stapel
}
SHELL_FATES: Mapping[str, Fate] = {
    "commands": (MOVES, {"setup": ("make",)}),
    "cache_versions": (MOVES, {"install": "1"}),
    "cache_version": (MOVES, "1"),
    "build_artifact": (MOVES, Placed(("make",), AT)),
}
DOCKER_FATES: Mapping[str, Fate] = {
    **dict.fromkeys(("volumes", "expose", "cmd", "entrypoint", "healthcheck"), (MOVES, ("x",))),
    **{name: (MOVES, {"A": "1"}) for name in ("env", "labels")},
    **dict.fromkeys(("workdir", "user"), (MOVES, "x")),
    "healthcheck_times": (MOVES, Placed(CHECK, AT)),
    "exact_values": (HARMLESS, True),  # values are always written as they are
}
DOCKERFILE_FATES: Mapping[str, Fate] = {
    "name": (HARMLESS, "other"),  # a name of ours, nothing in the image
    "location": (HARMLESS, Location("elsewhere", 1)),  # where it is written
    "is_final": (HARMLESS, False),  # whether it is deployed
    "context": (HARMLESS, "x"),  # the files it gives enter by their paths below it: see the property tests
    "dockerfile": (MOVES, "x/Dockerfile"),
    "target": (MOVES, "a"),
    "places": (HARMLESS, {"target": Location("elsewhere", 1)}),  # where it is written
    "build_args": (MOVES, {"X": "1"}),
    "context_add": (MOVES, ("add",)),
    "from_latest": (MOVES, True),
    "cache_version": (MOVES, "1"),
    "platforms": (MOVES, (ARM64,)),
    "dependencies": (MOVES, (Dependency("lib", AT),)),
    "secrets": (HARMLESS, (Secret("a", SecretValue(env="A"), AT),)),  # a credential is no input: another one must not rebuild
    "image_spec": (MOVES, ImageSpec(AT)),
    "network": (HARMLESS, Placed("host", AT)),  # how the commands reach the network, not what they are
    "ssh": (HARMLESS, Placed("default", AT)),  # a credential
    "add_host": (MOVES, Placed(("a:1",), AT)),  # which machine a name means is whose files the commands fetch
}
EVERY = {StapelImage: STAPEL_FATES, Shell: SHELL_FATES, DockerInstructions: DOCKER_FATES, DockerfileImage: DOCKERFILE_FATES}
CASES = [(kind, name) for kind, fates in EVERY.items() for name in fates]


def signature(image: Image) -> str:
    lib = StapelImage("lib", ScratchBase(AT), AT)
    return make_plan(Configuration.of("p", "werf", "werf.yaml", [image, lib]), PINS, PROJECT, [image.name]).get(image.name).signature


def changed(kind: type, name: str) -> tuple[Image, Image]:
    """An image and the same one with another value of this field."""
    value = EVERY[kind][name][1]
    if kind is DockerfileImage:
        return DOCKERFILE, replace(DOCKERFILE, **{name: value})
    if kind is StapelImage:
        return STAPEL, replace(STAPEL, **{name: value})
    part = {Shell: "shell", DockerInstructions: "docker"}[kind]
    return STAPEL, replace(STAPEL, **{part: replace(getattr(STAPEL, part), **{name: value})})


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_every_field_of_the_model_has_a_fate(kind: type) -> None:
    assert set(EVERY[kind]) == {field.name for field in fields(kind)}


@pytest.mark.parametrize(("kind", "name"), CASES, ids=lambda item: item if isinstance(item, str) else item.__name__)
def test_a_field_meets_its_fate(kind: type, name: str) -> None:
    before, after = changed(kind, name)
    match EVERY[kind][name][0]:
        case "moves the stage signature":
            assert signature(after) != signature(before)
        case "is refused":
            with pytest.raises(ConfigError):
                signature(after)
        case _:
            assert signature(after) == signature(before)


def _whole(stapel_only: bool) -> str:
    text = META + "image: good\nfrom: alpine\n---\nimage: app\nfrom: alpine\nansible: {install: [{apt: {}}]}\n"
    return text if stapel_only else text + "---\nimage: old\nfromImage: good\nansible: {install: [{apt: {}}]}\n"


def refuse(text: str, *names: str) -> ConfigError:
    configuration = load_configuration(source({"werf.yaml": text}), "p")
    with pytest.raises(ConfigError) as caught:
        make_plan(configuration, make_pins(make_pin("alpine")), MemoryProject(), names)
    return caught.value


def test_every_directive_is_named_with_its_place_and_the_way_out() -> None:
    error = refuse(_whole(stapel_only=True))
    assert error.message == (
        "expected images that this version builds, found 1 directive of image 'app' that it only reads: `ansible` (werf.yaml:9:1)"
    )
    assert error.where == Location("werf.yaml", 9, 1)
    assert "; name the images that can be built: good; pin, drift and doctor work on the whole file" in error.hint


def test_ansible_has_a_way_out_of_its_own() -> None:
    error = refuse(_whole(stapel_only=False), "old")
    assert "found 1 directive of image 'old' that it only reads: `ansible` (werf.yaml:13:1)" in error.message
    assert error.hint.startswith("`ansible`: write its tasks as commands under `shell`, or build that image elsewhere")


def test_only_the_images_that_are_asked_for_and_what_they_are_made_of_are_refused() -> None:
    text = _whole(stapel_only=False)
    configuration = load_configuration(source({"werf.yaml": text}), "p")
    plan = make_plan(configuration, make_pins(make_pin("alpine")), MemoryProject(), ["good"])
    assert [image.name for image in plan] == ["good"]
    child = text + "---\nimage: child\nfromImage: app\n"
    assert "of image 'app'" in refuse(child, "child").message
    assert "of 2 images (app, old)" in refuse(child).message


def test_one_document_of_many_images_names_a_directive_once() -> None:
    names = ", ".join(f"a{number}" for number in range(30))
    error = refuse(META + f"image: [{names}]\nfrom: alpine\nansible: {{install: [{{apt: {{}}}}]}}\n")
    assert "found 1 directive of 30 images (a0, " in error.message
    assert "a19, and 10 more)" in error.message
    assert error.message.count("werf.yaml:6:1") == 1


def test_a_plain_image_has_nothing_to_refuse() -> None:
    assert list_unbuilt(STAPEL) == ()
    assert list_unbuilt(DOCKERFILE) == ()
