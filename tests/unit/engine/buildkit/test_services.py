from __future__ import annotations

import socket
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ci_plugin.engine.buildkit.files import by_components, directories
from ci_plugin.engine.buildkit.protobuf import field, fields, find_bytes
from ci_plugin.engine.buildkit.services import build_secrets, health, registry_auth
from ci_plugin.engine.buildkit.ssh import agent_forwarding
from ci_plugin.engine.context import ContextEntry, keep_context
from ci_plugin.errors import InputError
from ci_plugin.ports import ContextFile
from ci_plugin.values.credentials import Credentials
from tests.fakes.buildkit import Call, serving

CREDENTIALS = "/moby.filesync.v1.Auth/Credentials"
SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
DIFF_COPY = "/moby.filesync.v1.FileSync/DiffCopy"


def test_health_is_serving() -> None:
    with serving(health()) as served:
        assert served.client.ask("/grpc.health.v1.Health/Check", field(1, "any")) == (0, b"\x08\x01", "")


def test_credentials_are_given_to_their_registry_alone() -> None:
    known = {
        "registry.example.com:5000": Credentials("user", "s3cret"),
        "docker.io": Credentials("hub", "of the hub"),
        "token.example.com": Credentials("", "", identity_token="refresh"),
    }
    with serving(registry_auth(known.get)) as served:

        def ask(host: str) -> tuple[bytes, bytes]:
            status, answer, _ = served.client.ask(CREDENTIALS, field(1, host))
            assert status == 0
            return find_bytes(answer, 1), find_bytes(answer, 2)

        assert ask("registry.example.com:5000") == (b"user", b"s3cret")
        assert ask("registry.example.com") == (b"", b"")
        assert ask("registry-1.docker.io") == (b"hub", b"of the hub")
        assert ask("token.example.com") == (b"", b"refresh")


def test_a_secret_is_known_by_its_id() -> None:
    with serving(build_secrets({"token": b"\x00value"})) as served:
        assert served.client.ask(SECRET, field(1, "token")) == (0, field(1, b"\x00value"), "")
        assert served.client.ask(SECRET, field(1, "/etc/passwd")) == (5, b"", "no secret '/etc/passwd' was given to this build")
        assert list(served.server.refusals) == ["no secret '/etc/passwd' was given to this build"]


class TestDirectories:
    FILES = (
        ContextFile("a.b", "100644", b"dot"),
        ContextFile("a/x", "100755", b"inside" * 20_000),
        ContextFile("a/l", "120000", b"../a.b"),
        ContextFile(".dockerignore", "100644", b"*"),
        ContextFile("\udcff", "100644", b""),
    )

    @pytest.fixture
    def tree(self) -> Iterator[list[ContextEntry]]:
        with keep_context(self.FILES) as context:
            yield sorted(context.entries, key=lambda entry: by_components(entry.path))

    @staticmethod
    def told(call: Call, count: int) -> list[tuple[bytes, int, int, bytes]]:
        """Path, mode, size and link of what is told first, without the packet that ends it."""
        packets = [find_bytes(packet, 2) for packet in call.wait(count + 1)[: count + 1]]
        assert packets.pop() == b""
        facts = [dict(fields(packet)) for packet in packets]
        return [(one[1], one[2], one.get(5, 0), one.get(7, b"")) for one in facts]  # type: ignore[misc]  # as the message has them

    def test_every_path_is_told_in_the_order_of_directories(self, tree: list[ContextEntry]) -> None:
        with serving(directories({"context": tree})) as served:
            call = served.client.call(DIFF_COPY, {"dir-name": "context", "exclude-patterns": "*", "followpaths": "a"})
            assert self.told(call, 6) == [
                (b".dockerignore", 0o644, 1, b""),
                (b"a", 0o755 | 1 << 31, 0, b""),
                (b"a/l", 0o777 | 1 << 27, 0, b"../a.b"),
                (b"a/x", 0o755, 120_000, b""),
                (b"a.b", 0o644, 3, b""),
                (b"\xff", 0o644, 0, b""),
            ]

    def test_content_comes_by_number_and_fin_is_answered(self, tree: list[ContextEntry]) -> None:
        with serving(directories({"context": tree})) as served:
            call = served.client.call(DIFF_COPY, {"dir-name": "context"})
            for number in (3, 4):
                call.send(field(1, 1) + field(3, number))
            packets = [dict(fields(packet)) for packet in call.wait(7 + 4 + 1 + 2)[7:]]
            content: dict[object, bytes] = {3: b"", 4: b""}
            for packet in packets:
                assert packet[1] == 2
                content[packet[3]] += packet.get(4, b"")  # type: ignore[operator]  # bytes, as the message has them
            assert content == {3: b"inside" * 20_000, 4: b"dot"}
            assert 4 not in packets[-1]
            call.send(field(1, 3), end=True)
            assert call.finish() == (0, "")
            assert call.messages()[-1] == field(1, 3)

    def test_the_question_for_the_ignore_file_fetches_nothing_else(self, tree: list[ContextEntry]) -> None:
        with serving(directories({"context": tree})) as served:
            call = served.client.call(DIFF_COPY, {"dir-name": "context", "followpaths": ".dockerignore"})
            assert [path for path, *_ in self.told(call, 1)] == [b".dockerignore"]

    def test_what_is_no_file_of_it_is_refused(self, tree: list[ContextEntry]) -> None:
        with serving(directories({"context": tree})) as served:
            assert served.client.call(DIFF_COPY, {"dir-name": "/etc"}).finish() == (5, "no directory '/etc' belongs to this build")
            for number in (1, 2, 6, 10**9):  # a directory, a link, nothing
                call = served.client.call(DIFF_COPY, {"dir-name": "context"}).send(field(1, 1) + field(3, number))
                assert call.finish() == (5, f"no file has the number {number}")

    def test_an_error_over_there_ends_the_call(self, tree: list[ContextEntry]) -> None:
        with serving(directories({"context": tree})) as served:
            call = served.client.call(DIFF_COPY, {"dir-name": "context"}).send(field(1, 4) + field(4, b"disk full"))
            assert call.finish() == (2, "disk full")

    def test_a_parent_directory_is_one(self, tree: list[ContextEntry]) -> None:
        assert [entry.path for entry in tree if stat.S_ISDIR(entry.mode)] == ["a"]


@dataclass
class _Agent:
    """Answers every message of the agent protocol with the same bytes, and keeps what it was sent."""

    path: str
    received: bytearray

    def serve(self, server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            while data := connection.recv(65536):
                self.received += data
                connection.sendall(b"\0\0\0\5\x0c\0\0\0\0")


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[_Agent]:
    with socket.socket(socket.AF_UNIX) as server:
        found = _Agent(str(tmp_path / "agent"), bytearray())
        server.bind(found.path)
        server.listen()
        thread = threading.Thread(target=found.serve, args=(server,))
        thread.start()
        yield found
        thread.join(20)


class TestAgents:
    LIST, SIGN, REMOVE_ALL = b"\0\0\0\1\x0b", b"\0\0\0\3\x0dxy", b"\0\0\0\1\x13"

    def test_listing_and_signing_reach_the_agent_and_nothing_else_does(self, agent: _Agent) -> None:
        with serving(agent_forwarding({"default": agent.path})) as served:
            assert served.client.ask("/moby.sshforward.v1.SSH/CheckAgent") == (0, b"", "")
            call = served.client.call("/moby.sshforward.v1.SSH/ForwardAgent", {"buildkit.ssh.id": "default"})
            call.send(field(1, self.LIST[:2])).send(field(1, self.LIST[2:] + self.REMOVE_ALL))
            assert sorted(call.wait(2)) == sorted([field(1, b"\0\0\0\5\x0c\0\0\0\0"), field(1, b"\0\0\0\1\5")])
            call.send(field(1, self.SIGN))
            assert len(call.wait(3)) == 3
            call.end()
            assert call.finish() == (0, "")
        assert bytes(agent.received) == self.LIST + self.SIGN

    def test_what_is_no_message_of_an_agent_ends_the_call(self, agent: _Agent) -> None:
        with serving(agent_forwarding({"a": agent.path})) as served:
            call = served.client.call("/moby.sshforward.v1.SSH/ForwardAgent", {"buildkit.ssh.id": "a"})
            call.send(field(1, b"\xff\xff\xff\xff\x0b"))
            assert call.finish() == (3, "no message of the SSH agent protocol")
        assert not agent.received

    def test_an_agent_nobody_gave_is_not_found(self) -> None:
        with serving(agent_forwarding({})) as served:
            answer = (5, b"", "no SSH agent 'default' was given to this build")
            assert served.client.ask("/moby.sshforward.v1.SSH/CheckAgent") == answer

    def test_an_agent_that_is_gone_is_an_error_of_the_caller(self, tmp_path: Path) -> None:
        with serving(agent_forwarding({"default": f"{tmp_path}/gone"})) as served:
            status, _ = served.client.call("/moby.sshforward.v1.SSH/ForwardAgent", {"buildkit.ssh.id": "default"}).finish()
            assert status == 2
            error = served.server.error
        assert isinstance(error, InputError)
        assert error.message == f"expected an SSH agent at {tmp_path}/gone, found No such file or directory"
        assert "ssh-agent" in error.hint
