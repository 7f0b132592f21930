from __future__ import annotations

import io
import json
import tarfile

from ci_plugin.engine.builds import BuildRequest
from ci_plugin.ports import ContextFile
from ci_plugin.values.platform import Platform


def _request(
    *files: ContextFile, dockerfile: str = "FROM scratch\n", target: str | None = None, network: str | None = None
) -> BuildRequest:
    return BuildRequest(files, dockerfile, target, {"A": "$x"}, {"l": "1\n2"}, Platform("linux", "amd64"), network)


def _names(tar: bytes) -> list[str]:
    return tarfile.open(fileobj=io.BytesIO(tar)).getnames()


def test_the_dockerfile_is_sent_along_under_a_name_nothing_has() -> None:
    taken = ContextFile(".stagepin.dockerfile", "100644", b"somebody's")
    name, tar = _request(taken).body()
    assert name == ".stagepin.dockerfile_"
    assert _names(tar) == [".stagepin.dockerfile", ".stagepin.dockerfile_"]


def test_a_file_of_the_context_with_the_same_text_is_used_instead() -> None:
    name, tar = _request(ContextFile("docker/Dockerfile", "100644", b"FROM scratch\n")).body()
    assert name == "docker/Dockerfile"
    assert _names(tar) == ["docker", "docker/Dockerfile"]


def test_a_link_whose_target_reads_like_the_dockerfile_is_no_dockerfile() -> None:
    assert _request(ContextFile("l", "120000", b"FROM scratch\n")).body()[0] == ".stagepin.dockerfile"


def test_arguments_and_labels_travel_as_json() -> None:
    query = _request(target="t", network="none").query("D", buildkit=True)
    assert json.loads(query["buildargs"]) == {"A": "$x"}
    assert json.loads(query["labels"]) == {"l": "1\n2"}
    assert (query["version"], query["target"], query["networkmode"], query["platform"]) == ("2", "t", "none", "linux/amd64")


def test_the_classic_builder_takes_no_local_image_as_a_cache() -> None:
    query = _request().query("D", buildkit=False)
    assert query["nocache"] == "1"
    assert "version" not in query
