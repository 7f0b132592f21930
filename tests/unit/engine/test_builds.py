from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import pytest

from ci_plugin.engine.builds import BuildRequest, classic_body
from ci_plugin.engine.context import keep_context
from ci_plugin.ports import BuildSettings, ContextFile
from ci_plugin.values.platform import Platform

TEXT = "FROM scratch\n"


def _request(*, target: str | None = None, settings: BuildSettings | None = None, needs: str | None = None) -> BuildRequest:
    amd64 = Platform("linux", "amd64")
    return BuildRequest((), TEXT, target, {"A": "$x"}, {"l": "1\n2"}, amd64, settings or BuildSettings(), needs)


def _classic(*files: ContextFile) -> tuple[str, dict[str, bytes]]:
    """The Dockerfile's name in the classic builder's tar, and that tar: path → bytes."""
    with keep_context(files) as context, classic_body(_request(), context) as (name, pieces):
        data = io.BytesIO(b"".join(pieces))
    with tarfile.open(fileobj=data) as tar:
        read: Any = tar.extractfile
        return name, {entry.name: read(entry).read() if entry.isreg() else b"" for entry in tar}


def test_the_classic_builder_gets_the_dockerfile_under_a_name_nothing_has() -> None:
    name, tar = _classic(ContextFile(".stagepin.dockerfile", "100644", b"somebody's"))
    assert name == ".stagepin.dockerfile_"
    assert sorted(tar) == [".dockerignore", ".stagepin.dockerfile", ".stagepin.dockerfile_"]
    assert tar[name] == TEXT.encode()


def test_what_we_add_is_hidden_from_the_classic_builder() -> None:
    assert _classic()[1][".dockerignore"] == b".stagepin.dockerfile\n.dockerignore\n"


def test_an_ignore_file_of_the_context_stays_as_it_is() -> None:
    own = ContextFile(".dockerignore", "100644", b"x\n")
    assert _classic(own)[1] == {".dockerignore": b"x\n", ".stagepin.dockerfile": TEXT.encode()}


def test_a_file_of_the_context_with_the_same_text_is_used_instead() -> None:
    name, tar = _classic(ContextFile("docker/Dockerfile", "100644", TEXT.encode()))
    assert name == "docker/Dockerfile"
    assert sorted(tar) == ["docker", "docker/Dockerfile"]


def test_a_link_whose_target_reads_like_the_dockerfile_is_no_dockerfile() -> None:
    assert _classic(ContextFile("l", "120000", TEXT.encode()))[0] == ".stagepin.dockerfile"


def test_arguments_and_labels_travel_as_json() -> None:
    query = _request(target="t", settings=BuildSettings(network="none", add_hosts=("a:1.2.3.4", "b:::1"))).query()
    assert json.loads(query["buildargs"]) == {"A": "$x"}
    assert json.loads(query["labels"]) == {"l": "1\n2"}
    assert (query["target"], query["networkmode"], query["platform"]) == ("t", "none", "linux/amd64")
    assert query["extrahosts"] == ["a:1.2.3.4", "b:::1"]


def test_nothing_is_said_of_what_was_not_set() -> None:
    assert set(_request().query()) == {"buildargs", "labels", "platform"}


@pytest.mark.parametrize(
    ("settings", "needs", "named"),
    [
        (BuildSettings(secrets={"token": b"x"}), None, "the secret 'token'"),
        (BuildSettings(ssh={"default": "/a"}), None, "the SSH agent 'default'"),
        (BuildSettings(), "Dockerfile:2: a here-document", "Dockerfile:2: a here-document"),
    ],
)
def test_what_only_buildkit_can_do_is_named_where_there_is_none(settings: BuildSettings, needs: str | None, named: str) -> None:
    request = _request(settings=settings, needs=needs)
    refusal = request.refusal(has_buildkit=False)
    assert refusal is not None
    assert refusal.message == f"expected an engine with BuildKit for {named}, found one without"
    assert refusal.hint == "use an engine of version 18.09 or newer"
    assert request.refusal(has_buildkit=True) is None


def test_networks_and_hosts_are_nothing_the_classic_builder_lacks() -> None:
    assert _request(settings=BuildSettings(network="mine", add_hosts=("a:1",))).refusal(has_buildkit=False) is None


def test_buildkit_joins_no_network_by_its_name() -> None:
    refusal = _request(settings=BuildSettings(network="mine")).refusal(has_buildkit=True)
    assert refusal is not None
    assert refusal.message == (
        "expected the network of a Dockerfile's build to be none or host, found 'mine', which BuildKit does not join"
    )
    assert refusal.exit_code == 2


def test_a_request_shows_no_secret_and_no_argument() -> None:
    shown = repr(_request(settings=BuildSettings(secrets={"token": b"s3cret"})))
    assert "s3cret" not in shown
    assert "$x" not in shown
