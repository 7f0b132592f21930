"""What ``.dockerignore`` leaves of a context: ours beside what ``docker build`` sends, on a real engine.

The file is the client's business. That is shown first: an engine that is given the whole context, ``.dockerignore`` in it, copies the whole
context, with the classic builder and with BuildKit. So the other side here is Docker's own client, which reads the file before it sends.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.config.context import parse_dockerignore

PATHS = (
    *("README.md", "OTHER.md", "docs/README.md", "docs/a.md", "docs/deep/b.md", "docs/img/c.png"),
    *("src/a.go", "src/sub/b.go", "src/sub/deep/c.txt", "node_modules/m.js", "pkg/node_modules/n.js", "pkg/keep"),
    *("temp", "tempa", "dir/temp/x", "dir/tempo", "a b", "[x]", "x", "-y", "build/out", "build/keep/this", "build.txt", ".hidden", "é"),
)
IGNORED: Mapping[str, str] = {
    "two stars": "**/*.md\n",
    "two stars in the middle": "docs/**/*.png\nsrc/**\n",
    "taken back": "*.md\n!README.md\n",
    "taken back and left out again": "*.md\n!*.md\nOTHER.md\n",
    "taken back below a directory": "build\n!build/keep\n",
    "everything but": "*\n!src\n!docs/*.md\n",
    "slashes": "/temp\ndocs/\n//src//sub\n./pkg\n",
    "dots": "a/../temp\n./docs/../src\n.\n",
    "blanks and comments": "# temp\n\n  tempa  \n\t\n#x\n #hash\n",
    "ranges": "[w-x]\ntemp[a-z]\n\\[x\\]\n",
    "question marks": "temp?\n?\n",
    "one star is one directory": "*/temp*\n*/*/temp*\n",
    "names anywhere": "**/node_modules\n**/temp\n",
    "a blank, a dash, an accent": "a b\n-y\né\n",
    "carriage returns and a byte order mark": "\ufefftemp\r\n!x\r\n*.md\r\n",
    "exclamation marks": "! README.md\n*.txt\n!build.txt \n",
}


@pytest.fixture(scope="module")
def api(docker_host: str) -> Iterator[Any]:
    import docker

    with closing(docker.APIClient(docker_host, version="auto")) as client:
        yield client


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("context")
    for path in PATHS:
        place = directory / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(path)
    return directory


def files_in(api: Any, image: str) -> set[str]:
    """The paths of the files of an image of one COPY; the image is removed."""
    container = api.create_container(image, command=["none"])["Id"]
    try:
        with tarfile.open(fileobj=io.BytesIO(b"".join(api.export(container)))) as exported:
            paths = {member.name for member in exported if not member.isdir()}
        made_by_engine = {"dev/console", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf", ".dockerenv"}
        return paths - made_by_engine
    finally:
        api.remove_container(container, force=True)
        api.remove_image(image, force=True)


def sent_by_docker(docker_host: str, context: Path, tag: str) -> None:
    """``docker build`` with the builder whose client does it all itself."""
    command = shutil.which("docker")
    if command is None:
        pytest.fail("no docker command for this test: apt-get install docker.io", pytrace=False)
    environ = {"PATH": os.environ["PATH"], "HOME": str(context.parent), "DOCKER_HOST": docker_host, "DOCKER_BUILDKIT": "0"}
    arguments = [command, "build", "--quiet", "--tag", tag, "--file", "-", "."]
    subprocess.run(arguments, cwd=context, input=b"FROM scratch\nCOPY . /\n", env=environ, capture_output=True, timeout=120, check=True)


@pytest.mark.parametrize("builder", ["1", "2"])
def test_an_engine_leaves_the_file_to_its_client(api: Any, context: Path, builder: str) -> None:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.add(context, ".")
        for name, data in (("Dockerfile", b"FROM scratch\nCOPY . /\n"), (".dockerignore", b"*\n!x\n")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    tag = f"stagepin-test-{secrets.token_hex(6)}"
    answer = api._post(api._url("/build"), data=whole.getvalue(), params={"t": tag, "version": builder}, timeout=120)
    assert answer.status_code == 200, answer.text
    assert files_in(api, tag) >= set(PATHS), answer.text[-500:]


@pytest.mark.parametrize("name", IGNORED)
def test_what_is_left_is_what_docker_build_sends(api: Any, docker_host: str, context: Path, name: str) -> None:
    text = IGNORED[name]
    (context / ".dockerignore").write_text(text, newline="")
    tag = f"stagepin-test-{secrets.token_hex(6)}"
    sent_by_docker(docker_host, context, tag)
    rules = parse_dockerignore(text)
    assert {path for path in PATHS if not rules.excludes(path)} == files_in(api, tag) - {".dockerignore"}


def test_below_a_directory_that_is_out_dockers_client_does_not_look_where_the_matcher_and_buildkit_do(
    api: Any, docker_host: str, context: Path
) -> None:
    """The client of the classic builder enters a directory that is out only where a line with ``!`` begins with its path."""
    text = "*\n!docs/**/*.md\n"
    (context / ".dockerignore").write_text(text)
    tag = f"stagepin-test-{secrets.token_hex(6)}"
    sent_by_docker(docker_host, context, tag)
    rules = parse_dockerignore(text)
    ours = {path for path in PATHS if not rules.excludes(path)}
    assert ours == {"docs/README.md", "docs/a.md", "docs/deep/b.md"}
    assert ours - (files_in(api, tag) - {".dockerignore"}) == {"docs/deep/b.md"}
