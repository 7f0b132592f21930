"""What a stage's commands find around them: directories, secrets, the network."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_plugin.config.parts import Mount, MountKind, Secret, SecretValue
from ci_plugin.conveyor.stage import RunCommands
from ci_plugin.errors import InputError, Location
from ci_plugin.ports import NO_SETTINGS, MountedDirectory
from ci_plugin.services.stage_work.mounts import Surroundings

WHERE = Location("werf.yaml", 4)
HERE = Surroundings("app", Path("/builds/app"), Path("/homes/ann"), secrets=lambda secrets: {one.id: b"*" for one in secrets})


def mounted(mount: Mount, surroundings: Surroundings = HERE) -> MountedDirectory:
    (found,) = surroundings.settings(RunCommands(("make",), mounts=(mount,))).mounts
    return found


def test_a_stage_without_any_finds_nothing() -> None:
    assert HERE.settings(RunCommands(("make",))) == NO_SETTINGS


def test_tmp_dir_is_empty_for_every_stage() -> None:
    assert mounted(Mount(MountKind.TMP_DIR, "/tmp/cache", WHERE)) == MountedDirectory("fresh", "/tmp/cache")


def test_build_dir_is_one_volume_for_a_project_and_a_path() -> None:
    same, again = (mounted(Mount(MountKind.BUILD_DIR, "/var/cache/apt", WHERE)) for _ in range(2))
    other_path = mounted(Mount(MountKind.BUILD_DIR, "/var/cache", WHERE))
    other_project = mounted(Mount(MountKind.BUILD_DIR, "/var/cache/apt", WHERE), Surroundings("web"))
    assert same == again
    assert same.kind == "kept"
    assert same.name.startswith("stagepin-build-")
    assert len({same.name, other_path.name, other_project.name}) == 3


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/srv/cache", "/srv/cache"),
        ("~/.m2", "/homes/ann/.m2"),
        ("~", "/homes/ann"),
        ("cache/./pip", "/builds/app/cache/pip"),
        ("../shared", "/builds/shared"),
        ("~other", "/builds/app/~other"),
    ],
)
def test_a_path_of_the_machine_is_absolute_or_of_the_home_or_of_the_project(path: str, found: str) -> None:
    assert mounted(Mount(MountKind.PATH, "/m", WHERE, path)) == MountedDirectory("host", "/m", found)


def test_a_home_nobody_has_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        mounted(Mount(MountKind.PATH, "/m", WHERE, "~/.m2"), Surroundings("app", Path("/builds/app")))
    assert caught.value.message == "expected a home directory for the mount ~/.m2, found none"
    assert (caught.value.hint, caught.value.where) == ("set HOME, or write the whole path", WHERE)


def test_secrets_are_read_where_there_are_any_and_shown_nowhere() -> None:
    settings = HERE.settings(RunCommands(("make",), secrets=(Secret("token", SecretValue(env="TOKEN"), WHERE),), network="none"))
    assert (settings.secrets, settings.network) == ({"token": b"*"}, "none")
    assert "token" not in repr(settings)


def test_where_nobody_reads_secrets_there_must_be_none() -> None:
    with pytest.raises(InputError, match="expected no secrets in this build, found token"):
        Surroundings().settings(RunCommands(("make",), secrets=(Secret("token", SecretValue(env="TOKEN"), WHERE),)))
