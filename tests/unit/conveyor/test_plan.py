from __future__ import annotations

from dataclasses import replace

import pytest

from ci_plugin.config.model import ArchiveBase, Configuration, DockerfileImage, ExternalBase, ImageBase, ScratchBase, Shell, StapelImage
from ci_plugin.config.parts import Placed, Secret, SecretValue
from ci_plugin.config.platforms import choose_platforms
from ci_plugin.conveyor.plan import make_plan
from ci_plugin.conveyor.signature import index_signature
from ci_plugin.conveyor.stage import BuildDockerfile, FromArchive, FromExternal, FromImage, FromScratch, Unpinned
from ci_plugin.errors import ConfigError, InputError, Location
from ci_plugin.values.digest import Digest
from ci_plugin.values.pipeline import Scope
from ci_plugin.values.platform import DEFAULT_PLATFORM, Platform, parse_platform
from ci_plugin.values.reference import parse_reference
from tests.unit.conveyor.project import ARM64, MemoryProject, load, make_pin, make_pins, plan_dockerfile

AT = Location("werf.yaml", 4)
ALPINE = make_pins(make_pin("alpine"))
AMD64_ALONE = make_pins(make_pin("alpine", platforms=[DEFAULT_PLATFORM]))
BOTH = (DEFAULT_PLATFORM, ARM64)


def alpine(name: str = "app", **changes: object) -> StapelImage:
    return replace(StapelImage(name, ExternalBase(parse_reference("alpine"), AT), AT), **changes)  # type: ignore[arg-type]  # any field


def configuration(*images: StapelImage | DockerfileImage) -> Configuration:
    return Configuration.of("p", "werf", "werf.yaml", images)


def test_a_plan_has_the_stages_of_every_image_in_the_order_of_the_text() -> None:
    files = {
        "werf.yaml": b"""project: p
configVersion: 1
---
image: app
fromImage: base
shell:
  setup: [make]
docker:
  USER: app
---
image: base
from: alpine
shell:
  install: [apk add make]
  beforeInstall: [apk update]
---
artifact: tools
from: scratch
"""
    }
    plan = make_plan(load(files), AMD64_ALONE, MemoryProject(files))
    assert [(planned.name, [stage.name for stage in planned.stages]) for planned in plan] == [
        ("app", ["from", "setup", "dockerInstructions"]),
        ("base", ["from", "beforeInstall", "install"]),
        ("tools", ["from"]),
    ]
    assert plan.is_complete
    assert plan.get("app").needs == ("base",)
    assert plan.get("base").needs == ()
    assert plan.get("app").stages[0].work == FromImage("base", plan.get("base").signature)
    assert [planned.is_deployable for planned in plan] == [True, True, False]
    assert len({stage.signature for planned in plan for stage in planned.stages}) == 7


def test_a_plan_of_some_images_has_what_they_are_built_on_and_is_not_complete() -> None:
    images = configuration(alpine("base"), StapelImage("app", ImageBase("base", AT), AT), alpine("other"))
    plan = make_plan(images, ALPINE, MemoryProject(), ["app"])
    assert [planned.name for planned in plan] == ["base", "app"]
    assert not plan.is_complete
    assert plan.get("app").signature == make_plan(images, ALPINE, MemoryProject()).get("app").signature


@pytest.mark.parametrize(("scope", "is_complete"), [("pipeline:1", False), ("commit:1", False), ("release", True), ("local", True)])
def test_a_configuration_that_lacks_a_pinned_image_is_not_the_whole_in_a_scope_of_one_commit(scope: str, is_complete: bool) -> None:
    pins = replace(AMD64_ALONE, scope=Scope(scope), images=("app", "web"))
    assert make_plan(configuration(alpine()), pins, MemoryProject()).is_complete is is_complete
    assert make_plan(configuration(alpine(), alpine("web")), pins, MemoryProject()).is_complete


def test_an_unknown_image_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError) as caught:
        make_plan(configuration(alpine("frontend"), alpine("api")), ALPINE, MemoryProject(), ["frontent"])
    assert (caught.value.message, caught.value.hint) == (
        "expected the name of an image, found 'frontent'",
        "did you mean 'frontend'?",
    )
    with pytest.raises(ConfigError) as caught:
        make_plan(configuration(alpine("frontend"), alpine("api")), ALPINE, MemoryProject(), ["x"])
    assert caught.value.hint == "this configuration has: frontend, api"


def test_a_missing_archive_is_refused_where_the_base_stands() -> None:
    image = StapelImage("app", ArchiveBase("rootfs.tar", Location("werf.yaml", 9)), AT)
    with pytest.raises(ConfigError) as caught:
        make_plan(configuration(image), ALPINE, MemoryProject())
    assert caught.value.message == "expected a root filesystem archive at rootfs.tar, found no file"
    assert caught.value.hint == "make it in an earlier step, for example `debootstrap` and `tar`, or correct fromArchive"
    assert caught.value.where == Location("werf.yaml", 9)


def test_the_work_of_a_base_says_what_to_begin_with() -> None:
    project = MemoryProject(archives={"rootfs.tar": b"files"})
    bases = (ScratchBase(AT), ArchiveBase("rootfs.tar", AT), ExternalBase(parse_reference("alpine"), AT))
    works = [make_plan(configuration(alpine(base=base)), ALPINE, project).get("app").stages[0].work for base in bases]
    pinned = ALPINE.pins[0].platforms[DEFAULT_PLATFORM]
    reference = parse_reference("alpine")
    assert works == [
        FromScratch(),
        FromArchive("rootfs.tar", Digest.of(b"files")),
        FromExternal(reference, reference.at(pinned), DEFAULT_PLATFORM),
    ]


@pytest.mark.parametrize("asked", [BOTH, ()], ids=["asked for", "configured"])
def test_an_image_for_several_platforms_is_planned_for_each_on_the_digest_of_each(asked: tuple[Platform, ...]) -> None:
    images = configuration(alpine("base", platforms=BOTH), StapelImage("app", ImageBase("base", AT), AT, platforms=BOTH))
    plan = make_plan(images, ALPINE, MemoryProject(), platforms=asked)
    titles = ["base (linux/amd64)", "base (linux/arm64)", "app (linux/amd64)", "app (linux/arm64)"]
    assert [planned.title for planned in plan] == titles
    assert plan.is_complete
    for platform in BOTH:
        base = plan.get("base", platform)
        reference = parse_reference("alpine")
        assert base.stages[0].work == FromExternal(reference, reference.at(ALPINE.pins[0].platforms[platform]), platform)
        assert plan.get("app", platform).stages[0].work == FromImage("base", base.signature)
        assert base.signature == make_plan(images, ALPINE, MemoryProject(), ["base"], [platform]).get("base").signature


def test_the_signature_of_an_image_for_several_platforms_is_that_of_its_index_and_for_one_that_of_its_last_stage() -> None:
    (image,) = make_plan(configuration(alpine()), ALPINE, MemoryProject(), platforms=BOTH).by_image
    assert image.is_index
    assert image.signature == index_signature({platform: planned.signature for platform, planned in image.platforms.items()})
    (turned,) = make_plan(configuration(alpine()), ALPINE, MemoryProject(), platforms=BOTH[::-1]).by_image
    assert turned.signature == image.signature
    plan = make_plan(configuration(alpine()), ALPINE, MemoryProject(), platforms=[ARM64])
    (alone,) = plan.by_image
    assert not alone.is_index
    assert alone.signature == plan.get("app").stages[-1].signature
    assert plan.get("app").title == "app"


def test_a_source_that_is_not_built_for_the_same_platform_is_refused_where_it_is_named() -> None:
    images = configuration(alpine("base"), StapelImage("app", ImageBase("base", Location("werf.yaml", 9)), AT, platforms=BOTH))
    with pytest.raises(ConfigError) as caught:
        make_plan(images, ALPINE, MemoryProject())
    assert caught.value.message == (
        "expected image 'app' and its source 'base' to be built for one platform, found linux/arm64 and linux/amd64"
    )
    assert caught.value.hint == "give both the same `platform`, or name one with --platform"
    assert caught.value.where == Location("werf.yaml", 9)


@pytest.mark.parametrize("image", [alpine(platforms=BOTH), alpine()], ids=["configured for two", "pinned for two"])
def test_a_plan_for_one_of_several_platforms_is_a_part_of_the_whole(image: StapelImage) -> None:
    plan = make_plan(configuration(image), ALPINE, MemoryProject(), platforms=[DEFAULT_PLATFORM])
    assert (plan.is_complete, plan.platforms_left_out) == (False, (ARM64,))
    assert make_plan(configuration(image), ALPINE, MemoryProject(), platforms=BOTH).is_complete


def test_a_plan_for_one_configured_platform_is_a_part_where_no_pin_says_so_either() -> None:
    image = StapelImage("app", ScratchBase(AT), AT, platforms=BOTH)
    plan = make_plan(configuration(image), make_pins(), MemoryProject(), platforms=[ARM64])
    assert (plan.is_complete, plan.platforms_left_out) == (False, (DEFAULT_PLATFORM,))
    assert make_plan(configuration(image), make_pins(), MemoryProject()).is_complete


def test_a_platform_instead_of_the_configured_ones_leaves_nothing_out() -> None:
    image = StapelImage("app", ScratchBase(AT), AT, platforms=BOTH)
    assert make_plan(configuration(image), make_pins(), MemoryProject(), platforms=[parse_platform("linux/s390x")]).is_complete


def test_a_base_that_two_images_use_on_a_platform_each_leaves_nothing_out() -> None:
    images = configuration(alpine(), alpine("arm", platforms=(ARM64,)))
    assert make_plan(images, ALPINE, MemoryProject()).is_complete


def test_a_platform_that_a_from_names_outright_leaves_nothing_out() -> None:
    text = "FROM --platform=linux/arm64 alpine AS a\nFROM alpine\nCOPY --from=a /x /x\n"
    assert plan_dockerfile(text, ALPINE).is_complete
    assert not plan_dockerfile("FROM alpine\n", ALPINE).is_complete


def test_the_command_line_names_the_platform_then_the_configuration_then_the_default() -> None:
    image = alpine(platforms=(ARM64,))
    assert choose_platforms(image, [parse_platform("linux/s390x")]) == (parse_platform("linux/s390x"),)
    assert choose_platforms(image, []) == (ARM64,)
    assert choose_platforms(alpine(), []) == (DEFAULT_PLATFORM,)
    assert choose_platforms(image, [ARM64, DEFAULT_PLATFORM, ARM64]) == (ARM64, DEFAULT_PLATFORM)
    chosen = [make_plan(configuration(item), ALPINE, MemoryProject()).get("app").platform_was_chosen for item in (image, alpine())]
    assert chosen == [True, False]


def test_a_base_that_was_not_pinned_is_never_resolved_here() -> None:
    with pytest.raises(InputError) as caught:
        make_plan(configuration(alpine()), make_pins(make_pin("debian")), MemoryProject())
    assert caught.value.message == ("expected docker.io/library/alpine:latest among the 1 pins of pipeline:1001, found it missing")
    assert caught.value.where == AT


def test_a_base_without_our_platform_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"expected docker\.io/library/alpine:latest to be pinned for linux/s390x, found linux/amd64, linux/arm64"
    ):
        make_plan(configuration(alpine()), ALPINE, MemoryProject(), platforms=[parse_platform("linux/s390x")])


def test_a_stage_is_there_when_it_has_commands_or_a_cache_version_of_its_own() -> None:
    shell = Shell(commands={"setup": ("make",), "install": ()}, cache_versions={"beforeSetup": "1"}, cache_version="2")
    (planned,) = make_plan(configuration(alpine(shell=shell)), ALPINE, MemoryProject())
    assert [stage.name for stage in planned.stages] == ["from", "beforeSetup", "setup"]


def test_a_missing_dockerfile_is_refused_where_the_image_stands() -> None:
    image = DockerfileImage("app", "docker/Dockerfile", AT)
    with pytest.raises(ConfigError) as caught:
        make_plan(configuration(image), ALPINE, MemoryProject())
    assert caught.value.message == "expected the Dockerfile docker/Dockerfile of image 'app' in the commit, found none"
    assert (caught.value.hint, caught.value.where) == ("git add docker/Dockerfile", AT)


def test_a_missing_file_to_add_to_the_context_is_refused() -> None:
    image = DockerfileImage("app", "Dockerfile", AT, context_add=("dist",))
    with pytest.raises(ConfigError) as caught:
        plan_dockerfile("FROM alpine", ALPINE, image=image)
    assert caught.value.message == "expected a file or directory 'dist' to add to the context of 'app', found none"
    assert (caught.value.hint, caught.value.where) == ("the step that makes it must run before this one, in the same job", AT)


def work_of(text: str, pins: object = None, project: MemoryProject | None = None) -> BuildDockerfile:
    (planned,) = plan_dockerfile(text, make_pins(make_pin("alpine"), make_pin("golang")), project)
    work = planned.stages[0].work
    assert isinstance(work, BuildDockerfile)
    return work


def test_only_the_files_that_enter_the_signature_are_sent() -> None:
    files = {"src/a.c": b"a", "src/b.log": b"b", "doc/c": b"c", ".dockerignore": b"*.log\n**/*.log\n"}
    work = work_of("FROM alpine\nCOPY src /src\n", project=MemoryProject(files, {"src/a.c": "100755"}))
    assert [(entry.path, entry.mode) for entry in work.context] == [("src/a.c", "100755")]


def test_the_base_of_the_build_host_and_ours_are_two_facts() -> None:
    text = "FROM --platform=$BUILDPLATFORM golang AS build\nFROM golang\nCOPY --from=build /a /a\n"
    pin = make_pin("golang")
    (planned,) = plan_dockerfile(text, make_pins(pin))
    assert [item.label for item in planned.stages[0].inputs if item.label.startswith("base.")] == [
        "base.digest docker.io/library/golang:latest",
        "base.digest docker.io/library/golang:latest by $BUILDPLATFORM",
    ]
    (moved,) = plan_dockerfile(text, make_pins(make_pin("golang", index="attested")))
    assert moved.signature != planned.signature
    work = planned.stages[0].work
    assert isinstance(work, BuildDockerfile)
    reference = pin.reference
    assert work.base == FromExternal(reference, reference.at(pin.platforms[DEFAULT_PLATFORM]), DEFAULT_PLATFORM)
    assert pin.digest is not None
    assert work.pulled == (reference.at(pin.digest), reference.at(pin.platforms[DEFAULT_PLATFORM]))


def test_a_global_argument_moves_the_signature_even_where_other_stages_name_its_old_and_new_value() -> None:
    text = "ARG X={}\nFROM alpine AS a\nARG X\nRUN echo $X > /x\nFROM alpine AS b\nARG X=1\nFROM alpine AS c\nARG X=2\n"
    text += "COPY --from=a /x /a\nCOPY --from=b /x /b\n"
    one, two = (plan_dockerfile(text.format(value), ALPINE).get("app") for value in "12")
    assert one.signature != two.signature


def test_the_image_of_a_syntax_line_enters_nothing_and_may_be_unresolved() -> None:
    text = "# syntax=docker/dockerfile:1\nFROM alpine\n"
    missing = replace(make_pin("docker/dockerfile:1"), digest=None, platforms={}, reason="404")
    plans = [plan_dockerfile(text, make_pins(make_pin("alpine"), pin)) for pin in (make_pin("docker/dockerfile:1"), missing)]
    assert plans[0].get("app").signature == plans[1].get("app").signature
    assert plans[0].get("app").signature == plan_dockerfile("FROM alpine\n", ALPINE).get("app").signature
    assert isinstance(plans[1].get("app").stages[-1].work, Unpinned)


def test_the_image_of_a_syntax_line_is_taken_by_digest() -> None:
    pin = make_pin("docker/dockerfile:1")
    pinned = f"docker.io/docker/dockerfile@{pin.digest}"
    pins = make_pins(make_pin("alpine"), pin)
    (named,) = plan_dockerfile("# syntax=docker/dockerfile:1 # x\nFROM alpine\n", pins)
    work = named.stages[-1].work
    assert isinstance(work, BuildDockerfile)
    assert work.text.startswith(f"# syntax={pinned} # x\n")
    assert str(work.pulled[0]) == pinned
    image = DockerfileImage("app", "Dockerfile", AT, build_args={"BUILDKIT_SYNTAX": "docker/dockerfile:1 option"})
    (by_argument,) = plan_dockerfile("FROM alpine\n", pins, image=image)
    work = by_argument.stages[-1].work
    assert isinstance(work, BuildDockerfile)
    assert work.build_args == {"BUILDKIT_SYNTAX": f"{pinned} option"}


def test_what_a_build_finds_around_it_is_handed_on_and_only_hosts_are_inputs() -> None:
    secrets = (Secret("token", SecretValue(env="T"), AT),)
    image = DockerfileImage("app", "Dockerfile", AT, secrets=secrets, ssh=Placed("default", AT), network=Placed("none", AT))
    hosted = replace(image, add_host=Placed(("a:1.2.3.4",), AT))
    bare = replace(image, secrets=(), ssh=None, network=None)
    (plain,), (planned,), (other,) = (plan_dockerfile("FROM alpine\n", ALPINE, image=one) for one in (bare, image, hosted))
    assert planned.signature == plain.signature != other.signature
    work = other.stages[-1].work
    assert isinstance(work, BuildDockerfile)
    assert (work.secrets, work.ssh, work.network, work.add_hosts) == (secrets, "default", "none", ("a:1.2.3.4",))
    assert "a:1.2.3.4" not in [item.shown for item in other.stages[-1].inputs]
