"""Dockerfiles nobody should trust, through the command line (rows 25 and 30 to 33 of the bad-input list): a named error, its place, exit 2.

What looks odd and means something is built: then the row says so.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.registry import FakeRegistry
from tests.scenarios.pipeline import Job, Project, Ran

HEX = "a" * 64


def job_for(project: Project, dockerfile: str | bytes, **files: str | bytes) -> Job:
    """A job of a project with this Dockerfile; BASE in it is the base image."""
    if isinstance(dockerfile, str):
        dockerfile = dockerfile.replace("BASE", project.base).encode("utf-8", "surrogateescape")
    project.write("Dockerfile", dockerfile)
    for path, data in files.items():
        project.write(path, data)
    project.commit()
    return project.pipeline().job()


def refused(ran: Ran, message: str, at: str) -> None:
    assert ran.code == 2, ran.text
    assert f"error: {message}" in ran.err, ran.err
    assert f"\n  at: {at}" in ran.err
    assert "\n  next: " in ran.err
    assert "Traceback" not in ran.err
    assert "\x1b" not in ran.err


NAME, REGISTRY, TAG, DIGEST = (
    "expected a repository of lower-case letters",
    "expected a registry such as",
    "expected a tag of at most 128 characters",
    "expected sha256:<64 hex> or sha512:<128 hex>",
)
REFERENCES = {
    "25-upper-case-repository": ("Alpine", NAME),
    "25-upper-case-in-a-path": ("example.com/App", NAME),
    "25-space": ('"a b"', "expected FROM IMAGE or FROM IMAGE AS NAME"),
    "25-no-break-space": ("a\u00a0b", "expected an image reference"),
    "25-tab": ("a\tb", "expected FROM IMAGE or FROM IMAGE AS NAME"),
    "25-vertical-tab-from-an-escape": ("'a\u2028b'", "expected an image reference"),
    "25-dots": ("a/../b", NAME),
    "25-two-slashes": ("a//b", NAME),
    "25-trailing-colon": ("a:", TAG),
    "25-port-0": ("example.com:0/a", REGISTRY),
    "25-port-99999": ("example.com:99999/a", REGISTRY),
    "25-ipv6-without-brackets": ("::1/a", REGISTRY),
    "25-userinfo": ("me:secret@example.com/a", DIGEST),
    "25-http": ("http://example.com/a", "expected an image reference without http://"),
    "25-300-characters": ("a" * 300, NAME),
    "25-tag-of-129": ("a:" + "b" * 129, TAG),
    "25-digest-of-63": (f"a@sha256:{HEX[1:]}", DIGEST),
    "25-digest-of-upper-case": (f"a@sha256:{HEX.upper()}", DIGEST),
    "25-sha1": (f"a@sha1:{HEX[:40]}", DIGEST),
    "25-md5": (f"a@md5:{HEX[:32]}", DIGEST),
    "25-homoglyph-host": ("ex\u0430mple.com/a", REGISTRY),
    "25-percent-encoding": ("a%2fb", NAME),
    "25-bare-hex-is-an-image-id": (HEX, "expected an image reference"),
    "25-escape-sequence": ("a\x1b[31m", "expected an image reference"),
    "25-nothing-but-quotes": ('""', "expected an image reference"),
}


@pytest.mark.parametrize("row", REFERENCES)
def test_a_reference_that_is_none(project: Project, row: str) -> None:
    text, message = REFERENCES[row]
    refused(job_for(project, f"FROM {text}\n").run("pin"), message, "Dockerfile:1")
    assert project.registry.requests == []


def test_25_tag_and_digest_mean_the_digest(project: Project) -> None:
    digest = project.move_base("2")
    project.move_base("3")
    job = job_for(project, f"FROM BASE@{digest}\n")
    job.must("pin")
    assert [pin["digest"] for pin in job.pins["pins"]] == [str(digest)]


def test_25_blanks_before_a_reference_are_no_part_of_it(project: Project) -> None:
    job = job_for(project, " \tFROM \t BASE  \n")
    job.must("pin")
    assert [pin["reference"] for pin in job.pins["pins"]] == [project.base]


DOCKERFILES: dict[str, tuple[str | bytes, str, str]] = {
    "30-no-FROM": ("# nothing\nARG X=1\n", "expected a FROM, found none", "Dockerfile:1"),
    "30-empty": ("", "expected a FROM, found none", "Dockerfile:1"),
    "30-undefined-ARG": ("ARG V\nFROM BASE$V\n", "expected a value for every variable of FROM", "Dockerfile:2"),
    "30-platform-of-an-undefined-ARG": (
        "FROM --platform=$X BASE\n",
        "expected a value for every variable of FROM --platform=$X",
        "Dockerfile:1",
    ),
    "30-platform-that-is-none": ("FROM --platform=Linux BASE\n", "expected a platform such as linux/amd64", "Dockerfile:1"),
    "30-another-frontend": ("// syntax=me/mine\n", "expected a Dockerfile, found a text for the build frontend 'me/mine'", "Dockerfile:1"),
    "30-a-frontend-in-JSON": (
        '{"syntax": "me/mine"}',
        "expected a Dockerfile, found a text for the build frontend 'me/mine'",
        "Dockerfile:1",
    ),
    "30-open-heredoc": ("FROM BASE\nRUN <<E\nx\n", "expected the here-document to end with a line 'E'", "Dockerfile:2"),
    "30-variable-in-copy-from": (
        "ARG V=1\nFROM BASE\nCOPY --from=a:$V a b\n",
        "expected a stage above or an image, found 'a:$V'",
        "Dockerfile:3",
    ),
    "30-variable-in-mount-from": ("FROM BASE\nRUN --mount=from=$V x\n", "expected a stage above or an image, found '$V'", "Dockerfile:2"),
    "30-onbuild-FROM": ("FROM BASE\nONBUILD FROM x\n", "expected an instruction after ONBUILD", "Dockerfile:2"),
    "30-utf-16": ("FROM a\n".encode("utf-16"), "expected UTF-8, found UTF-16", "Dockerfile:1"),
    "30-not-utf-8": (b"FROM a\nRUN \xff\n", "expected UTF-8, found the byte 0xff", "Dockerfile:2"),
    "30-nul": ("FROM a\nRUN \0\n", "expected text, found a NUL byte", "Dockerfile:2"),
    "30-more-than-1-MiB": ("FROM a\n" + "#" * (1 << 20), "expected a Dockerfile of at most 1 MiB", "Dockerfile"),
    "30-doubling-arguments": (
        "ARG A=aaaaaaaa\n" + "ARG A=$A$A\n" * 60 + "FROM $A\n",
        "expected a value for every variable of FROM $A",
        "Dockerfile:62",
    ),
    "30-100000-nested-triggers": ("FROM a\n" + "ONBUILD " * 100_000, "expected an instruction after ONBUILD", "Dockerfile:2"),
    "30-100000-stages": ("FROM a\n" * 100_000, "expected at most 10000 instructions, found more", "Dockerfile:10001"),
    "30-9000-stages": ("FROM a\n" * 9000, "expected at most 1000 stages, found 9000", "Dockerfile:1001"),
    "30-here-documents-nobody-ends": (
        "FROM a\n" + "".join(f"RUN << E{number}\n" for number in range(9000)) + "FRMO\n",
        "expected a Dockerfile instruction, found 'FRMO'",
        "Dockerfile:9002",
    ),
    "30-a-megabyte-of-blanks": (
        "# a=b" + " " * 900_000 + "c\nFRMO a\n",
        "expected a Dockerfile instruction, found 'FRMO a'",
        "Dockerfile:2",
    ),
    "30-a-megabyte-of-mounts": (
        "FROM a\nRUN " + "--mount=from=$X " * 60_000,
        "expected at most 1000 flags, found 60000",
        "Dockerfile:2",
    ),
}


@pytest.mark.parametrize("row", DOCKERFILES)
def test_a_dockerfile_that_cannot_be_told(project: Project, row: str) -> None:
    text, message, at = DOCKERFILES[row]
    refused(job_for(project, text).run("pin"), message, at)
    assert project.registry.requests == []


MEANT: dict[str, tuple[str, list[str]]] = {
    "30-ARG-default-with-a-digest": ("ARG B=OTHER@DIGEST\nFROM $B\n", ["OTHER@DIGEST"]),
    "30-heredoc-containing-FROM": ("FROM BASE\nRUN <<E\nFROM no/image\nE\n", ["BASE"]),
    "30-CRLF": ("ARG T=latest\r\nFROM OTHER:${T}\r\nCOPY \\\r\n --from=BASE a b\r\n", ["BASE", "OTHER:latest"]),
    "30-continuation-at-the-end": ("FROM BASE \\", ["BASE"]),
    "30-copy-from-an-image": ("FROM scratch\nCOPY --from=BASE a b\n", ["BASE"]),
    "30-mount-from-an-image": ("FROM BASE\nRUN --mount=type=bind,from=OTHER:latest,target=/x y\n", ["BASE", "OTHER:latest"]),
    "30-onbuild-text-like-FROM": ("FROM BASE\nONBUILD RUN FROM no/image\n", ["BASE"]),
    "30-remote-frontend": ("# syntax=OTHER:latest\nFROM BASE\n", ["BASE", "OTHER:latest"]),
    "30-own-platform": ("FROM --platform=$BUILDPLATFORM BASE\n", ["BASE"]),
}


@pytest.mark.parametrize("row", MEANT)
def test_a_dockerfile_that_only_looks_odd(project: Project, server: FakeRegistry, row: str) -> None:
    text, references = MEANT[row]
    digest = server.put_image("other/image", "latest", seed="other")
    names = {"OTHER": f"{server.address}/other/image", "DIGEST": str(digest), "BASE": project.base}

    def filled(line: str) -> str:
        for name, value in names.items():
            line = line.replace(name, value)
        return line

    job = job_for(project, filled(text))
    job.must("pin")
    assert [pin["reference"] for pin in job.pins["pins"]] == sorted(filled(line) for line in references)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../Dockerfile", "expected "),
        ("/etc/passwd", "expected "),
        ("/dev/zero", "expected "),
        ("out", "expected "),
        ("fifo", "expected the Dockerfile fifo"),
        ("directory", "expected the Dockerfile directory"),
        ("loop", "expected the Dockerfile loop"),
    ],
    ids=["31-above", "31-absolute", "31-dev-zero", "31-link-out", "31-fifo", "31-directory", "31-link-to-itself"],
)
def test_a_dockerfile_that_is_no_file_of_the_commit(project: Project, tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "Dockerfile").write_text("FROM outside\n")
    job = job_for(project, "FROM BASE\n", **{"directory/file": "x"})
    link(project, "out", "../Dockerfile")
    link(project, "loop", "loop")
    project.commit()
    job = project.pipeline().job()
    os.mkfifo(job.directory / "fifo")
    ran = job.run("pin", "--dockerfile", f"app={path}")
    assert ran.code == 2, ran.text
    assert f"error: {message}" in ran.err
    assert "\n  next: " in ran.err
    assert "outside" not in ran.text
    assert "root:" not in ran.text


def link(project: Project, path: str, target: str) -> None:
    """A committed link."""
    place = project._repository.directory / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def signature(job: Job, *arguments: str) -> str:
    job.must("pin")
    document: Any = job.must("plan", "--format", "json", *arguments).document
    (image,) = document["images"].values()
    return str(image["platforms"]["linux/amd64"]["signature"])


def test_32_links_that_lead_in_a_circle_are_taken_as_links(project: Project) -> None:
    link(project, "a/loop", "../b")
    link(project, "b", "a/loop")
    link(project, "out", "/etc/passwd")
    first = job_for(project, "FROM BASE\nCOPY . /x\n")
    before = signature(first)
    (project._repository.directory / "out").unlink()
    link(project, "out", "/etc/shadow")
    project.commit()
    assert signature(project.pipeline("1002").job()) != before


ODD_NAMES = [
    b"new\nline",
    b"escape\x1b[31m",
    b"not-utf-8-\xff",
    b"clash",
    b"CLASH",
    b"a b",
    b"*",
    b"back\\slash",
    "é".encode(),
    "e\u0301".encode(),
]


@pytest.mark.parametrize("name", ODD_NAMES, ids=lambda name: f"32-{name!r}")
def test_a_file_of_any_name_is_an_input_and_its_name_does_no_harm(project: Project, name: bytes) -> None:
    path = os.fsdecode(name)
    job = job_for(project, "FROM BASE\nCOPY . /x\n", **{path: "1"})
    before = signature(job)
    project.write(path, "2")
    project.commit()
    other = project.pipeline("1002").job()
    assert signature(other) != before
    ran = other.must("build")
    assert "\x1b[31m" not in ran.text
    assert path in other.engine.builds[0].paths


@pytest.mark.parametrize("kind", ["fifo", "socket"], ids=["32-fifo", "32-socket"])
def test_what_is_no_file_is_refused_in_a_context(project: Project, kind: str) -> None:
    job = job_for(project, "FROM BASE\nCOPY . /x\n")
    job.must("pin")
    (job.directory / "dist").mkdir()
    place = job.directory / "dist" / "it"
    if kind == "fifo":
        os.mkfifo(place)
    else:
        directory = os.open(place.parent, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(f"/proc/self/fd/{directory}/it")
        os.close(directory)
    ran = job.run("plan", "--dockerfile", "app=Dockerfile", "--context-add", "dist")
    refused(ran, "expected files, links and directories at dist/it, found another kind", "dist/it")


def test_33_an_ignore_file_that_leaves_the_dockerfile_out_takes_it_from_nobody(project: Project) -> None:
    job = job_for(project, "FROM BASE\nCOPY . /x\n", **{".dockerignore": "Dockerfile\n.dockerignore\n*\n!kept\n", "kept": "1", "left": "1"})
    before = signature(job)
    job.must("build")
    project.write("left", "2")
    project.commit()
    assert signature(project.pipeline("1002").job()) == before
    project.write("kept", "2")
    project.commit()
    assert signature(project.pipeline("1003").job()) != before


def test_33_an_ignore_file_beside_the_dockerfile_is_the_only_one(project: Project) -> None:
    files = {"Dockerfile.dockerignore": "left\n", ".dockerignore": "kept\n", "kept": "1", "left": "1"}
    job = job_for(project, "FROM BASE\nCOPY . /x\n", **files)
    before = signature(job)
    project.write("left", "2")
    project.commit()
    assert signature(project.pipeline("1002").job()) == before
    project.write("kept", "2")
    project.commit()
    assert signature(project.pipeline("1003").job()) != before


def test_33_an_ignore_file_with_a_pattern_that_is_none(project: Project) -> None:
    job = job_for(project, "FROM BASE\nCOPY . /x\n", **{".dockerignore": "a\n[z-a]\n"})
    refused(job.run("pin"), "expected a range from the lower to the higher character, found z-a in '[z-a]'", ".dockerignore:2")


def test_every_reference_is_built_by_digest_and_no_other_byte_changes(project: Project, server: FakeRegistry) -> None:
    other = f"{server.address}/other/image"
    digests = {project.base: str(project.move_base("4")), f"{other}:1": str(server.put_image("other/image", "1", seed="other"))}
    head = f'# c\r\nARG T=1\r\nFROM  {other}:${{T}}   AS  One\r\nFROM "{project.base}"\r\n'
    text = f"{head}COPY --from=one --chown=1 /a /b\r\nRUN echo FROM {other}:1\r\n"
    job = job_for(project, text)
    job.must("build", "--pin")
    built = job.engine.builds[0].dockerfile
    expected = text.replace(f"{other}:${{T}}", f"{other}@{digests[f'{other}:1']}").replace(
        f'"{project.base}"', project.base.replace(":latest", "") + f"@{digests[project.base]}"
    )
    assert built == expected
