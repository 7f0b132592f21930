"""What is asked of an engine that keeps its images in containerd; its answer is the one of Docker's documentation (`docker info`)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ci_plugin.engine.connection import EngineConnection
from ci_plugin.engine.rewrites import Rewriter
from ci_plugin.errors import InputError

CONTAINERD = {"Driver": "overlayfs", "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}


class _Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        known = {"/version": json.dumps({"ApiVersion": "1.52"}), "/info": json.dumps(CONTAINERD), "/_ping": "OK"}
        self._answer(known["/" + self.path.rpartition("/")[2]].encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Nothing is printed."""


@contextmanager
def _engine() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_engine_with_containerds_image_store_is_told_apart_and_refused_with_the_way_out() -> None:
    with _engine() as address:
        connection = EngineConnection(address, {})
        with pytest.raises(InputError, match="found one with containerd's image store") as caught:
            Rewriter(connection).rewrite("sha256:" + "0" * 64, {})
        connection.close()
    assert "imageSpec" in caught.value.hint
    assert "containerd-snapshotter" in caught.value.hint
