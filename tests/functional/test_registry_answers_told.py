"""Bad answers of a base's registry, as people meet them: exit code, one refusal with what was expected and found, and nothing else.

Nothing of what we hold for the registry is printed or written, nothing it says can command a CI runner or a terminal, nobody else is
connected to, and no file outside the checkout is touched.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import DOCKER_MANIFEST, OCI_INDEX
from tests.fakes.canary import make_canary
from tests.fakes.lying_registry import JSON, TRUTH, LyingRegistry, error_reply, manifest_reply, reply
from tests.fakes.registry import Request, make_image
from tests.fakes.watch import watch
from tests.scenarios.pipeline import Project, Ran

IN_VARIABLE, IN_FILE, TOKEN = make_canary("variable"), make_canary("file"), make_canary("token", for_header=True)
CANARIES = (IN_VARIABLE, IN_FILE, TOKEN)
EVIL = (
    "\x1b]8;;http://x\x07::add-mask::x\r\n::set-output name=a::b\n##[group]c\n<img src=x onerror=1> @team | `a` \u202e section_start:1:a\r"
)
"""What a terminal, a runner or a page might obey."""
Answer = Callable[[str], Iterable[bytes] | None]
"""The liar's address → its answer to a manifest request, None for the truth."""


@dataclass(frozen=True)
class Told:
    """An answer to every manifest request of somebody we know, and what ``pin`` says of it."""

    answer: Answer
    code: int
    message: str = ""
    options: tuple[str, ...] = field(default=())


def always(answer: Iterable[bytes]) -> Answer:
    return lambda _: answer


def index(*platforms: Mapping[str, str]) -> Answer:
    entries = [
        {"mediaType": DOCKER_MANIFEST, "digest": str(TRUTH.digest), "size": len(TRUTH.manifest), "platform": platform}
        for platform in platforms
    ]
    return always(manifest_reply(json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode(), OCI_INDEX))


REFERENCE = "{liar}/app:latest"
ROWS = {
    "the truth": Told(always(manifest_reply(TRUTH.manifest)), 0),
    "79 nothing": Told(
        always(reply(200)), 3, "{liar} answered no content type (status 200), expected a registry: a manifest for " + REFERENCE
    ),
    "80 a page": Told(
        always(reply(200, {"Content-Type": "text/html"}, b"<html>")), 3, "{liar} answered text/html (status 200), expected a registry: "
    ),
    "82 schema 1": Told(
        always(manifest_reply(b"{}", "application/vnd.docker.distribution.manifest.v1+prettyjws")),
        1,
        "expected an image manifest of Docker schema 2 or OCI for " + REFERENCE + ", found the obsolete schema 1",
    ),
    "87 an index of nothing": Told(index(), 2, "expected " + REFERENCE + " for linux/amd64, found it for no platform"),
    "87 attestations alone": Told(
        index({"os": "unknown", "architecture": "unknown"}), 2, "expected " + REFERENCE + " for linux/amd64, found it for no platform"
    ),
    "87 a platform that is none": Told(
        index({"os": EVIL, "architecture": EVIL}), 2, "expected " + REFERENCE + " for linux/amd64, found it for no platform"
    ),
    "92 an index under another digest": Told(
        always(manifest_reply(b"{}", OCI_INDEX, {"Docker-Content-Digest": str(TRUTH.digest)})),
        1,
        f"the registry served other bytes than the digest names: expected {TRUTH.digest}, found {Digest.of(b'{}')} for {{liar}}/app@",
    ),
    "97 a token server in the cloud's own network": Told(
        always(error_reply(401, "UNAUTHORIZED", {"WWW-Authenticate": 'Bearer realm="http://169.254.169.254/token"'})),
        1,
        "expected {liar} to name a token server such as https://auth.example.com/token, found 'http://169.254.169.254/token'",
    ),
    "99 redirects for ever": Told(
        lambda liar: reply(307, {"Location": f"http://{liar}/v2/app/manifests/again"}),
        3,
        "expected an answer from {liar}, found more than 5 redirects",
    ),
    "99 a redirect to a file": Told(
        always(reply(307, {"Location": "file:///etc/passwd"})), 1, "expected {liar} to redirect to an https or http address, found"
    ),
    "101 too many requests": Told(
        always(reply(429, {"Retry-After": EVIL.encode().hex()})),
        3,
        "expected the digest of " + REFERENCE + ", found status 429 from {liar}",
    ),
    "102 a message that commands": Told(always(error_reply(500, EVIL, message=EVIL)), 3, "found status 500 from {liar}"),
    "102 a message that repeats what we sent": Told(
        always(error_reply(403, "DENIED", message=f"{IN_FILE.text} {base64.b64encode(f'user:{IN_FILE.text}'.encode()).decode()}")),
        2,
        "expected to be let in by {liar} with the credentials found for it, found status 403",
    ),
    "106 a part": Told(always(reply(206, JSON, b"{}")), 3, "{liar} answered application/json (status 206), expected a registry: "),
    "108 no HTTP": Told(always([b"SSH-2.0\r\n"]), 3, "expected an answer from {liar}, found"),
}


@pytest.fixture
def liar() -> Iterable[LyingRegistry]:
    with LyingRegistry() as running:
        yield running


def pin(project: Project, liar: LyingRegistry, tmp_path: Path, answer: Answer, *options: str) -> tuple[Ran, Path]:
    """Run ``pin`` on one image of the liar's, who lets in who has the password of the file; the run and its checkout."""
    home = tmp_path / "home"
    (home / ".docker").mkdir(parents=True)
    entry = {"auth": base64.b64encode(f"user:{IN_FILE.text}".encode()).decode()}
    (home / ".docker" / "config.json").write_text(json.dumps({"auths": {liar.address: entry}}))

    def lie(request: Request) -> Iterable[bytes] | None:
        if not request.authorization:
            return error_reply(401, "UNAUTHORIZED", {"WWW-Authenticate": "Basic"})
        return answer(liar.address) if "/manifests/" in request.path else None

    liar.lies = [lie]
    project.write("werf.yaml", f"project: app\nconfigVersion: 1\n---\nimage: app\nfrom: {liar.address}/app:latest\nfromLatest: true\n")
    project.commit()
    job = project.pipeline().job()
    variable = json.dumps({"auths": {"elsewhere.example": {"username": "user", "password": IN_VARIABLE.text}}})
    with watch() as seen:
        ran = job.run(*options, "pin", HOME=str(home), DOCKER_AUTH_CONFIG=variable, STAGEPIN_TOKEN=TOKEN.text)
    assert seen.hosts <= {liar.address, project.registry.address, "?127.0.0.1"}
    assert seen.written_outside(tmp_path) == []
    return ran, job.directory


VOICES = {"verbose": ("-v",), "json": ("--log-format", "json")}
TALKATIVE = ("87 a platform that is none", "102 a message that commands", "102 a message that repeats what we sent")
CASES = [(name, ()) for name in ROWS] + [(name, voice) for name in TALKATIVE for voice in VOICES.values()]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_a_lie_is_told_as_one(project: Project, liar: LyingRegistry, tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    row = ROWS[name]
    ran, directory = pin(project, liar, tmp_path, row.answer, *options)
    assert ran.code == row.code, ran.text
    text = (
        json.dumps(json.loads(ran.err.splitlines()[-1]), ensure_ascii=False) if options[:1] == ("--log-format",) and row.code else ran.err
    )
    assert row.message.replace("{liar}", liar.address) in text.replace("\\\\", "\\")
    assert "Traceback" not in ran.text
    assert any(request.authorization for request in liar.requests), "or there was nothing to give away"
    for canary in CANARIES:
        canary.assert_hidden(ran.text)
        canary.assert_hidden_below(directory)
    assert_harmless(ran.text)
    assert (directory / ".stagepin" / "pins.json").exists() is (row.code == 0)


def test_103_tags_are_never_listed(project: Project, liar: LyingRegistry, tmp_path: Path) -> None:
    """A stage is found by its exact tag, and what a tag means by asking for it: there are no pages that could lead anywhere."""
    pin(project, liar, tmp_path, ROWS["the truth"].answer)
    paths = [request.path for request in (*liar.requests, *project.registry.requests)]
    assert paths
    assert not any("/tags/list" in path or "/_catalog" in path for path in paths)


def test_104_what_an_image_says_of_itself_is_harmless(project: Project, liar: LyingRegistry, tmp_path: Path) -> None:
    image = make_image(labels={EVIL: EVIL, "org.opencontainers.image.title": EVIL})

    def lie(request: Request) -> Iterable[bytes] | None:
        if "/manifests/" in request.path:
            return manifest_reply(image.manifest)
        return reply(200, body=image.blobs[0]) if "/blobs/" in request.path else None

    liar.lies = [lie]
    project.write("werf.yaml", f"project: app\nconfigVersion: 1\n---\nimage: app\nfrom: {liar.address}/app:latest\nfromLatest: true\n")
    project.commit()
    job = project.pipeline().job()
    for command in (["pin"], ["pin", "--platform", "linux/amd64"], ["plan"], ["config", "list"], ["report"]):
        assert_harmless(job.run(*command).text)


def assert_harmless(text: str) -> None:
    """No escape, no line a runner would obey but our own sections, no text that runs the other way."""
    assert not re.search(
        "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x9b\u202a-\u202e\u2066-\u2069]", text.replace("\x1b[0K", "").replace("\x1b[0m", "")
    )
    lines = text.splitlines()
    assert not [line for line in lines if line.lstrip().startswith(("::", "##[", "<img"))]
    assert not [line for line in lines if "section_start:1:a" in line and line.lstrip().startswith("section_")]
