"""One suite for what a stage may write into and take out of an image's config (``ImageChange``), on the fake and on a real engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ci_plugin.ports import EngineImage, FileChanges, ImageChange, LayerFile
from ci_plugin.values.manifest import Manifest
from tests.contract.engine_sites import AMD64, Site

FULL = ImageChange(
    labels={"keep": "1", "drop": "2"},
    env={"KEEP": "1", "DROP": "2"},
    volumes=("/keep", "/drop"),
    expose=("80",),
    cmd=("serve",),
    entrypoint=("/init",),
    workdir="/srv",
    user="nobody",
    healthcheck=("CMD", "/bin/true"),
    healthcheck_times={"Interval": 5_000_000_000, "Timeout": 1_000_000_000, "Retries": 3},
    stop_signal="SIGQUIT",
    author="first",
)


def document(site: Site, image: EngineImage) -> dict[str, Any]:
    """An image's whole config document, as a registry has it."""
    name = site.repository.tagged(str(image.id).removeprefix("sha256:"))
    site.engine.tag(image.id, name)
    site.engine.push(name)
    manifest = site.registry.find_manifest(name)
    assert isinstance(manifest, Manifest)
    assert manifest.config is not None
    found: dict[str, Any] = json.loads(site.registry.get_blob(site.repository, manifest.config, 1 << 20))
    return found


@pytest.fixture
def full(site: Site) -> EngineImage:
    return site.engine.derive(site.start().id, FULL)


def test_every_field_stands_in_the_config(site: Site, full: EngineImage) -> None:
    config = full.config
    assert config["Healthcheck"] == {"Test": ["CMD", "/bin/true"], "Interval": 5_000_000_000, "Timeout": 1_000_000_000, "Retries": 3}
    assert config["StopSignal"] == "SIGQUIT"
    assert (config["Cmd"], config["Entrypoint"], config["WorkingDir"], config["User"]) == (["serve"], ["/init"], "/srv", "nobody")
    assert document(site, full)["author"] == "first"


@pytest.mark.parametrize("commands", [(), ("true",)], ids=["config only", "commands"])
def test_a_later_stage_keeps_every_field(site: Site, full: EngineImage, commands: tuple[str, ...]) -> None:
    child = site.engine.derive(full.id, ImageChange(labels={"new": "1"}), commands)
    kept = ("Env", "Volumes", "ExposedPorts", "Cmd", "Entrypoint", "WorkingDir", "User", "Healthcheck", "StopSignal")
    assert {key: child.config[key] for key in kept} == {key: full.config[key] for key in kept}
    assert child.labels == {**full.labels, "new": "1"}
    assert commands or child.diff_ids == full.diff_ids
    assert document(site, child)["author"] == "first"


def test_what_is_removed_is_gone_and_the_rest_stays(site: Site, full: EngineImage) -> None:
    gone = ImageChange(removed_env=("DROP", "NEVER"), removed_labels=("drop",), removed_volumes=("/drop",))
    child = site.engine.derive(full.id, gone)
    assert child.labels == {name: value for name, value in full.labels.items() if name != "drop"}
    assert child.config["Env"] == [item for item in _texts(full, "Env") if item != "DROP=2"]
    assert child.config["Volumes"] == {"/keep": {}}
    for key in ("Cmd", "Entrypoint", "WorkingDir", "User", "Healthcheck", "StopSignal", "ExposedPorts"):
        assert child.config[key] == full.config[key]
    assert child.diff_ids == full.diff_ids
    assert document(site, child)["author"] == "first"


def test_all_can_be_removed(site: Site, full: EngineImage) -> None:
    names = tuple(item.partition("=")[0] for item in _texts(full, "Env"))
    child = site.engine.derive(
        full.id, ImageChange(removed_env=names, removed_labels=tuple(full.labels), removed_volumes=("/keep", "/drop")), ["true"]
    )
    assert not child.config.get("Env")
    assert not child.labels
    assert not child.config.get("Volumes")
    assert child.diff_ids[: len(full.diff_ids)] == full.diff_ids


def test_what_is_removed_and_added_again_has_the_new_value(site: Site, full: EngineImage) -> None:
    change = ImageChange(removed_env=("DROP",), env={"DROP": "new"}, removed_labels=("drop",), labels={"drop": "new"})
    child = site.engine.derive(full.id, change)
    assert child.labels["drop"] == "new"
    assert "DROP=new" in _texts(child, "Env")


def test_cleared_fields_are_empty_unless_they_are_set(site: Site, full: EngineImage) -> None:
    child = site.engine.derive(full.id, ImageChange(cleared=frozenset({"Cmd", "Entrypoint", "User", "WorkingDir"}), user="web"))
    assert not child.config.get("Cmd")
    assert not child.config.get("Entrypoint")
    assert not child.config.get("WorkingDir")
    assert child.config["User"] == "web"
    assert child.config["StopSignal"] == "SIGQUIT"
    emptied = site.engine.derive(child.id, ImageChange(cleared=frozenset({"User"})))
    assert not emptied.config.get("User")


def test_a_new_health_check_has_no_times_of_the_old_one(site: Site, full: EngineImage) -> None:
    child = site.engine.derive(full.id, ImageChange(healthcheck=("CMD-SHELL", "exit 0"), healthcheck_times={"Retries": 1}))
    assert child.config["Healthcheck"] == {"Test": ["CMD-SHELL", "exit 0"], "Retries": 1}
    timed = site.engine.derive(full.id, ImageChange(healthcheck_times={"Retries": 9}))
    assert timed.config["Healthcheck"] == {**_object(full, "Healthcheck"), "Retries": 9}


def test_the_author_can_be_another(site: Site, full: EngineImage) -> None:
    assert document(site, site.engine.derive(full.id, ImageChange(author="second"), ["true"]))["author"] == "second"


@pytest.mark.parametrize("taken", [ImageChange(), ImageChange(removed_env=("DROP",))], ids=["committed", "rewritten"])
def test_history_has_one_entry_a_stage_and_no_word_of_its_commands(site: Site, taken: ImageChange) -> None:
    full = site.engine.derive(site.engine.import_rootfs(site.rootfs, AMD64, {}).id, FULL)
    before = document(site, full)["history"]
    with_files = site.engine.put_files(full.id, FileChanges(written=[LayerFile("/x", "directory", 0o755)]), ImageChange())
    child = site.engine.derive(with_files.id, taken, ["echo canary-5d7a"])
    found = document(site, child)
    assert len(found["history"]) == len(before) + 2
    assert [entry.get("comment") for entry in found["history"][-3:]] == ["stagepin: config", "stagepin", "stagepin"]
    layers = [entry for entry in found["history"] if not entry.get("empty_layer")]
    assert len(layers) == len(child.diff_ids)
    assert [bool(entry.get("empty_layer")) for entry in found["history"][-3:]] == [True, False, False]
    assert "canary" not in json.dumps(found)


@pytest.mark.parametrize("commands", [(), ("true",)], ids=["config only", "commands"])
def test_a_cleared_history_is_empty_and_the_layers_stay(site: Site, full: EngineImage, commands: tuple[str, ...]) -> None:
    child = site.engine.derive(full.id, ImageChange(clear_history=True, labels={"a": "b"}, author="last"), commands)
    found = document(site, child)
    assert not found.get("history")
    assert found["author"] == "last"
    assert child.labels["a"] == "b"
    assert child.diff_ids[: len(full.diff_ids)] == full.diff_ids
    assert child.config["Env"] == full.config["Env"]
    assert child.platform == full.platform
    grandchild = site.engine.derive(child.id, ImageChange(), ["touch /after"])
    assert grandchild.diff_ids[:-1] == child.diff_ids


@pytest.mark.engine
def test_an_image_that_was_only_a_step_on_the_way_is_not_left_behind(real: Site, docker_host: str) -> None:
    import docker

    parent = real.engine.derive(real.start().id, FULL)
    client = docker.APIClient(docker_host, version="auto")
    try:
        before = set(client.images(all=True, quiet=True))
        child = real.engine.derive(parent.id, ImageChange(removed_env=("DROP",)), ["true"])
        assert set(client.images(all=True, quiet=True)) - before == {str(child.id)}
    finally:
        client.close()


def _texts(image: EngineImage, key: str) -> list[str]:
    value = image.config.get(key) or []
    assert isinstance(value, list)
    return value


def _object(image: EngineImage, key: str) -> dict[str, object]:
    value = image.config.get(key) or {}
    assert isinstance(value, dict)
    return value
