"""What an engine newer than those tested answers, by documents written by hand (tests/data/engine/README.md), over plain TCP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ci_plugin.engine.buildkit.protobuf import field
from ci_plugin.engine.docker_engine import DockerEngine
from ci_plugin.errors import InputError
from ci_plugin.ports import BuildSettings, ContextFile
from ci_plugin.values.digest import ImageId
from ci_plugin.values.platform import Platform
from tests.fakes.buildkit import FakeBuildkit
from tests.fakes.registry_client import no_credentials

DATA = Path("tests/data/engine") if Path("tests/data/engine").is_dir() else Path(__file__).parents[1] / "data" / "engine"
SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"


class NewerEngine(ThreadingHTTPServer):
    """Answers with the documents; ``asked`` is every request, ``heard`` what it learned over the session."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ping = "ping.txt"
        self.has_sessions = True
        self.asked: list[str] = []
        self.session_headers: list[tuple[str, str]] = []
        self.heard: dict[str, object] = {}
        self.session_asked = threading.Event()
        self.build_answered = threading.Event()

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: NewerEngine
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0]
        version, _, name = path.removeprefix("/v").partition("/")
        match name if path.startswith("/v1.") else path:
            case "/version":
                self._send("version.json")
            case _ if path.startswith("/v1.") and tuple(map(int, version.split("."))) < (1, 44):
                self._send("too-old.json", 400)
            case "version":
                self._send("version.json")
            case "_ping":
                self._send(self.server.ping)
            case "networks":
                self._send("networks.json")
            case "session" if self.server.has_sessions:
                self._serve_session()
            case "session":
                self._send("too-old.json", 403)
            case "build":
                assert self.server.session_asked.wait(20)
                self._send("build.jsonl")
                self.server.build_answered.set()
            case _:
                self._send("image.json")

    def _send(self, document: str, status: int = 200) -> None:
        data = (DATA / document).read_bytes()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))

    def _serve_session(self) -> None:
        """Ask as a newer engine does: its health check, a token (which is not ours to fetch), a secret, the Dockerfile."""
        self.server.session_headers = list(self.headers.items())
        self.close_connection = True
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "h2c")
        self.end_headers()
        self.wfile.flush()
        client = FakeBuildkit(self.connection)
        for method, message in (
            ("/grpc.health.v1.Health/Check", b""),
            ("/moby.filesync.v1.Auth/GetTokenAuthority", field(1, "registry.example.com")),
            ("/moby.filesync.v1.Auth/FetchToken", field(1, "client")),
            (SECRET, field(1, "token")),
        ):
            self.server.heard[method.rpartition("/")[2]] = client.ask(method, message)[:2]
        call = client.call("/moby.filesync.v1.FileSync/DiffCopy", {"dir-name": "dockerfile", "followpaths": "Dockerfile"})
        call.send(field(1, 1), end=False)
        self.server.heard["dockerfile"] = b"".join(call.wait(4))
        self.server.session_asked.set()
        assert self.server.build_answered.wait(20)


@contextmanager
def newer_engine() -> Iterator[NewerEngine]:
    with NewerEngine() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(20)


def _build(engine: DockerEngine, lines: list[str]) -> tuple[ImageId, Platform]:
    image = engine.build(
        [ContextFile("a", "100644", b"a")],
        "FROM scratch\nCOPY a /\n",
        target=None,
        build_args={},
        labels={"made": "here"},
        platform=Platform("linux", "amd64"),
        output=lines.append,
        settings=BuildSettings(secrets={"token": b"value"}),
    )
    return image.id, image.platform


def test_the_api_version_is_the_engines_and_the_answer_of_its_image_store_is_taken() -> None:
    lines: list[str] = []
    with newer_engine() as server, closing(DockerEngine(server.address, credentials=no_credentials, environ={})) as engine:
        image, platform = _build(engine, lines)
    assert str(image) == json.loads((DATA / "image.json").read_bytes())["Descriptor"]["digest"]
    assert str(platform) == "linux/amd64"
    assert lines == ["[1/1] RUN newer"]
    assert {request.split("/")[1] for request in server.asked} == {"version", "v1.52"}
    (build,) = (request for request in server.asked if "/build?" in request)
    assert "version=2" in build
    assert "remote=client-session" in build
    assert "networkmode" not in build


def test_what_the_session_serves_is_told_one_header_each_and_answered() -> None:
    with newer_engine() as server, closing(DockerEngine(server.address, credentials=no_credentials, environ={})) as engine:
        _build(engine, [])
    methods = {value for name, value in server.session_headers if name == "X-Docker-Expose-Session-Grpc-Method"}
    assert methods == {
        "/grpc.health.v1.Health/Check",
        "/moby.filesync.v1.Auth/Credentials",
        "/moby.filesync.v1.FileSync/DiffCopy",
        SECRET,
        "/moby.sshforward.v1.SSH/CheckAgent",
        "/moby.sshforward.v1.SSH/ForwardAgent",
    }
    assert server.heard["Check"] == (0, b"\x08\x01")
    assert server.heard["GetTokenAuthority"] == server.heard["FetchToken"] == (12, b"")
    assert server.heard["GetSecret"] == (0, field(1, b"value"))
    assert b"FROM scratch\nCOPY a /\n" in server.heard["dockerfile"]  # type: ignore[operator]  # bytes


def test_a_version_that_is_too_old_for_it_is_the_callers_to_mend() -> None:
    with (
        newer_engine() as server,
        closing(DockerEngine(server.address, credentials=no_credentials, environ={}, api_version="1.41")) as engine,
        pytest.raises(InputError, match=r"client version 1\.41 is too old\. Minimum supported API version is 1\.44"),
    ):
        engine.native_platform()


def test_what_answers_a_ping_in_other_words_is_no_engine() -> None:
    with newer_engine() as server, closing(DockerEngine(server.address, credentials=no_credentials, environ={})) as engine:
        server.ping = "networks.json"
        with pytest.raises(InputError, match=r"^no Docker engine reachable at tcp://.*found an answer that is no engine's$"):
            engine.native_platform()


def test_a_proxy_that_lets_no_session_through_is_the_callers_to_mend() -> None:
    with newer_engine() as server, closing(DockerEngine(server.address, credentials=no_credentials, environ={})) as engine:
        server.has_sessions = False
        with pytest.raises(InputError, match=r"^expected the engine at tcp://.* to take POST /session, found status 403$") as caught:
            _build(engine, [])
    assert "a proxy of its socket" in caught.value.hint
