from __future__ import annotations

import socket
import threading

import pytest

from ci_plugin.engine.buildkit.grpc import INTERNAL, CallFailed, GrpcServer, Unary, unary
from ci_plugin.errors import AccessDenied
from tests.fakes.buildkit import framed, serving

ECHO = unary(lambda message: message)


def _raise(error: Exception) -> bytes:
    raise error


def test_one_request_has_one_answer() -> None:
    with serving({"/a/Echo": ECHO}) as served:
        assert served.client.ask("/a/Echo", b"hello") == (0, b"hello", "")
        assert served.client.ask("/a/Echo", b"") == (0, b"", "")


def test_a_message_in_pieces_and_two_in_one_frame_are_messages() -> None:
    with serving({"/a/Echo": ECHO}) as served:
        call = served.client.call("/a/Echo")
        call.send_bytes(framed(b"hello")[:3]).send_bytes(framed(b"hello")[3:], end=True)
        assert call.finish() == (0, "")
        assert call.messages() == [b"hello"]


def test_a_method_nobody_has_is_unimplemented() -> None:
    with serving({}) as served:
        assert served.client.ask("/moby.filesync.v1.Auth/FetchToken") == (12, b"", "no method /moby.filesync.v1.Auth/FetchToken")


def test_a_call_that_fails_says_why_and_the_next_one_works() -> None:
    methods = {"/a/Fail": unary(lambda _: _raise(CallFailed(INTERNAL, "100 % of ünïcode\n"))), "/a/Echo": ECHO}
    with serving(methods) as served:
        assert served.client.ask("/a/Fail") == (13, b"", "100 % of ünïcode\n")
        assert served.client.ask("/a/Echo", b"x") == (0, b"x", "")
        assert served.server.error is None


def test_an_error_of_ours_is_kept_for_the_caller() -> None:
    denied = AccessDenied("expected the helper to answer, found it refuse")
    with serving({"/a/Fail": unary(lambda _: _raise(denied))}) as served:
        assert served.client.ask("/a/Fail") == (2, b"", denied.message)
        assert served.server.error is denied


def test_a_fault_of_this_code_ends_the_session_and_is_kept() -> None:
    fault = KeyError("a mistake")
    with serving({"/a/Fail": unary(lambda _: _raise(fault))}) as served:
        with pytest.raises((EOFError, BrokenPipeError, ConnectionResetError)):  # whichever the hang-up meets first
            served.client.ask("/a/Fail")
        served.thread.join(20)
        assert served.server.error is fault


def test_compression_and_messages_of_any_size_are_refused() -> None:
    with serving({"/a/Echo": ECHO}) as served:
        compressed = served.client.call("/a/Echo").send_bytes(framed(b"x", compressed=1), end=True)
        assert compressed.finish() == (12, "no compression is offered here")
        large = served.client.call("/a/Echo").send_bytes(b"\0" + (1 << 30).to_bytes(4, "big"), end=True)
        assert large.finish() == (8, f"a message of {1 << 30} bytes")


class _Counting(Unary):
    """Sends a number of messages of 10,000 bytes, and counts how many were made."""

    def __init__(self, count: int) -> None:
        super().__init__(lambda message: message)
        self.left, self.made = count, 0

    def next_message(self) -> bytes | None:
        if not self.left:
            self.is_finished = True
            return None
        self.left -= 1
        self.made += 1
        return bytes(10_000)


def test_a_stream_of_any_length_arrives_whole_and_is_made_no_sooner_than_it_can_be_sent() -> None:
    counting = _Counting(500)
    with serving({"/a/Many": lambda _: counting}) as served:
        call = served.client.call("/a/Many")
        call.wait(1)
        assert counting.made < 100
        assert call.finish() == (0, "")
        assert [len(message) for message in call.messages()] == [10_000] * 500


def test_a_call_the_client_gave_up_is_closed() -> None:
    closed = threading.Event()

    class _Closing(_Counting):
        def close(self) -> None:
            closed.set()

    with serving({"/a/Many": lambda _: _Closing(10**9), "/a/Echo": ECHO}) as served:
        call = served.client.call("/a/Many")
        call.wait(1)
        served.client.connection.reset_stream(call.stream)
        served.client.flush()
        assert closed.wait(20)


def test_a_client_that_hangs_up_or_talks_nonsense_ends_the_session() -> None:
    for data in (b"", b"GET / HTTP/1.1\r\n\r\n"):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            server = GrpcServer(ours, {})
            theirs.sendall(data)
            theirs.shutdown(socket.SHUT_WR)
            server.serve()
            assert server.error is None


def test_what_came_before_the_connection_was_handed_over_is_read() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = GrpcServer(ours, {}, b"no preface of HTTP/2 at all")
        server.serve()  # returns by itself, because of what was read before
