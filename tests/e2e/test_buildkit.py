"""Dockerfiles on a real engine's BuildKit: what it asks of us over the session, and what must not be seen anywhere afterwards."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import pytest

from ci_plugin.demo.rig import Rig, push_base, start_engine
from ci_plugin.demo.rootfs import busybox_rootfs
from ci_plugin.engine.docker_engine import DockerEngine
from ci_plugin.errors import AccessDenied, Gone, InputError, StageFailed, StagepinError, Unavailable
from ci_plugin.ports import NO_BUILD_SETTINGS, BuildSettings, ContextFile, EngineImage
from ci_plugin.values.credentials import Credentials
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Reference, Repository
from tests.fakes.certificates import Authority
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_client import no_credentials

SECRET = "zq7-only-during-the-build"


class Site:
    """An engine that is asked to build, and the pinned base it builds on."""

    def __init__(self, engine: DockerEngine, base: Reference) -> None:
        self.engine = engine
        self.base = base
        self.lines: list[str] = []

    def build(self, text: str, *files: ContextFile, settings: BuildSettings = NO_BUILD_SETTINGS, **args: str) -> EngineImage:
        """Build a text whose ``BASE`` is the base; ``lines`` is what it printed."""
        self.lines = []
        return self.engine.build(
            files,
            text.replace("BASE", str(self.base)),
            target=None,
            build_args=args,
            labels={},
            platform=Platform("linux", "amd64"),
            output=self.lines.append,
            settings=settings,
        )


@pytest.fixture(scope="module")
def base(rig: Rig) -> Reference:
    digest = push_base(rig.docker_host, rig.registry_address, "buildkit/base", "latest", "1")
    return Repository(rig.registry_address, "buildkit/base").at(digest)


@pytest.fixture(scope="module")
def site(rig: Rig, base: Reference) -> Iterator[Site]:
    engine = DockerEngine(rig.docker_host, credentials=no_credentials, environ={})
    engine.pull(base)
    yield Site(engine, base)
    engine.close()


def _file(path: str, text: str = "x", mode: str = "100644") -> ContextFile:
    return ContextFile(path, mode, text.encode())


class TestContext:
    def test_the_dockerfile_is_no_file_of_the_context(self, site: Site) -> None:
        site.build('FROM BASE\nCOPY . /c\nRUN test "$(ls -A /c)" = only\n', _file("only"))

    def test_a_dockerfile_of_the_context_is_the_committed_one(self, site: Site) -> None:
        site.build('FROM BASE\nCOPY . /c\nRUN test "$(cat /c/Dockerfile)" = committed\n', _file("Dockerfile", "committed"))

    def test_an_ignore_file_in_the_context_hides_nothing_a_second_time(self, site: Site) -> None:
        files = (_file(".dockerignore", "*\n"), _file("Dockerfile.dockerignore", "*\n"), _file("kept/by-name"))
        site.build("FROM BASE\nCOPY . /c\nRUN test -f /c/kept/by-name && test -f /c/.dockerignore\n", *files)

    def test_the_ignore_file_alone_can_be_copied(self, site: Site) -> None:
        site.build('FROM BASE\nCOPY .dockerignore /i\nRUN test "$(cat /i)" = "*"\n', _file(".dockerignore", "*\n"), _file("a"))

    def test_an_empty_context_is_one(self, site: Site) -> None:
        site.build('FROM BASE\nCOPY . /c\nRUN test -z "$(ls -A /c)"\n')

    def test_names_that_sort_by_bytes_and_by_directories_differently_all_arrive(self, site: Site) -> None:
        names = ["a", "a.b", "a-b/x", "a0", "b/c/d", "b/c.d", "b.c", "ä", "Z", "b/c/" + "deep/" * 30 + "f", "empty"]
        files = [_file(f"{name}/x" if name == "a" else name, "" if name == "empty" else name) for name in names]
        site.build("FROM BASE\nCOPY . /c\nRUN cd /c && find . -type f | wc -l\n", *files)
        assert str(len(files)) in site.lines

    def test_a_file_that_changes_at_equal_size_is_the_new_one(self, site: Site) -> None:
        text = "FROM BASE\nCOPY f g /\nRUN echo found $(cat /f)$(cat /g)\n"
        for content in ("one", "two"):
            site.build(text, _file("f", content), _file("g", "same"))
            assert f"found {content}same" in site.lines

    def test_a_dockerfile_that_changes_at_equal_size_is_the_new_one(self, site: Site) -> None:
        for content in ("one", "two"):
            site.build(f"FROM BASE\nCOPY f /\nRUN echo found {content}\n", _file("f", "the same"))
            assert f"found {content}" in site.lines

    def test_an_unchanged_context_is_used_from_the_cache_and_said_to_be(self, site: Site) -> None:
        text = "FROM BASE\nCOPY f /\nRUN echo once > /once\n"
        first, again = (site.build(text, _file("f", "cached")) for _ in range(2))
        assert first.diff_ids == again.diff_ids
        assert "[3/3] RUN echo once > /once (cached)" in site.lines

    def test_a_file_larger_than_any_message_arrives_whole(self, site: Site) -> None:
        data = os.urandom(9_000_001)
        site.build("FROM BASE\nCOPY big /\nRUN sha256sum /big\n", ContextFile("big", "100644", data))
        import hashlib

        assert f"{hashlib.sha256(data).hexdigest()}  /big" in site.lines


class TestSecrets:
    TEXT = "FROM BASE\nRUN --mount=type=secret,id=token,required=true wc -c < /run/secrets/token\n"

    def test_a_secret_is_there_for_one_instruction_and_nowhere_afterwards(self, site: Site, rig: Rig) -> None:
        text = self.TEXT + 'RUN test ! -s /run/secrets/token && test -z "$(grep -rl zq7-only / --exclude-dir=proc --exclude-dir=sys)"\n'
        image = site.build(text, settings=BuildSettings(secrets={"token": SECRET.encode()}))
        assert str(len(SECRET)) in site.lines
        api: Any = docker.APIClient(rig.docker_host, version="auto")  # the stubs leave these methods untyped
        with closing(api):
            told = json.dumps([api.inspect_image(str(image.id)), api.history(str(image.id))], default=str)
            layers = b"".join(api.get_image(str(image.id)))
        assert SECRET not in told
        assert SECRET.encode() not in layers

    def test_another_value_of_a_secret_rebuilds_nothing(self, site: Site) -> None:
        text = "FROM BASE\nRUN --mount=type=secret,id=token true # cache\n"
        for value in (b"one", b"two"):
            site.build(text, settings=BuildSettings(secrets={"token": value}))
        assert site.lines[-2].endswith("true # cache (cached)") or any(line.endswith("true # cache (cached)") for line in site.lines)

    def test_a_secret_that_is_not_required_may_be_missing(self, site: Site) -> None:
        site.build("FROM BASE\nRUN --mount=type=secret,id=other test ! -e /run/secrets/other\n")

    def test_a_step_that_fails_without_its_secret_says_which_was_not_given(self, site: Site) -> None:
        with pytest.raises(StageFailed) as caught:
            site.build("FROM BASE\nRUN --mount=type=secret,id=token cat /run/secrets/token\n")
        assert caught.value.hint.endswith("; no secret 'token' was given to this build")

    def test_the_classic_builder_has_none(self, rig: Rig, base: Reference) -> None:
        with closing(DockerEngine(rig.docker_host, credentials=no_credentials, environ={}, api_version="1.38")) as engine:
            old = Site(engine, base)
            with pytest.raises(InputError, match=r"^expected an engine with BuildKit for the secret 'token', found one without$"):
                old.build("FROM BASE\n", settings=BuildSettings(secrets={"token": b"x"}))


class TestAroundTheBuild:
    def test_hosts_are_known_during_the_build_alone(self, site: Site) -> None:
        site.build("FROM BASE\nRUN cat /etc/hosts # hosts\n", settings=BuildSettings(add_hosts=("there:192.0.2.7", "six:2001:db8::1")))
        known = [line.split() for line in site.lines]
        assert ["192.0.2.7", "there"] in known
        assert ["2001:db8::1", "six"] in known

    def test_the_classic_builder_knows_hosts_too(self, rig: Rig, base: Reference) -> None:
        with closing(DockerEngine(rig.docker_host, credentials=no_credentials, environ={}, api_version="1.38")) as engine:
            old = Site(engine, base)
            old.build(
                "FROM BASE\nCOPY . /c\nRUN cat /etc/hosts; ls -A /c\n", _file("f"), settings=BuildSettings(add_hosts=("there:192.0.2.7",))
            )
            assert ["192.0.2.7", "there"] in [line.split() for line in old.lines]
            assert not [line for line in old.lines if line == ".stagepin.dockerfile"]

    def test_the_host_network_is_the_hosts(self, site: Site) -> None:
        site.build("FROM BASE\nRUN ls /sys/class/net | wc -l; cat /proc/net/dev # host\n", settings=BuildSettings(network="host"))
        host = {line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines() if ":" in line}
        built = {line.split(":")[0].strip() for line in site.lines if re.match(r"\s*\w+:", line)}
        assert host <= built


class TestAgents:
    @pytest.fixture
    def agent(self, tmp_path: Path) -> Iterator[str]:
        """An agent of OpenSSH that holds one key."""
        path = str(tmp_path / "agent")
        with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL) as agent:
            try:
                key, environ = tmp_path / "key", {**os.environ, "SSH_AUTH_SOCK": path}
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "the-key", "-f", str(key)], check=True)
                subprocess.run(["ssh-add", "-q", str(key)], check=True, env=environ)
                yield path
            finally:
                agent.terminate()

    @staticmethod
    def client() -> list[ContextFile]:
        """ssh-add and what it needs, as files of a context at their own places."""
        listed = subprocess.run(["ldd", "/usr/bin/ssh-add"], check=True, capture_output=True, text=True).stdout
        paths = ["/usr/bin/ssh-add", *re.findall(r"(/\S+) \(0x", listed)]
        return [ContextFile(path.lstrip("/"), "100755", Path(path).resolve().read_bytes()) for path in paths]

    TEXT = "FROM BASE\nCOPY . /\n" + 'RUN echo "root:x:0:0::/:/bin/sh" > /etc/passwd\nRUN --mount=type=ssh '

    def test_a_step_sees_the_keys_of_the_agent(self, site: Site, agent: str) -> None:
        site.build(f"{self.TEXT} ssh-add -l\n", *self.client(), settings=BuildSettings(ssh={"default": agent}))
        assert any("the-key (ED25519)" in line for line in site.lines)

    def test_a_step_cannot_take_a_key_from_the_agent(self, site: Site, agent: str) -> None:
        with pytest.raises(StageFailed) as caught:
            site.build(f"{self.TEXT} ssh-add -D\n", *self.client(), settings=BuildSettings(ssh={"default": agent}))
        assert "refused" in caught.value.output or "Failed to remove all identities" in caught.value.output
        held = subprocess.run(["ssh-add", "-l"], env={**os.environ, "SSH_AUTH_SOCK": agent}, capture_output=True, text=True, check=True)
        assert "the-key" in held.stdout

    def test_an_agent_nobody_gave_is_the_callers_to_give(self, site: Site) -> None:
        with pytest.raises(InputError, match=r"found: no SSH agent 'default' was given to this build$") as caught:
            site.build("FROM BASE\nRUN --mount=type=ssh,required=true true\n")
        assert "--ssh" in caught.value.hint

    def test_an_agent_that_is_gone_is_said_to_be(self, site: Site, tmp_path: Path) -> None:
        gone = str(tmp_path / "gone")
        text = "FROM BASE\nCOPY . /\nRUN --mount=type=ssh ssh-add -l # gone\n"
        with pytest.raises(InputError, match=rf"^expected an SSH agent at {re.escape(gone)}, found No such file or directory$"):
            site.build(text, *self.client(), settings=BuildSettings(ssh={"default": gone}))


class TestCredentials:
    def test_a_private_base_is_fetched_by_buildkit_itself_with_credentials_for_it_alone(self, rig: Rig, base: Reference) -> None:
        asked: list[str] = []
        with FakeRegistry() as closed:
            closed.require_basic("user", "s3cret")
            pinned = Repository(closed.address, "private").at(closed.put_image("private", seed="by buildkit"))

            def credentials(registry: str) -> Credentials | None:
                asked.append(registry)
                return Credentials("user", "s3cret") if registry == closed.address else None

            with closing(DockerEngine(rig.docker_host, credentials=credentials, environ={})) as engine:
                Site(engine, base).build(f"FROM BASE\nCOPY --from={pinned} / /p\n")
        assert set(asked) <= {closed.address, base.repository.registry}
        assert closed.address in asked

    def test_without_them_access_is_denied(self, site: Site) -> None:
        with FakeRegistry() as closed:
            closed.require_basic("user", "s3cret")
            pinned = Repository(closed.address, "private").at(closed.put_image("private", seed="denied"))
            with pytest.raises(AccessDenied) as caught:
                site.build(f"FROM {pinned}\nCOPY a /a\n", _file("a"))
        assert "DOCKER_AUTH_CONFIG" in caught.value.hint

    def test_the_image_of_a_syntax_line_is_asked_for_by_digest_with_credentials(self, rig: Rig, base: Reference) -> None:
        with FakeRegistry() as closed:
            closed.require_basic("user", "s3cret")
            digest = closed.put_image("frontend", "1", seed="no frontend at all")
            text = f"# syntax={closed.address}/frontend@{digest}\nFROM BASE\n"
            given = DockerEngine(rig.docker_host, credentials=lambda _host: Credentials("user", "s3cret"), environ={})
            with closing(given) as engine, pytest.raises(StagepinError):  # it is no frontend: what is proved is what was asked for
                Site(engine, base).build(text)
            manifests = [request for request in closed.requests if "/manifests/" in request.path and request.authorization]
        assert manifests
        assert {request.path.rpartition("/")[2] for request in manifests} == {str(digest)}


class TestEnd:
    def test_the_failing_steps_output_is_whole_and_nothing_but_its_own(self, site: Site) -> None:
        with pytest.raises(StageFailed) as caught:
            site.build("FROM BASE\nRUN echo somebody elses\nRUN seq 1 7000; exit 7\n")
        lines = caught.value.output.splitlines()
        assert lines[0] == "[3/3] RUN seq 1 7000; exit 7"
        assert lines[1:7001] == [str(number) for number in range(1, 7001)]
        assert "somebody elses" not in lines

    def test_a_build_that_is_stopped_ends_in_the_engine_too(self, site: Site) -> None:
        running = threading.Event()

        def tell(line: str) -> None:
            if line == "it runs":
                running.set()

        text = f"FROM {site.base}\nRUN echo it runs; sleep 4321\n"
        with ThreadPoolExecutor(1) as pool:
            built = pool.submit(
                site.engine.build,
                (),
                text,
                target=None,
                build_args={},
                labels={},
                platform=Platform("linux", "amd64"),
                output=tell,
            )
            assert running.wait(60)
            site.engine.stop()
            with pytest.raises(StagepinError):
                built.result(60)
        assert is_over("4321")

    def test_no_thread_of_a_session_is_left(self, site: Site) -> None:
        site.build("FROM BASE\n")
        with pytest.raises(StageFailed):
            site.build("FROM BASE\nRUN exit 1\n")
        assert [thread.name for thread in threading.enumerate() if thread.name.startswith("buildkit-session")] == []

    def test_a_base_the_registry_lost_is_gone(self, site: Site) -> None:
        lost = str(site.base).replace("@sha256:", "@sha256:0000")[: len(str(site.base))]
        with pytest.raises(Gone):
            site.build(f"FROM {lost}\nRUN true\n")

    def test_an_engine_that_is_killed_while_it_asks_us_is_unavailable(self, tmp_path: Path) -> None:
        with (
            start_engine(tmp_path / "engine") as own,
            closing(DockerEngine(own.docker_host, credentials=no_credentials, environ={})) as engine,
        ):

            def kill(line: str) -> None:
                if "ADD rootfs.tar" in line:
                    own.kill()

            files = [ContextFile("rootfs.tar", "100644", busybox_rootfs("1")), ContextFile("big", "100644", bytes(30_000_000))]
            with pytest.raises(Unavailable) as caught:
                engine.build(
                    files,
                    "FROM scratch\nADD rootfs.tar /\nCOPY big /\nRUN sleep 600\n",
                    target=None,
                    build_args={},
                    labels={},
                    platform=Platform("linux", "amd64"),
                    output=kill,
                )
        assert caught.value.exit_code == 3


def is_over(argument: str) -> bool:
    """Whether every process that has this argument is gone, or goes within half a minute: a container's end takes a moment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if argument.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(os.pidfd_open(int(entry.name)))
    ended = [bool(select.select([process], [], [], 30)[0]) for process in found]
    for process in found:
        os.close(process)
    return all(ended)


@contextmanager
def _tls_in_front_of(docker_host: str, directory: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The engine as GitLab's dind shows itself: TCP with TLS that wants a client's certificate; its address and the environment for it."""
    authority = Authority(directory)
    certificate, key = authority.issue("server")
    (directory / "ca.pem").write_bytes(authority.ca_file.read_bytes())
    for source, name in zip(authority.issue("client"), ("cert.pem", "key.pem"), strict=True):
        (directory / name).write_bytes(source.read_bytes())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.ca_file))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(40) as pool:
        port = server.getsockname()[1]
        pool.submit(_accept, server, context, urlsplit(docker_host).path, pool)
        try:
            yield f"tcp://127.0.0.1:{port}", {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(directory)}
        finally:
            server.shutdown(socket.SHUT_RDWR)


def _accept(server: socket.socket, context: ssl.SSLContext, path: str, pool: ThreadPoolExecutor) -> None:
    with suppress(OSError):
        while True:
            plain, _ = server.accept()
            pool.submit(_serve, plain, context, path)


def _serve(plain: socket.socket, context: ssl.SSLContext, path: str) -> None:
    """One connection; a select loop, because a TLS connection is not for two threads."""
    with plain, suppress(OSError), context.wrap_socket(plain, server_side=True) as client, socket.socket(socket.AF_UNIX) as engine:
        engine.connect(path)
        pairs = {client: engine, engine: client}
        while True:
            ready = [client] if client.pending() else select.select(list(pairs), [], [])[0]
            for source in ready:
                data = source.recv(65536)
                if not data:
                    return
                pairs[source].sendall(data)


def test_a_session_goes_over_tls_with_a_clients_certificate(
    rig: Rig, base: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(Authority(tmp_path, "somebody else's").ca_file))  # of a company's proxy, not of the engine
    data = os.urandom(3_000_000)
    with ExitStack() as stack:
        address, environ = stack.enter_context(_tls_in_front_of(rig.docker_host, tmp_path))
        over_tls = Site(stack.enter_context(closing(DockerEngine(address, credentials=no_credentials, environ=environ))), base)
        text = "FROM BASE\nCOPY big /\nRUN --mount=type=secret,id=token wc -c < /run/secrets/token; wc -c < /big # tls\n"
        over_tls.build(text, ContextFile("big", "100644", data), settings=BuildSettings(secrets={"token": SECRET.encode()}))
    assert str(len(SECRET)) in over_tls.lines
    assert "3000000" in over_tls.lines
