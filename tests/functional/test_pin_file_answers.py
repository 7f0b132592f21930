"""Pin files that nobody should believe (list B of the facts), through the command line, in the workspace and in the stages storage.

Every refusal: exit 2, what was expected and found, where, the next step; nothing is resolved, nothing is built, no other file is touched.

====== =============================================================================================================================
34     ``test_34_…``; at build, plan and verify also tests/functional/test_bad_input.py
35     ``DOCUMENTS`` "35 …"
36     ``test_36_…``; every offset of a document: tests/unit/values/test_document.py
37     ``DOCUMENTS`` "37 …"
38     ``DOCUMENTS`` "38 …"
39     ``DOCUMENTS`` "39 …", at the top and nested
40     ``DOCUMENTS`` "40 …"
41     ``DOCUMENTS`` "41 …", objects and lists, and one level too many
42     ``DOCUMENTS`` "42 …" (half a surrogate pair), ``test_42_…`` (what is text, and must not reach a terminal)
43     ``test_43_…``, every key there is; against the published schema: tests/property/test_documents.py
44     ``DOCUMENTS`` "44 …"
45     ``DOCUMENTS`` "45 …" as it lies there; ``test_45_to_49_…`` with a checksum that somebody made anew
46-49  ``test_45_to_49_…``: what a digest names is built or nothing is; ``mediaType`` and ``size`` decide nothing
50     ``test_50_…``
51     ``DOCUMENTS`` "51 …"; a pin file has neither ref nor attempt: pins survive both
52     ``test_52_…``, ``DOCUMENTS`` "52 …": a pin file has an age and no date of expiry
53     ``DOCUMENTS`` "53 …", ``test_53_…`` (layout is no content)
54     ``DOCUMENTS`` "54 …": what a pin file has is a checksum; the second channel is tests/scenarios/test_second_channel.py
55     ``test_55_…``, 100 MB, with the memory it takes
56     ``test_56_…``; world-writable is what runners leave behind (GitLab's docker executor works without a umask), so it is read
57     ``test_57_…``
====== =============================================================================================================================
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import stat
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.registry.pin_store import ARTIFACT_TYPE, PINS_TYPE
from ci_plugin.values.digest import Digest
from ci_plugin.values.document import LARGEST_DOCUMENT, seal
from ci_plugin.values.manifest import OCI_MANIFEST
from ci_plugin.values.pipeline import PipelineId, Scope, ScopeKey
from tests.fakes.registry import FakeRegistry
from tests.scenarios.pipeline import Job, Project, Ran

CONFIG = "image: app\nfrom: BASE\nfromLatest: true\n---\nimage: web\nfrom: OTHER\nfromLatest: true\n"
OTHER, STAGES = "base/other", "group/app/stages"
KEY = ScopeKey(PipelineId("gitlab", "gitlab.example.com", "4711", "group/app", "1001"), Scope("pipeline:1001"))
WHOLE = "expected a whole JSON document, found "
REMOVE = "delete the file and run `stagepin fetch`, or `stagepin pin` in the pin job"
AGAIN = "fetch the file again with `stagepin fetch`, or pin and build in a new scope"
EDITED = "delete it and run `stagepin fetch`; never edit it by hand"
CHECKSUM = "expected checksum sha256:"


@dataclass
class Desk:
    """One job and its two places for a pin file; ``good`` is the one its pin job made. ``top`` holds all that must stay as it is."""

    top: Path
    project: Project
    job: Job
    good: bytes

    @property
    def body(self) -> dict[str, Any]:
        """The good pin file without its checksum, to edit."""
        return {key: value for key, value in json.loads(self.good).items() if key != "checksum"}

    @property
    def file(self) -> Path:
        return self.job.workspace / "pins.json"

    def put_into_workspace(self, data: bytes) -> str:
        """Nothing but this pin file; returns the place errors name."""
        self.job.workspace.mkdir()
        self.file.write_bytes(data)
        return str(self.file)

    def put_into_store(self, *documents: bytes) -> str:
        """The scope's artifact with these pins; returns the place errors name."""
        registry = self.project.registry
        for data in (b"{}", *documents):
            registry.blobs[str(Digest.of(data))] = data
        layers = [{"mediaType": PINS_TYPE, "digest": str(Digest.of(data)), "size": len(data)} for data in documents]
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": ARTIFACT_TYPE, "layers": layers}
        manifest["config"] = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": str(Digest.of(b"{}")), "size": 2}
        registry.put_manifest(STAGES, f"stagepin-{KEY.short_hash}", json.dumps(manifest).encode(), OCI_MANIFEST)
        return f"stages storage {self.project.stages}"

    def put(self, place: str, data: bytes) -> str:
        return self.put_into_workspace(data) if place == "workspace" else self.put_into_store(data)

    def must_refuse(self, place: str, where: str, message: str, hint: str, *commands: str, code: int = 2) -> None:
        """The commands that read that place say no, each for this reason, and leave everything as it was."""
        before, pulled = snapshot(self.top), len(self.job.engine.pulled)
        for command in commands or {"workspace": ("pin", "verify"), "store": ("fetch", "build")}[place]:
            ran = self.job.run(command)
            refused(ran, code, message, where, hint)
        assert snapshot(self.top) == before
        assert self.project.upstream_requests() == []
        assert len(self.job.engine.pulled) == pulled


def refused(ran: Ran, code: int, message: str, where: str, hint: str) -> None:
    """The one shape of a refusal."""
    errors = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, ran.text
    assert message in errors[0]
    assert ran.code == code
    assert f"\n  at: {where}\n" in ran.err
    assert f"\n  next: {hint}" in ran.err


def snapshot(top: Path) -> dict[str, tuple[int, str]]:
    """Path → mode and content, of everything below: files, directories, links as links, what cannot be read by its kind."""
    found = {}
    for path in sorted(top.rglob("*")):
        mode = path.lstat().st_mode
        content = str(path.readlink()) if path.is_symlink() else ""
        if stat.S_ISREG(mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.stat().st_size < 1 << 20 else str(path.stat().st_mtime_ns)
        found[str(path.relative_to(top))] = (mode, content)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with FakeRegistry() as registry:
        top = tmp_path_factory.mktemp("desk")
        project = Project(top, registry)
        child = registry.put_image(OTHER, seed="other")
        arm = registry.put_image(OTHER, "arm", seed="arm", platform="linux/arm64")
        registry.put_index(OTHER, "latest", {"linux/amd64": child, "linux/arm64": arm})
        project.commit(config=CONFIG.replace("OTHER", f"{registry.address}/{OTHER}"))
        job = project.pipeline().job()
        job.must("pin")
        yield Desk(top, project, job, (job.workspace / "pins.json").read_bytes())


@pytest.fixture
def desk(made: Desk) -> Desk:
    """As after ``pin``, but with pins nowhere."""
    shutil.rmtree(made.job.workspace, ignore_errors=True)
    registry = made.project.registry
    registry.tags = {key: value for key, value in registry.tags.items() if key[0] != STAGES}
    registry.manifests = {key: value for key, value in registry.manifests.items() if key[0] != STAGES}
    registry.requests.clear()
    made.job.engine = made.project.engine()
    return made


Edit = Callable[[dict[str, Any]], object]


def resealed(edit: Edit) -> Callable[[bytes], bytes]:
    """The good pin file after this edit, with a checksum that fits."""

    def make(good: bytes) -> bytes:
        body = {key: value for key, value in json.loads(good).items() if key != "checksum"}
        edit(body)
        return seal(body)

    return make


def edited(edit: Edit) -> Callable[[bytes], bytes]:
    """The good pin file after this edit, with the checksum it had."""

    def make(good: bytes) -> bytes:
        body = json.loads(good)
        edit(body)
        return json.dumps(body).encode()

    return make


def _swap(body: dict[str, Any]) -> None:
    one, two = body["pins"]
    for key in ("digest", "platforms"):
        one[key], two[key] = two[key], one[key]


def _deep(opening: bytes, closing: bytes, levels: int) -> bytes:
    return b'{"schemaVersion": 1, "a": ' + opening * levels + b"0" + closing * levels + b"}"


def _checksum(value: object) -> Callable[[bytes], bytes]:
    return edited(lambda body: body.update(checksum=value))


def _version(value: object) -> Callable[[bytes], bytes]:
    return resealed(lambda body: body.update(schemaVersion=value))


def _pipeline(**values: str) -> Callable[[bytes], bytes]:
    return resealed(lambda body: body["pipeline"].update(values))


def _always(data: bytes) -> Callable[[bytes], bytes]:
    return lambda _good: data


FOREIGN = ": they belong to another job"
DOCUMENTS: dict[str, tuple[Callable[[bytes], bytes], str, str]] = {
    "35 empty": (_always(b""), f"{WHOLE}0 bytes that are none", REMOVE),
    "35 blank": (_always(b" \n\t"), f"{WHOLE}3 bytes that are none", REMOVE),
    "37 a proxy's page": (_always(b"<!DOCTYPE html><title>Sign in</title>"), f"{WHOLE}37 bytes that are none", REMOVE),
    "38 a list": (_always(b"[]"), "expected a JSON object of at most 40 levels, found list", REMOVE),
    "38 a string": (_always(b'"pins"'), "expected a JSON object of at most 40 levels, found str", REMOVE),
    "38 null": (_always(b"null"), "expected a JSON object of at most 40 levels, found NoneType", REMOVE),
    "39 a key twice": (lambda good: good.replace(b"{", b'{"scope": "x",', 1), "(a key stands twice in one object)", REMOVE),
    "39 a nested key twice": (
        lambda good: good.replace(b'"forge"', b'"forge": "local", "forge"', 1),
        "(a key stands twice in one object)",
        REMOVE,
    ),
    "40 NaN": (lambda good: good.replace(b'"size": ', b'"size": NaN, "x": ', 1), "(NaN is no JSON number)", REMOVE),
    "40 1e999": (lambda good: good.replace(b'"size": ', b'"size": 1e999, "x": ', 1), "(1e999 is no JSON number)", REMOVE),
    "40 5000 digits": (lambda good: good.replace(b'"size": ', b'"size": ' + b"9" * 5000, 1), "(Exceeds the limit (4300 digits)", REMOVE),
    "41 100k objects deep": (_always(_deep(b'{"a":', b"}", 100_000)), "(nested too deeply)", REMOVE),
    "41 100k lists deep": (_always(_deep(b"[", b"]", 100_000)), "(nested too deeply)", REMOVE),
    "41 a level too deep": (_always(_deep(b"[", b"]", 40)), "expected a JSON object of at most 40 levels, found dict", REMOVE),
    "42 half a surrogate pair": (lambda good: good.replace(b'"app"', b'"\\ud800"', 1), "surrogates not allowed", REMOVE),
    "42 no UTF-8": (lambda good: good.replace(b'"app"', b'"\xff"', 1), "can't decode byte 0xff", REMOVE),
    "44 version 0": (_version(0), "expected the version 1 at schemaVersion, found 0", AGAIN),
    "44 version 999": (
        _version(999),
        "expected schemaVersion 1, found 999: it was written by a newer stagepin",
        "use the same or a newer stagepin in this job",
    ),
    "44 version '1'": (_version("1"), 'expected the version 1 at schemaVersion, found "1"', AGAIN),
    "44 version true": (_version(True), "expected the version 1 at schemaVersion, found true", AGAIN),
    "45 two digests swapped": (edited(_swap), CHECKSUM, EDITED),
    "51 another commit": (
        resealed(lambda body: body.update(commit="0" * 40)),
        f"found commit {'0' * 40}{FOREIGN}",
        f"check out {'0' * 40} in this job, or run a new pipeline",
    ),
    "51 another project": (_pipeline(projectId="1"), f"expected pins of project id 4711, found project id 1{FOREIGN}", "remove "),
    "51 another host": (_pipeline(host="evil.example"), f"found host evil.example{FOREIGN}", "remove "),
    "51 another forge": (_pipeline(forge="github"), f"expected pins of forge gitlab, found forge github{FOREIGN}", "remove "),
    "51 another pipeline": (
        resealed(lambda body: body.update(scope="pipeline:9")),
        f"expected pins of scope pipeline:1001, found scope pipeline:9{FOREIGN}",
        "remove ",
    ),
    "51 a ref": (resealed(lambda body: body.update(ref="main")), "expected only the keys schemaVersion, tool, scope, pipeline,", AGAIN),
    "51 an attempt": (_pipeline(attempt="2"), "expected only the keys forge, host, projectId, project, id at pipeline", AGAIN),
    "52 a date of expiry": (
        resealed(lambda body: body.update(expires="2020-01-01T00:00:00Z")),
        'images, pins, keep, fork, checksum at the top, found "expires"',
        AGAIN,
    ),
    "53 a NUL after it": (lambda good: good + b"\0", "(Extra data", REMOVE),
    "53 a second document": (lambda good: good + good, "(Extra data", REMOVE),
    "54 no checksum": (edited(lambda body: body.pop("checksum")), f"{CHECKSUM}", EDITED),
    "54 the checksum null": (_checksum(None), "found None: the file was changed after it was written", EDITED),
    "54 another checksum": (_checksum("sha256:" + "0" * 64), f"found sha256:{'0' * 64}: the file was changed", EDITED),
    "54 the algorithm none": (_checksum("none"), "found none: the file was changed after it was written", EDITED),
    "54 the algorithm md5": (_checksum("md5:" + "0" * 32), f"found md5:{'0' * 32}: the file was changed", EDITED),
    "54 a signature beside it": (resealed(lambda body: body.update(signature="x")), 'at the top, found "signature"', AGAIN),
}


@pytest.mark.parametrize("place", ["workspace", "store"])
@pytest.mark.parametrize("row", DOCUMENTS)
def test_a_pin_file_is_refused(desk: Desk, row: str, place: str) -> None:
    make, message, hint = DOCUMENTS[row]
    where = desk.put(place, make(desk.good))
    desk.must_refuse(place, where, message, hint)


def test_51_the_pins_of_a_fork_are_brought_but_not_used(desk: Desk) -> None:
    """``fetch`` shows what is there; who would build or deploy it says no."""
    forged = resealed(lambda body: body.update(fork="ada/app"))(desk.good)
    message, hint = "expected pins of the project's own code, found those of the fork ada/app", "take the CI artifact of this project's own"
    desk.must_refuse("workspace", desk.put_into_workspace(forged), message, hint, "pin", "build", "plan")
    shutil.rmtree(desk.job.workspace)
    desk.must_refuse("store", desk.put_into_store(forged), message, hint, "pin", "build")


def test_34_no_pin_file_anywhere(desk: Desk) -> None:
    before = snapshot(desk.top)
    store = f"stages storage {desk.project.stages}"
    ran = desk.job.run("fetch")
    assert ran.code == 2
    assert f"error: expected the pins of pipeline:1001 in {store}, found none\n  next: check --scope, --pipeline and --repo" in ran.err
    ran = desk.job.run("pin", "--locked")
    assert ran.code == 1
    assert "error: expected the pins of pipeline:1001 to exist, found none: 2 references would have to be resolved\n  next: " in ran.err
    assert snapshot(desk.top) == before
    assert desk.project.upstream_requests() == []


@pytest.mark.parametrize("place", ["workspace", "store"])
def test_36_a_pin_file_cut_at_any_of_50_places(desk: Desk, place: str) -> None:
    for cut in range(50):
        data = desk.good[: cut * (len(desk.good) - 2) // 50]
        shutil.rmtree(desk.job.workspace, ignore_errors=True)
        desk.must_refuse(
            place, desk.put(place, data), f"{WHOLE}{len(data)} bytes", REMOVE, {"workspace": "verify", "store": "fetch"}[place]
        )


HOSTILE = "\x1b]8;;http://evil.example\x07\u202e\u200bx\x9b2J\n::error::y\n##[error]z"


@pytest.mark.parametrize("place", ["workspace", "store"])
@pytest.mark.parametrize("style", ["plain", "github", "json"])
def test_42_no_text_of_a_pin_file_commands_a_terminal_or_a_runner(desk: Desk, place: str, style: str) -> None:
    """Where text may stand in a pin file, it is shown as the characters it has."""

    def edit(body: dict[str, Any]) -> None:
        body["tool"], body["images"], body["pipeline"]["project"] = HOSTILE, [HOSTILE, "app"], HOSTILE
        body["pins"][0] |= {"digest": None, "reason": HOSTILE}
        for key in ("mediaType", "size", "platforms"):
            del body["pins"][0][key]
        body["pins"][0]["origin"][0] |= {"image": HOSTILE, "file": HOSTILE}

    options = ["--log-format", "json"] if style == "json" else []
    forge = {"GITLAB_CI": "", "GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://gitlab.example.com"} if style == "github" else {}
    forge |= {
        "GITHUB_REPOSITORY": "group/app",
        "GITHUB_REPOSITORY_ID": "4711",
        "GITHUB_RUN_ID": "1001",
        "STAGEPIN_REPO": desk.project.stages,
    }
    shown = ""
    for change in (edit, lambda body: body.update(schemaVersion=7, tool=HOSTILE)):
        body = desk.body
        change(body)
        body["pipeline"]["forge"] = "github" if style == "github" else "gitlab"
        for command in (["-v", "pin"], ["plan"], ["build"], ["verify"], ["drift"], ["doctor"]):
            shutil.rmtree(desk.job.workspace, ignore_errors=True)
            desk.put(place, seal(body)) if style != "github" else desk.put_into_workspace(seal(body))
            shown += desk.job.run(*options, *command, **forge).text
    assert "evil.example" in shown, "or nothing was tried"
    assert not [character for character in ("\x1b]", "\x07", "\u202e", "\u200b", "\x9b") if character in shown]
    assert not [line for line in shown.splitlines() if line.startswith(("::error::y", "##[error]z"))]


def _places(value: object, path: str = "") -> Iterator[tuple[str, list[str | int], object]]:
    """Every value of a document below the top: its path as errors write it, the keys that lead there, itself."""
    items: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, child in items:
        name = f"{path}[{key}]" if isinstance(key, int) else f"{path}.{key}" if path else str(key)
        yield name, [key], child
        for below, keys, found in _places(child, name):
            yield below, [key, *keys], found


def _holder(body: dict[str, Any], keys: list[str | int]) -> Any:
    found: Any = body
    for key in keys[:-1]:
        found = found[key]
    return found


@pytest.mark.parametrize("place", ["workspace", "store"])
@pytest.mark.parametrize("fault", ["missing", "unknown", "of another type"])
def test_43_every_key(desk: Desk, place: str, fault: str) -> None:
    count = 0
    for path, keys, value in list(_places(desk.body)):
        body = copy.deepcopy(desk.body)
        holder, at = _holder(body, keys), path
        is_platform = len(keys) > 1 and keys[-2] == "platforms"
        if fault == "missing":
            if isinstance(keys[-1], int) or is_platform:
                continue  # a shorter list is a document of its own
            del holder[keys[-1]]
        elif fault == "unknown":
            if not isinstance(value, dict):
                continue
            value_of = _holder(body, [*keys, ""])
            value_of["zzz"] = 1
        else:
            holder[keys[-1]] = {} if isinstance(value, list) else []
        shutil.rmtree(desk.job.workspace, ignore_errors=True)
        where = desk.put(place, seal(body))
        desk.must_refuse(place, where, f" at {at}, found ", AGAIN, {"workspace": "verify", "store": "fetch"}[place])
        count += 1
    assert count >= {"missing": 30, "unknown": 6, "of another type": 30}[fault]


@pytest.mark.parametrize("edit", [{"keep": 5}, {"keep": "Not A Repository"}, {"fork": 5}, {"fork": ""}], ids=str)
def test_43_a_key_that_may_be_missing_is_right_where_it_stands(desk: Desk, edit: dict[str, Any]) -> None:
    where = desk.put_into_workspace(resealed(lambda body: body.update(edit))(desk.good))
    desk.must_refuse("workspace", where, f" at {next(iter(edit))}, found ", AGAIN)


def _config_digest(registry: FakeRegistry, manifest: str) -> str:
    return str(json.loads(registry.manifests[OTHER, manifest][1])["config"]["digest"])


def _children(registry: FakeRegistry) -> tuple[str, str, str]:
    """The index of the other base, its child for the platform we build, and the one for another."""
    index = registry.tags[OTHER, "latest"]
    ours, others = (entry["digest"] for entry in json.loads(registry.manifests[OTHER, index][1])["manifests"])
    return index, ours, others


def _pointed_at(digest: str) -> Edit:
    return lambda body: body["pins"][1].update(digest=digest, platforms={"linux/amd64": digest})


FORGED: dict[str, tuple[Callable[[FakeRegistry], Edit], str]] = {
    "45 two digests swapped": (lambda _: _swap, "expected the engine to pull"),
    "46 an image ID as the digest": (
        lambda registry: _pointed_at(_config_digest(registry, _children(registry)[1])),
        "expected the engine to pull",
    ),
    "47 another platform's manifest": (
        lambda registry: _pointed_at(_children(registry)[2]),
        "to be an image for linux/amd64, found one for linux/arm64",
    ),
    "48 a digest of another repository": (
        lambda registry: _pointed_at(registry.tags["base/alpine", "latest"]),
        "expected the engine to pull",
    ),
    "47 the manifest as the index": (lambda registry: lambda body: body["pins"][1].update(digest=_children(registry)[1]), ""),
    "49 another media type": (lambda _: lambda body: body["pins"][1].update(mediaType="text/html"), ""),
    "49 another size": (lambda _: lambda body: body["pins"][1].update(size=7), ""),
}


@pytest.mark.parametrize("place", ["workspace", "store"])
@pytest.mark.parametrize("row", FORGED)
def test_45_to_49_somebody_made_the_checksum_anew(desk: Desk, row: str, place: str) -> None:
    """A checksum shows accidents. A job with the second channel refuses the file; one without builds what its digests name, or nothing."""
    registry = desk.project.registry
    edit, message = FORGED[row]
    forged = resealed(edit(registry))(desk.good)
    where = desk.put(place, forged)
    before = snapshot(desk.top)
    told = json.loads(desk.good)["checksum"]
    refused(
        desk.job.run("build", "--pin-checksum", told),
        2,
        f"expected the pins whose checksum the pin job handed on, {told}, found sha256:",
        where,
        "somebody wrote other pins of this scope after the pin job",
    )
    assert snapshot(desk.top) == before
    ran = desk.job.run("build")
    assert ran.code == (1 if message else 0), ran.text
    assert message in ran.err
    assert desk.project.registry.count("HEAD", f"/v2/{OTHER}/manifests/latest") == 0
    named = {digest for pin in json.loads(forged)["pins"] for digest in pin["platforms"].values()}
    assert {str(reference.digest) for reference in desk.job.engine.pulled} <= named
    if not message:
        bases = {image["platforms"]["linux/amd64"]["base"]["digest"] for image in desk.job.record["images"].values()}
        assert bases == named == {digest for pin in desk.body["pins"] for digest in pin["platforms"].values()}


def test_50_a_pin_of_no_image_does_no_harm_and_an_image_without_a_pin_stops(desk: Desk) -> None:
    def more(body: dict[str, Any]) -> None:
        body["images"].append("gone")
        body["pins"].append({**body["pins"][1], "reference": body["pins"][1]["reference"].replace("other", "zzz")})

    desk.put_into_workspace(resealed(more)(desk.good))
    assert desk.job.run("plan").code == 0
    desk.file.write_bytes(resealed(lambda body: body["pins"].pop())(desk.good))
    before = snapshot(desk.top)
    for command in ("pin", "plan", "build"):
        ran = desk.job.run(command)
        assert ran.code == 2
        assert (
            f"error: expected {desk.project.registry.address}/{OTHER}:latest among the 1 pins of pipeline:1001, found it missing" in ran.err
        )
        assert "\n  at: werf.yaml:9" in ran.err
        assert "\n  next: pin and build must read the same configuration, commit and options" in ran.err
    assert snapshot(desk.top) == before
    assert desk.project.upstream_requests() == []


@pytest.mark.parametrize("place", ["workspace", "store"])
@pytest.mark.parametrize(
    ("created", "found"),
    [("2020-01-01T00:00:00Z", "h old (2020-01-01T00:00:00Z)"), ("2036-01-01T00:00:00Z", "in the future, by this machine's clock")],
)
def test_52_pins_older_than_the_limit_and_pins_of_tomorrow(desk: Desk, place: str, created: str, found: str) -> None:
    where = desk.put(place, resealed(lambda body: body.update(createdAt=created))(desk.good))
    ran = desk.job.run("pin", "--max-age", "7d")
    refused(ran, 1, "expected the pins of pipeline:1001 to be at most 7d old, found them ", where, "run a new pipeline, which pins anew")
    assert found in ran.err
    assert desk.project.upstream_requests() == []
    assert desk.job.run("pin").code == 0, "where nobody set a limit, a rollback may be as old as it is"


@pytest.mark.parametrize("place", ["workspace", "store"])
def test_53_layout_and_the_order_of_keys_are_no_content(desk: Desk, place: str) -> None:
    document = json.loads(desk.good)
    data = b"\r\n " + json.dumps(dict(reversed(document.items())), separators=(",", ":")).encode() + b"\n\n\t "
    desk.put(place, data)
    desk.job.must("pin", "--pin-checksum", document["checksum"])
    assert desk.file.read_bytes() == data, "adopted as it is"


@pytest.mark.parametrize("place", ["workspace", "store"])
@pytest.mark.parametrize("kind", ["blanks", "one long list"])
def test_55_a_pin_file_of_100_mb_is_refused_before_it_is_read(desk: Desk, place: str, kind: str) -> None:
    size = 100_000_001
    where = desk.put(place, b" " * size if kind == "blanks" else b"[" + b"1," * (size // 2 - 1) + b"1]")
    command = {"workspace": "verify", "store": "fetch"}[place]
    tracemalloc.start()
    try:
        ran = desk.job.run(command)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        desk.project.registry.blobs = {name: data for name, data in desk.project.registry.blobs.items() if len(data) < size // 2}
    if place == "workspace":
        message = f"expected a document of at most {LARGEST_DOCUMENT} bytes, found {size}"
        refused(ran, 2, message, where, "remove the file; stagepin writes it again")
    else:
        tag = f"{desk.project.stages}:stagepin-{KEY.short_hash}"
        message = f"found a document of {size} bytes (at most {LARGEST_DOCUMENT} are read)"
        refused(ran, 2, message, tag, "somebody else wrote this tag; remove it")
        assert desk.project.registry.count("GET", "/blobs/") == 0
    assert peak < 3 * LARGEST_DOCUMENT


def _link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


SPECIAL: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link to a file of the machine": (_link, "a symbolic link"),
    "a link to nothing": (_dangling, "a symbolic link"),
    "a FIFO nobody writes to": (os.mkfifo, "a FIFO"),
    "a directory": (Path.mkdir, "a directory"),
}


@pytest.mark.parametrize("row", SPECIAL)
def test_56_what_is_no_regular_file_is_neither_read_nor_replaced(desk: Desk, row: str) -> None:
    make, kind = SPECIAL[row]
    desk.job.workspace.mkdir()
    make(desk.file)
    hint = "remove it; stagepin writes the file again"
    commands = ("pin", "plan", "build", "verify", "drift")
    desk.must_refuse("workspace", str(desk.file), f"expected a regular file, found {kind}", hint, *commands)
    desk.put_into_store(desk.good)
    before = snapshot(desk.top)
    refused(
        desk.job.run("fetch"),
        2,
        f"expected a regular file to write to, found {kind}",
        str(desk.file),
        "give the path of a file that may be replaced",
    )
    after = snapshot(desk.top)
    assert {name: after.get(name) for name in before} == before
    assert [name for name in snapshot(desk.job.workspace) if name not in (".gitignore", "pins.json")] == []


def test_56_a_directory_that_leads_elsewhere_is_refused(desk: Desk) -> None:
    (desk.top / "elsewhere").mkdir(exist_ok=True)
    (desk.top / "elsewhere" / "pins.json").write_bytes(desk.good)
    desk.job.workspace.symlink_to(desk.top / "elsewhere")
    try:
        message = "expected a directory of stagepin's own, found a symbolic link"
        desk.must_refuse("workspace", str(desk.job.workspace), message, f"remove it: rm {desk.job.workspace}", "pin", "build", "verify")
    finally:
        desk.job.workspace.unlink()
        shutil.rmtree(desk.top / "elsewhere")


def test_56_a_world_writable_file_is_read_and_what_is_written_is_not(desk: Desk) -> None:
    desk.put_into_workspace(desk.good)
    desk.file.chmod(0o666)
    desk.job.workspace.chmod(0o777)
    desk.job.must("pin")
    desk.put_into_store(desk.good)
    desk.job.must("fetch")
    assert desk.file.stat().st_mode & 0o022 == 0


def test_57_a_second_pin_file_in_the_directory_is_not_looked_at(desk: Desk) -> None:
    desk.put_into_workspace(desk.good)
    other = resealed(_swap)(desk.good)
    (desk.job.workspace / "stagepin-pins").mkdir()
    names = ("PINS.JSON", "pins (1).json", "pins.json.orig", ".pins.json.0123456789abcdef", "stagepin-pins/pins.json")
    for name in names:
        (desk.job.workspace / name).write_bytes(other)
    desk.job.must("build")
    assert desk.file.read_bytes() == desk.good
    assert {(desk.job.workspace / name).read_bytes() for name in names} == {other}
    assert {image["platforms"]["linux/amd64"]["base"]["digest"] for image in desk.job.record["images"].values()} == {
        digest for pin in desk.body["pins"] for digest in pin["platforms"].values()
    }


def test_57_two_pin_files_in_one_artifact_are_refused(desk: Desk) -> None:
    where = f"{desk.project.stages}:stagepin-{KEY.short_hash}"
    desk.put_into_store(desk.good, resealed(_swap)(desk.good))
    hint = "somebody else wrote this tag; remove it, or use another repository"
    desk.must_refuse("store", where, "expected a pin set of stagepin, found 2 documents of one kind", hint, "fetch", "pin", "build")
