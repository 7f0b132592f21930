"""One suite for the port ``Engine``, run against the fake and a real engine with a real registry, so that the fake cannot lie."""

from __future__ import annotations

import gzip
import lzma
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from uuid import uuid4

import pytest

from ci_plugin.demo.rig import busybox_rootfs, start_engine
from ci_plugin.engine.docker_engine import DockerEngine
from ci_plugin.errors import AccessDenied, AnswerIsNo, Bug, Gone, InputError, StageFailed, Unavailable
from ci_plugin.ports import ContextFile, EngineImage, ImageChange
from ci_plugin.retry import RetryPolicy
from ci_plugin.values.credentials import Credentials
from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.manifest import parse_image_config
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Repository, parse_reference
from tests.contract.engine_sites import AMD64, Site
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeEngine
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_client import no_credentials

EMPTY_LAYER = Digest("sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef")


class TestPull:
    def test_a_pulled_image_carries_the_digest_that_was_asked_for(self, site: Site) -> None:
        image = site.start()
        assert str(site.base) in image.repo_digests
        assert image.platform == AMD64
        assert len(image.diff_ids) == 1

    def test_what_was_pulled_is_found_by_digest_and_by_id_and_not_by_a_tag(self, site: Site) -> None:
        image = site.start()
        found = site.engine.find_image(str(site.base))
        assert found is not None
        assert found.id == image.id
        by_id = site.engine.find_image(str(image.id))
        assert by_id is not None
        assert by_id.diff_ids == image.diff_ids
        assert site.engine.find_image(str(site.base.repository.tagged("latest"))) is None

    def test_a_digest_the_registry_never_had_is_gone(self, site: Site) -> None:
        missing = site.base.repository.at(Digest.of(b"never"))
        with pytest.raises(Gone, match="manifest unknown") as caught:
            site.engine.pull(missing)
        assert str(missing) in caught.value.message
        assert caught.value.hint

    def test_a_reference_without_a_digest_is_never_pulled(self, site: Site) -> None:
        with pytest.raises(Bug, match="expected a reference with a digest"):
            site.engine.pull(site.base.repository.tagged("latest"))

    def test_an_unknown_name_is_none(self, site: Site) -> None:
        assert site.engine.find_image("stagepin.local/nobody:nothing") is None
        assert site.engine.find_image(str(ImageId.of(b"nothing"))) is None


class TestDerive:
    def test_without_commands_only_the_config_changes(self, site: Site) -> None:
        base = site.start()
        child = site.engine.derive(base.id, ImageChange(labels={"a": "one\ntwo $PATH '\""}, env={"GREETING": "a=$HOME b"}))
        assert child.diff_ids == base.diff_ids
        assert child.labels == {**base.labels, "a": "one\ntwo $PATH '\""}
        assert "GREETING=a=$HOME b" in _texts(child, "Env")
        assert child.id != base.id

    def test_labels_and_variables_of_the_parent_stay_unless_named_again(self, site: Site) -> None:
        first = site.engine.derive(site.start().id, ImageChange(labels={"a": "1", "b": "2"}, env={"A": "1", "B": "2"}))
        second = site.engine.derive(first.id, ImageChange(labels={"b": "3"}, env={"A": "9", "C": "4"}))
        assert {"a": "1", "b": "3"}.items() <= second.labels.items()
        assert [text for text in _texts(second, "Env") if text[:2] in ("A=", "B=", "C=")] == ["A=9", "B=2", "C=4"]

    @pytest.mark.parametrize("entrypoint", [None, ("/bin/init", "--x")], ids=["no entrypoint", "entrypoint"])
    @pytest.mark.parametrize("cmd", [None, ("serve", "$A")], ids=["no cmd", "cmd"])
    @pytest.mark.parametrize("commands", [(), ("true",)], ids=["config only", "commands"])
    def test_the_parents_cmd_and_entrypoint_survive(
        self, site: Site, cmd: tuple[str, ...] | None, entrypoint: tuple[str, ...] | None, commands: tuple[str, ...]
    ) -> None:
        parent = site.engine.derive(site.start().id, ImageChange(cmd=cmd or (), entrypoint=entrypoint or ()))
        child = site.engine.derive(parent.id, ImageChange(labels={"x": "y"}), commands)
        assert _texts(parent, "Cmd") == list(cmd or ())
        assert _texts(child, "Cmd") == list(cmd or ())
        assert _texts(child, "Entrypoint") == list(entrypoint or ())

    def test_everything_a_stage_may_write_stands_in_the_image(self, site: Site) -> None:
        change = ImageChange(
            volumes=("/data",), expose=("80", "53/udp", "8000-8001"), workdir="/srv", user="nobody", healthcheck=("CMD-SHELL", "true")
        )
        config = site.engine.derive(site.start().id, change).config
        assert (config["WorkingDir"], config["User"]) == ("/srv", "nobody")
        assert config["Volumes"] == {"/data": {}}
        assert config["ExposedPorts"] == {"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}}
        assert config["Healthcheck"] == {"Test": ["CMD-SHELL", "true"]}

    def test_a_later_stage_keeps_user_workdir_volumes_ports_and_healthcheck(self, site: Site) -> None:
        change = ImageChange(volumes=("/data",), expose=("80",), workdir="/srv", user="nobody", healthcheck=("CMD", "/bin/true"))
        parent = site.engine.derive(site.start().id, change)
        child = site.engine.derive(parent.id, ImageChange(volumes=("/more",)), ["true"])
        for key in ("User", "WorkingDir", "ExposedPorts", "Healthcheck"):
            assert child.config[key] == parent.config[key]
        assert child.config["Volumes"] == {"/data": {}, "/more": {}}

    def test_commands_add_one_layer_and_their_output_comes_line_by_line(self, site: Site) -> None:
        base, lines = site.start(), list[str]()
        child = site.engine.derive(base.id, ImageChange(), ["echo one two", "touch /made", "echo three"], lines.append)
        assert lines == ["one two", "three"]
        assert child.diff_ids[:-1] == base.diff_ids

    def test_the_first_failing_command_stops_the_stage_and_its_output_is_told(self, site: Site) -> None:
        lines: list[str] = []
        with pytest.raises(StageFailed, match="found exit code 7") as caught:
            site.engine.derive(site.start().id, ImageChange(), ["echo before", "exit 7", "echo after"], lines.append)
        assert lines == ["before"]
        assert caught.value.output == "before"
        assert caught.value.hint

    def test_a_base_without_a_shell_is_said_to_have_none(self, site: Site) -> None:
        empty = site.engine.import_rootfs(None, AMD64, {})
        with pytest.raises(AnswerIsNo, match="without /bin/sh") as caught:
            site.engine.derive(empty.id, ImageChange(), ["true"])
        assert "a base that has a shell" in caught.value.hint

    def test_a_parent_that_was_removed_is_gone(self, site: Site) -> None:
        with pytest.raises(Gone, match="expected the engine to have the image"):
            site.engine.derive(ImageId.of(b"nothing"), ImageChange())

    def test_the_same_commands_twice_give_two_images(self, site: Site) -> None:
        base = site.start()
        twice = {site.engine.derive(base.id, ImageChange(), ["true"]).id for _ in range(2)}
        assert len(twice) == 2


class TestImport:
    def test_the_layer_is_the_hash_of_the_tar_however_it_was_packed(self, site: Site, tmp_path: Path) -> None:
        data = site.rootfs.read_bytes()
        (tmp_path / "a.tar.gz").write_bytes(gzip.compress(data, 1))
        (tmp_path / "a.tar.xz").write_bytes(lzma.compress(data, preset=0))
        subprocess.run(["zstd", "-q", "-1", str(site.rootfs), "-o", str(tmp_path / "a.tar.zst")], check=True)
        for archive in (site.rootfs, *sorted(tmp_path.iterdir())):
            image = site.engine.import_rootfs(archive, AMD64, {"from": "archive '$x'\n"})
            assert image.diff_ids == (Digest.of(data),)
            assert image.labels == {"from": "archive '$x'\n"}

    def test_scratch_is_one_layer_of_no_files(self, site: Site) -> None:
        assert site.engine.import_rootfs(None, AMD64, {"a": "b"}).diff_ids == (EMPTY_LAYER,)

    @pytest.mark.parametrize("data", [b"no archive at all" * 100, b"\x1f\x8btorn", b"BZh91AY"], ids=["text", "torn gzip", "bzip2"])
    def test_what_is_no_root_filesystem_is_refused(self, site: Site, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "bad").write_bytes(data)
        with pytest.raises(InputError, match=r"root filesystem") as caught:
            site.engine.import_rootfs(tmp_path / "bad", AMD64, {})
        assert caught.value.hint

    @pytest.mark.parametrize("platform", [Platform("linux", "s390x"), Platform("linux", "arm", "v6")], ids=str)
    def test_files_are_for_whatever_platform_they_are_said_to_be_for(self, site: Site, platform: Platform) -> None:
        image = site.engine.import_rootfs(site.rootfs, platform, {"made": "here"})
        assert image.platform == platform
        assert image.labels["made"] == "here"
        own = site.engine.import_rootfs(site.rootfs, AMD64, {})
        assert (own.platform, own.diff_ids) == (AMD64, image.diff_ids)
        child = site.engine.derive(image.id, ImageChange(labels={"child": "yes"}))
        assert child.platform == platform


class TestPush:
    def test_the_registry_serves_what_was_pushed_under_the_digest_that_was_told(self, site: Site) -> None:
        image = site.engine.derive(site.start().id, ImageChange(labels={"a": "b"}), ["echo hi"])
        name = site.repository.tagged("one")
        site.engine.tag(image.id, name)
        digest = site.engine.push(name)
        manifest = site.registry.find_manifest(name)
        assert manifest is not None
        assert manifest.descriptor.digest == digest
        assert manifest.config is not None
        assert manifest.image_id == image.id
        config = parse_image_config(site.registry.get_blob(site.repository, manifest.config, 1 << 20))
        assert config.diff_ids == image.diff_ids
        assert config.labels == image.labels

    def test_untag_removes_the_name_and_leaves_the_image(self, site: Site) -> None:
        image = site.engine.derive(site.start().id, ImageChange(labels={"a": "b"}), ["echo hi"])
        name = site.repository.tagged("one")
        site.engine.tag(image.id, name)
        digest = site.engine.push(name)
        site.engine.untag(name)
        site.engine.untag(name)
        assert site.engine.find_image(str(name)) is None
        assert site.engine.find_image(str(image.id)) is not None
        assert site.engine.pull(name.at(digest)).id == image.id

    def test_a_name_can_move_to_another_image(self, site: Site) -> None:
        base, name = site.start(), site.repository.tagged("moving")
        images = [site.engine.derive(base.id, ImageChange(labels={"n": str(number)})) for number in range(2)]
        for image in images:
            site.engine.tag(image.id, name)
        found = site.engine.find_image(str(name))
        assert found is not None
        assert found.id == images[1].id

    def test_a_name_nobody_gave_cannot_be_pushed(self, site: Site) -> None:
        with pytest.raises(Gone, match="does not exist locally"):
            site.engine.push(site.repository.tagged("never"))

    def test_docker_hubs_short_and_long_names_are_one(self, site: Site) -> None:
        image = site.start()
        site.engine.tag(image.id, parse_reference("contract-hub-name:1"))
        found = site.engine.find_image("docker.io/library/contract-hub-name:1")
        assert found is not None
        assert found.id == image.id
        site.engine.untag(parse_reference("docker.io/library/contract-hub-name:1"))
        assert site.engine.find_image("contract-hub-name:1") is None


class TestVolumes:
    def test_the_first_labels_of_a_volume_stay_whoever_asks_again(self, site: Site) -> None:
        name = f"stagepin-contract-{uuid4().hex}"
        assert site.engine.find_volume(name) is None
        assert site.engine.create_volume(name, {"document": '{"a": "é"}\n'}) == {"document": '{"a": "é"}\n'}
        assert site.engine.create_volume(name, {"document": "another"}) == {"document": '{"a": "é"}\n'}
        assert site.engine.find_volume(name) == {"document": '{"a": "é"}\n'}

    def test_of_many_at_once_one_wins_and_all_hear_which(self, site: Site) -> None:
        for _ in range(5):
            name, start = f"stagepin-contract-{uuid4().hex}", Barrier(8)

            def create(number: int, name: str = name, start: Barrier = start) -> str:
                start.wait()
                return site.engine.create_volume(name, {"n": str(number)})["n"]

            with ThreadPoolExecutor(8) as pool:
                assert len(set(pool.map(create, range(8)))) == 1


class TestBuild:
    def test_an_image_is_built_on_the_pinned_base_with_our_labels(self, site: Site) -> None:
        base, lines = site.start(), list[str]()
        image = site.build(f"FROM {site.base}\nRUN echo hello\nCOPY a.txt /a\n", ContextFile("a.txt", "100644", b"x"), lines=lines)
        assert image.diff_ids[: len(base.diff_ids)] == base.diff_ids
        assert len(image.diff_ids) > len(base.diff_ids)
        assert image.labels["made"] == "here"
        assert any("RUN echo hello" in line for line in lines)
        assert "hello" in lines

    def test_a_failing_instruction_is_told_with_its_output(self, site: Site) -> None:
        site.start()
        with pytest.raises(StageFailed, match="expected the build to succeed") as caught:
            site.build(f"FROM {site.base}\nRUN echo before; exit 7\n")
        assert "exit code: 7" in caught.value.message
        assert "before" in caught.value.output.splitlines()

    def test_a_target_is_where_the_build_stops(self, site: Site) -> None:
        site.start()
        site.build(f"FROM {site.base} AS first\nRUN echo one\nFROM first AS second\nRUN exit 1\n", target="first")

    def test_an_unknown_instruction_is_the_callers_to_mend(self, site: Site) -> None:
        with pytest.raises(InputError, match="unknown instruction: FRM") as caught:
            site.build(f"FRM {site.base}\n")
        assert caught.value.hint == "mend the Dockerfile"

    def test_a_base_the_registry_lost_is_gone(self, site: Site) -> None:
        with pytest.raises(Gone, match="not found"):
            site.build(f"FROM {site.base.repository.at(Digest.of(b'lost'))}\nRUN echo hi\n")

    def test_from_scratch_asks_no_registry(self, site: Site) -> None:
        image = site.build("FROM scratch\nCOPY a /a\n", ContextFile("a", "100755", b"a"))
        assert len(image.diff_ids) == 1


def test_the_native_platform_is_the_machines(site: Site) -> None:
    assert site.engine.native_platform() == AMD64


@pytest.mark.engine
class TestRealEngine:
    """What only a real engine can get wrong."""

    def test_a_stale_tag_does_not_stand_in_for_a_digest_that_is_missing(self, real: Site) -> None:
        stale = real.start()
        missing = real.repository.at(Digest.of(b"tampered"))
        real.engine.tag(stale.id, real.repository.tagged("latest"))
        with pytest.raises(Gone):
            real.engine.pull(missing)
        assert real.engine.find_image(str(missing)) is None

    def test_a_manifest_with_other_bytes_is_no_image_and_a_stale_tag_is_not_used(self, real: Site) -> None:
        with FakeRegistry() as liar:
            digest = liar.put_image("app", "latest")
            pinned = Repository(liar.address, "app").at(digest)
            real.engine.tag(real.start().id, pinned.repository.tagged("latest"))
            liar.fail(method="GET", path="/manifests/", change=lambda body: body + b"\n", times=None)
            with pytest.raises(Unavailable) as caught:
                real.engine.pull(pinned)
            assert str(pinned) in caught.value.message

    def test_a_registry_that_refuses_a_push_is_access_denied(self, real: Site) -> None:
        with FakeRegistry() as closed:
            closed.require_basic("user", "secret")
            name = Repository(closed.address, "app").tagged("one")
            real.engine.tag(real.start().id, name)
            with pytest.raises(AccessDenied) as caught:
                real.engine.push(name)
            assert "DOCKER_AUTH_CONFIG" in caught.value.hint

    def test_credentials_go_to_the_registry_they_are_for(self, real: Site, docker_host: str) -> None:
        asked: list[str] = []
        with FakeRegistry() as closed:
            closed.require_basic("user", "s3cret")

            def credentials(registry: str) -> Credentials | None:
                asked.append(registry)
                return Credentials("user", "s3cret") if registry == closed.address else None

            engine = DockerEngine(docker_host, credentials=credentials, environ={})
            pinned = Repository(closed.address, "app").at(closed.put_image("app", seed="credentials"))
            assert str(pinned) in engine.pull(pinned).repo_digests
            engine.pull(real.base)
            assert set(asked) <= {closed.address, real.base.repository.registry}
            with pytest.raises(AccessDenied) as caught:
                real.engine.pull(Repository(closed.address, "other").at(closed.put_image("other", seed="none")))
            assert "s3cret" not in caught.value.message
            engine.close()

    def test_a_pull_that_the_registry_fails_once_is_tried_again(self, docker_host: str) -> None:
        clock = FakeClock()
        engine = DockerEngine(docker_host, credentials=no_credentials, environ={}, retry=RetryPolicy(clock.sleep))
        with FakeRegistry() as torn:
            pinned = Repository(torn.address, "app").at(torn.put_image("app", seed="torn"))
            torn.fail(method="GET", path="/manifests/", status=500, times=1)
            assert str(pinned) in engine.pull(pinned).repo_digests
        assert len(clock.slept) == 1
        engine.close()

    def test_a_push_nobody_takes_is_unavailable(self, real: Site) -> None:
        name = parse_reference("127.0.0.1:1/app:one")
        real.engine.tag(real.start().id, name)
        with pytest.raises(Unavailable, match="connection refused"):
            real.engine.push(name)

    def test_a_pull_from_nobody_is_unavailable(self, real: Site) -> None:
        with pytest.raises(Unavailable, match="connection refused"):
            real.engine.pull(parse_reference("127.0.0.1:1/app").at(Digest.of(b"x")))

    @pytest.mark.parametrize(
        ("commands", "code", "printed"),
        [
            (["false && true", "echo after"], 1, ""),
            (["if true; then\n  echo in\n  false\n  echo not\nfi", "echo after"], 1, "in"),
            (["echo a \\", "(exit 9)", "echo after"], 9, "a"),
            (["echo a # comment", "exit 3 # comment"], 3, "a"),
            (["cat <<END\nx\nEND", "false || exit 4"], 4, "x"),
            (["echo err >&2; printf open", "false"], 1, "err\nopen"),
        ],
    )
    def test_shell_subtleties_do_not_hide_a_failure(self, real: Site, commands: list[str], code: int, printed: str) -> None:
        with pytest.raises(StageFailed, match=f"exit code {code}$") as caught:
            real.engine.derive(real.start().id, ImageChange(), commands)
        assert sorted(caught.value.output.splitlines()) == sorted(printed.splitlines())

    def test_commands_run_as_root_without_our_environment(self, real: Site) -> None:
        lines: list[str] = []
        parent = real.engine.derive(real.start().id, ImageChange(user="nobody", env={"SEEN": "yes"}))
        real.engine.derive(parent.id, ImageChange(), ["id -u", "env", "ls /var/run 2>&1 || true"], lines.append)
        names = {line.partition("=")[0] for line in lines if "=" in line}
        assert lines[0] == "0"
        assert names <= {"HOSTNAME", "SHLVL", "HOME", "PATH", "PWD", "SEEN", "BASE"}
        assert not any("docker.sock" in line for line in lines)

    def test_what_docker_alone_knows_survives_too(self, real: Site) -> None:
        real.start()
        text = 'STOPSIGNAL SIGQUIT\nSHELL ["/bin/ash", "-c"]\nHEALTHCHECK --interval=5m CMD true\nONBUILD RUN echo hi\n'
        parent = real.build(f"FROM {real.base}\n{text}")
        child = real.engine.derive(parent.id, ImageChange(labels={"a": "b"}), ["true"])
        for key in ("StopSignal", "Shell", "OnBuild", "Healthcheck"):
            assert child.config[key] == parent.config[key]

    def test_a_build_copies_and_mounts_from_pinned_references(self, real: Site) -> None:
        other = real.engine.pull(real.base)
        lines: list[str] = []
        text = (
            f"FROM {real.base} AS made\nARG WHO\nRUN --mount=type=bind,from={real.base},target=/m cat /m/etc/stagepin-base > /made\n"
            f"FROM scratch\nCOPY --from={real.base} /bin /bin\nCOPY --from=made /made /made\nRUN echo made $(cat /made)\n"
        )
        image = real.build(text, lines=lines)
        assert other.diff_ids
        assert "made 1" in lines
        assert image.labels["made"] == "here"

    def test_links_and_modes_of_the_context_arrive(self, real: Site) -> None:
        real.start()
        files = [
            ContextFile("bin/run", "100755", b"#!/bin/sh\necho ran\n"),
            ContextFile("link", "120000", b"bin/run"),
            ContextFile("outside", "120000", b"/etc/hostname"),
        ]
        lines: list[str] = []
        real.build(
            f"FROM {real.base}\nCOPY . /c\nRUN /c/link && readlink /c/outside && stat -c %a:%u:%g:%Y /c/bin/run\n", *files, lines=lines
        )
        assert "ran" in lines
        assert "/etc/hostname" in lines
        assert "755:0:0:0" in lines

    def test_an_older_api_builds_with_the_classic_builder(self, real: Site, docker_host: str) -> None:
        real.start()
        old = replace(real, engine=DockerEngine(docker_host, credentials=no_credentials, environ={}, api_version="1.38"))
        lines: list[str] = []
        image = old.build(f"FROM {real.base}\nRUN echo classic\n", lines=lines)
        assert "classic" in lines
        assert image.labels["made"] == "here"
        with pytest.raises(StageFailed, match="returned a non-zero code: 3"):
            old.build(f"FROM {real.base}\nRUN exit 3\n")
        with pytest.raises(InputError, match="requires BuildKit") as caught:
            old.build(f"FROM {real.base}\nRUN --mount=type=cache,target=/c true\n")
        assert "engine" in caught.value.hint
        with pytest.raises(InputError, match="with BuildKit for Dockerfile:2: a here-document in RUN, found one without"):
            old.engine.build(
                (),
                f"FROM {real.base}\nRUN <<END\ntrue\nEND\n",
                target=None,
                build_args={},
                labels={},
                platform=AMD64,
                output=lines.append,
                needs_buildkit="Dockerfile:2: a here-document in RUN",
            )

    def test_a_secret_nobody_gave_is_the_callers_to_give(self, real: Site) -> None:
        real.start()
        with pytest.raises(InputError, match=r"found: no secret 'a' was given to this build$") as caught:
            real.build(f"FROM {real.base}\nRUN --mount=type=secret,id=a,required=true true\n")
        assert "--secret" in caught.value.hint

    def test_no_container_is_left_behind(self, real: Site, docker_host: str) -> None:
        import docker

        real.engine.derive(real.start().id, ImageChange(volumes=("/v",)), ["true"])
        with pytest.raises(StageFailed):
            real.engine.derive(real.start().id, ImageChange(), ["false"])
        client = docker.APIClient(docker_host, version="auto")
        try:
            assert client.containers(all=True, filters={"name": "^/?stagepin-"}) == []
        finally:
            client.close()


@pytest.mark.engine
def test_an_engine_killed_while_a_command_runs_is_unavailable(tmp_path: Path, rootfs: Path) -> None:
    with start_engine(tmp_path / "engine") as own:
        engine = DockerEngine(own.docker_host, credentials=no_credentials, environ={})
        base = engine.import_rootfs(rootfs, AMD64, {})

        def kill(_line: str) -> None:
            own.kill()

        with pytest.raises(Unavailable) as caught:
            engine.derive(base.id, ImageChange(), ["echo running", "sleep 600"], kill)
        assert "is the engine still running" in caught.value.hint
        with pytest.raises(Unavailable):
            engine.native_platform()


@pytest.mark.engine
def test_an_engine_killed_during_a_build_is_unavailable(tmp_path: Path) -> None:
    with start_engine(tmp_path / "engine") as own:
        engine = DockerEngine(own.docker_host, credentials=no_credentials, environ={})

        def kill(line: str) -> None:
            if line == "running":
                own.kill()

        files = [ContextFile("rootfs.tar", "100644", busybox_rootfs("1"))]
        text = "FROM scratch\nADD rootfs.tar /\nRUN echo running; sleep 600\n"
        with pytest.raises(Unavailable):
            engine.build(files, text, target=None, build_args={}, labels={}, platform=AMD64, output=kill)


def test_a_dead_fake_is_unavailable() -> None:
    engine = FakeEngine()
    engine.dead = True
    with pytest.raises(Unavailable, match="found no answer"):
        engine.native_platform()


def _texts(image: EngineImage, key: str) -> list[str]:
    value = image.config.get(key) or []
    assert isinstance(value, list)
    return value
