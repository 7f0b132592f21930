"""Every command with a secret of its own in every place that can hold one: where all goes well, and where servers answer with our secrets.

What is looked at: stdout and stderr with ``-v``, as text and as JSON; every file below the checkout (pin file, record, logs, env files);
what GitHub is handed (outputs, step summary); what was stored (registries, refs, packages) and commented. Forms: tests/fakes/canary.py.
What a build step prints by itself is in tests/functional/test_outputs.py.
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from ci_plugin.values.credentials import Credentials
from tests.fakes.canary import Canary, make_canary
from tests.fakes.engine import FakeEngine
from tests.fakes.github import FakeGitHub
from tests.fakes.gitlab import FakeGitLab
from tests.fakes.gitlab_state import DEVELOPER, MergeRequest, Token
from tests.fakes.registry import FakeRegistry, Request
from tests.fakes.registry_client import make_client
from tests.scenarios.pipeline import BASE, META, PLAIN, Job, Pipeline, Project, Ran

TOKEN = make_canary("stagepin-token", for_header=True)
JOB_TOKEN = make_canary("job-token", for_header=True)
BASES = make_canary("password-of-the-bases")
STAGES = make_canary("password-of-the-stages")
BUILD_ARG = make_canary("build-arg", for_header=True)
TEMPLATE = make_canary("template", for_header=True)
REMOTE = make_canary("remote")
PROXY = make_canary("proxy", for_header=True)
CANARIES = (TOKEN, JOB_TOKEN, BASES, STAGES, BUILD_ARG, TEMPLATE, REMOTE, PROXY)
WERF = (
    'image: app\nfrom: BASE\nfromLatest: true\nfromCacheVersion: "{{ env "DB_PASSWORD" | b64enc }}"\nshell:\n  install: [make]\n---\n'
    'image: box\ndockerfile: Dockerfile\nfromLatest: true\nargs:\n  API_KEY: {{ env "DB_PASSWORD" | toJson }}\n'
)
COMMANDS = (
    ["pin", "--env-file", "pins.env"],
    ["plan"],
    ["plan", "--format", "json"],
    ["build"],
    ["verify", "--recompute", "--env-file", "images.env"],
    ["fetch"],
    ["drift", "--comment"],
    ["drift", "--format", "markdown"],
    ["explain", "app"],
    ["doctor"],
    ["doctor", "--format", "json"],
)
STYLES: tuple[list[str], ...] = ([], ["--log-format", "json"])


@dataclass
class Nest:
    """A project whose base is in one registry and whose stages are in another, each with a password, on a forge; ``job`` has it all."""

    project: Project
    stages: FakeRegistry
    job: Job
    forge: FakeGitHub | FakeGitLab
    home: Path
    texts: list[str] = field(default_factory=list)

    def run(self, *argv: str, **environ: str) -> Ran:
        ran = self.job.run("-v", *argv, **environ)
        self.texts.append(ran.text)
        return ran

    def assert_silent(self) -> None:
        """No canary shows in anything that was printed, written, stored or commented."""
        stored = [data for registry in (self.project.registry, self.stages) for _, data in registry.manifests.values()]
        stored += [*self.project.registry.blobs.values(), *self.stages.blobs.values(), *self._kept_by_the_forge()]
        for canary in CANARIES:
            for text in self.texts:
                canary.assert_hidden(text)
            canary.assert_hidden_below(self.job.directory, but=(self.job.directory / ".git" / "config",))
            for data in stored:
                canary.assert_hidden(data)

    def _kept_by_the_forge(self) -> Iterator[bytes]:
        if isinstance(self.forge, FakeGitHub):
            yield repr(self.forge.state.projects[4711].git).encode()
            yield repr([comment.body for comment in self.forge.state.projects[4711].comments_of(7)]).encode()
        else:
            yield repr(self.forge.state.packages).encode()
            yield repr([note.body for request in self.forge.state.merge_requests for note in request.notes]).encode()


def auths(**secrets: Canary) -> str:
    """A docker ``config.json`` with a password for each address."""
    return json.dumps({"auths": {host: {"auth": base64.b64encode(f"robot:{one.text}".encode()).decode()} for host, one in secrets.items()}})


def passwords_of(nest: Nest) -> dict[str, Canary]:
    """Registry → its password; on GitLab that of the stages comes in variables."""
    stages = {nest.stages.address: STAGES} if isinstance(nest.forge, FakeGitHub) else {}
    return {nest.project.registry.address: BASES, **stages}


def from_file(nest: Nest) -> None:
    (nest.home / ".docker").mkdir(parents=True)
    (nest.home / ".docker" / "config.json").write_text(auths(**passwords_of(nest)))


def from_variable(nest: Nest) -> None:
    nest.job.environ["DOCKER_AUTH_CONFIG"] = auths(**passwords_of(nest))


def from_helper(nest: Nest) -> None:
    """A credential helper on the path: what it answers stands in no variable and in no file of docker's."""
    answers = {host: json.dumps({"Username": "robot", "Secret": one.text}) for host, one in passwords_of(nest).items()}
    (nest.home / ".docker").mkdir(parents=True)
    (nest.home / ".docker" / "config.json").write_text(json.dumps({"credHelpers": dict.fromkeys(answers, "canary")}))
    helper = nest.home / "bin" / "docker-credential-canary"
    helper.parent.mkdir()
    helper.write_text(f"#!{sys.executable}\nprint({answers!r}[input()])\n")
    helper.chmod(0o755)
    nest.job.environ["PATH"] = f"{helper.parent}:{nest.job.environ['PATH']}"


SOURCES: dict[str, Callable[[Nest], None]] = {"config.json": from_file, "DOCKER_AUTH_CONFIG": from_variable, "helper": from_helper}


@pytest.fixture
def stages() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        running.require_token("robot", STAGES.text)
        yield running


@pytest.fixture(params=["github", "gitlab"])
def nest(request: pytest.FixtureRequest, project: Project, stages: FakeRegistry, tmp_path: Path) -> Iterator[Nest]:
    """Everything but where the password of the bases' registry comes from."""
    project.registry.require_basic("robot", BASES.text)
    project.write("Dockerfile", f"FROM {project.base}\nARG API_KEY\nARG API_TOKEN\nRUN echo hello\n")
    project.write(".stagepin.yaml", "env: [DB_PASSWORD]\n")
    project.write("werf.yaml", META + WERF.replace("BASE", project.base))
    commit = project.commit()
    with contextlib.ExitStack() as stack:
        made = on_github(stack, project, commit) if request.param == "github" else on_gitlab(stack, project, stages)
        forge, job = made
        home = tmp_path / "home"
        job.environ |= {
            "HOME": str(home),
            "STAGEPIN_TOKEN": TOKEN.text,
            "STAGEPIN_REPO": f"{stages.address}/group/app/stages",
            "DB_PASSWORD": TEMPLATE.text,
            "HTTPS_PROXY": f"http://robot:{quote(PROXY.text, safe='')}@proxy.invalid:3128",
        }
        passwords = {project.registry.address: BASES.text, stages.address: STAGES.text}
        job.engine = FakeEngine(make_client(lambda host: Credentials("robot", passwords[host])))
        git = ["git", "-C", str(job.directory), "remote", "add", "origin"]
        subprocess.run([*git, f"https://oauth2:{quote(REMOTE.text, safe='')}@git.example.com/group/app.git"], check=True)
        yield Nest(project, stages, job, forge, home)


def on_github(stack: contextlib.ExitStack, project: Project, commit: str) -> tuple[FakeGitHub, Job]:
    github = stack.enter_context(FakeGitHub())
    hosted = github.add_project("group/app", id=4711)
    hosted.commit_files({"README.md": b"hello"})
    hosted.open_pull(7)
    for token in (TOKEN, JOB_TOKEN):
        github.add_token(token.text, contents="write", actions="read", pull_requests="write")
    run = hosted.start_run("pin", head_sha=commit)
    environ = {**PLAIN, "CI": "true", **github.job_environment(hosted, run.id, token=JOB_TOKEN.text)}
    job = Pipeline(project, environ | {"STAGEPIN_STORE": "git-ref", "GITHUB_REF": "refs/pull/7/merge"}, commit).job()
    job.environ |= {name: str(job.directory / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    job.environ["DOCKER_AUTH_CONFIG"] = ""
    job.clock = github.clock
    return github, job


def on_gitlab(stack: contextlib.ExitStack, project: Project, stages: FakeRegistry) -> tuple[FakeGitLab, Job]:
    gitlab = stack.enter_context(FakeGitLab())
    hosted = gitlab.add_project("group/app", 4711)
    gitlab.add_pipeline(hosted, 1001)
    request: MergeRequest = gitlab.state.add_merge_request(hosted, 7)
    user = gitlab.state.add_user("project_bot")
    gitlab.state.tokens[TOKEN.text] = Token(TOKEN.text, "private", user, DEVELOPER, ("api",))
    gitlab.state.tokens[JOB_TOKEN.text] = Token(JOB_TOKEN.text, "job", user, DEVELOPER, (), 4711)
    job = project.pipeline().job()
    host, _, port = gitlab.address.partition(":")
    job.environ |= {"CI_SERVER_HOST": host, "CI_SERVER_PORT": port, "CI_SERVER_PROTOCOL": "http", "CI_API_V4_URL": gitlab.api_url}
    job.environ |= {"CI_MERGE_REQUEST_IID": str(request.iid), "CI_MERGE_REQUEST_PROJECT_ID": "4711"}
    job.environ |= {"CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "4711", "CI_JOB_TOKEN": JOB_TOKEN.text, "STAGEPIN_STORE": "generic-package"}
    job.environ |= {"CI_REGISTRY": stages.address, "CI_REGISTRY_USER": "robot", "CI_REGISTRY_PASSWORD": STAGES.text}
    return gitlab, job


def with_credentials(nest: Nest, source: str) -> Nest:
    SOURCES[source](nest)
    return nest


@pytest.mark.parametrize("source", SOURCES)
def test_where_all_goes_well(nest: Nest, source: str) -> None:
    with_credentials(nest, source)
    for style in STYLES:
        for command in COMMANDS:
            ran = nest.run(*style, *command)
            assert ran.code == 0, ran.text
        nest.project.registry.put_image(BASE, "latest", seed="moved")
        (nest.job.workspace / "pins.json").unlink()
    nest.assert_silent()
    assert nest.stages.count("PUT") > 0, "the passwords were used"


def test_a_build_argument_and_its_variable(nest: Nest) -> None:
    with_credentials(nest, "config.json")
    nest.project.write("werf.yaml", "")
    (nest.job.directory / "werf.yaml").unlink()
    git = ["git", "-C", str(nest.job.directory), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "rm", "-q", "--cached", "werf.yaml"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "Dockerfile alone"], check=True)
    for options in (["--build-arg", f"API_TOKEN={BUILD_ARG.text}"], ["--build-arg", "API_TOKEN"]):
        for style in STYLES:
            for command in (["pin"], ["plan"], ["build"], ["explain", "app"], ["drift"]):
                scope = ["--scope", "desk"]
                nest.run(*style, *command, *scope, *options, API_TOKEN=BUILD_ARG.text, CI_COMMIT_SHA="", GITHUB_SHA="")
    nest.assert_silent()


def spoken(*canaries: Canary) -> str:
    """What a careless server says of what it was sent: raw, base64, percent-encoded, JSON."""
    texts = [one.text for one in canaries]
    texts += [base64.b64encode(f"robot:{text}".encode()).decode() for text in texts] + [quote(text, safe="") for text in texts]
    return " ".join(texts + [json.dumps(text)[1:-1] for text in texts])


def answer_who_logs_in(registry: FakeRegistry, status: int, kind: str, body: str) -> None:
    """From now on every request that brings credentials gets this, whatever it asks."""

    def refuse(request: Request) -> None:
        if request.authorization and "/v2/" in request.path:
            registry.fail(status=status, body=body.encode(), headers={"Content-Type": kind})

    registry.on_request = refuse


def echo_of_registries(nest: Nest, status: int) -> None:
    for registry, canary in ((nest.project.registry, BASES), (nest.stages, STAGES)):
        body = {"errors": [{"code": "DENIED", "message": spoken(canary), "detail": spoken(canary)}]}
        answer_who_logs_in(registry, status, "application/json", json.dumps(body))


def echo_of_forge(nest: Nest, status: int) -> None:
    body = json.dumps({"message": spoken(TOKEN, JOB_TOKEN), "error": spoken(TOKEN, JOB_TOKEN)}).encode()
    nest.forge.fail(status=status, body=body, headers={"Content-Type": "application/json"}, times=None)


def echo_in_a_page(nest: Nest, status: int) -> None:
    """A proxy's page with the request in it."""
    page = "<html><pre>{}</pre></html>"
    nest.forge.fail(status=status, body=page.format(spoken(TOKEN, JOB_TOKEN)).encode(), headers={"Content-Type": "text/html"}, times=None)
    for registry, canary in ((nest.project.registry, BASES), (nest.stages, STAGES)):
        answer_who_logs_in(registry, status, "text/html", page.format(spoken(canary)))


@pytest.mark.parametrize("status", [400, 401, 403, 500])
@pytest.mark.parametrize("echo", [echo_of_registries, echo_of_forge, echo_in_a_page], ids=lambda one: one.__name__)
def test_where_a_server_answers_with_our_secrets(nest: Nest, echo: Callable[[Nest, int], None], status: int) -> None:
    with_credentials(nest, "helper" if status == 401 else "config.json")
    pinned = nest.job.must("pin")
    assert pinned.code == 0
    echo(nest, status)
    codes = set()
    for number, command in enumerate(COMMANDS):
        (nest.job.workspace / "pins.json").unlink(missing_ok=True)
        codes.add(nest.run(*STYLES[number % 2], *command).code)
    assert codes - {0}, "or nothing was refused"
    assert codes <= {0, 1, 2, 3}
    nest.assert_silent()


def test_a_proxy_that_is_down_is_named_without_its_password(nest: Nest) -> None:
    with_credentials(nest, "config.json")
    address = f"http://robot:{quote(PROXY.text, safe='')}@127.0.0.1:1"
    for base in ("registry.invalid/base", "http-only.invalid:80/base"):
        (nest.job.directory / "Dockerfile").write_text(f"FROM {base}\n")
        git = ["git", "-C", str(nest.job.directory), "-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run([*git, "commit", "-qam", "a base behind a proxy"], check=True)
        environ = {**PLAIN, "HTTPS_PROXY": address, "HTTP_PROXY": address, "https_proxy": address, "http_proxy": address}
        command = [sys.executable, "-m", "ci_plugin", "-C", str(nest.job.directory), "-v", "pin", "--dockerfile", "app=Dockerfile"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True)
        assert done.returncode in (2, 3), done.stderr
        PROXY.assert_hidden(done.stdout + done.stderr)


def test_the_password_of_the_remote_shows_in_no_identity(nest: Nest) -> None:
    """At a desk the remote's address is the identity, and a forge may be asked by it."""
    with_credentials(nest, "config.json")
    nest.job.environ = {name: value for name, value in nest.job.environ.items() if not name.startswith(("CI", "GIT", "STAGEPIN"))}
    for style in STYLES:
        for command in COMMANDS:
            nest.run(*style, *command, DOCKER_AUTH_CONFIG=auths(**{nest.stages.address: STAGES}))
        nest.run(*style, "fetch", "--pipeline", "1001", "--store", "stages-storage", "--repo", f"{nest.stages.address}/group/app/stages")
    nest.assert_silent()


def test_a_canary_is_found_where_it_shows(nest: Nest) -> None:
    """Or the tests above could not fail."""
    with_credentials(nest, "config.json")
    nest.texts.append(f"password {BASES.text}")
    with pytest.raises(AssertionError, match="the canary password-of-the-bases shows"):
        nest.assert_silent()


@pytest.mark.parametrize("shift", range(100, 300, 11))
def test_an_excerpt_that_ends_within_a_secret_shows_none_of_its_beginning(nest: Nest, shift: int) -> None:
    """Half a token is no spelling of it, and half of it is still too much."""
    with_credentials(nest, "config.json")
    text = "x" * shift + TOKEN.text
    nest.forge.fail(status=400, body=json.dumps({"message": text}).encode(), headers={"Content-Type": "application/json"}, times=None)
    body = json.dumps({"errors": [{"code": "x" * (shift // 2), "message": "x" * (shift // 2) + BASES.text}]})
    answer_who_logs_in(nest.project.registry, 403, "application/json", body)
    for command in (["pin"], ["pin", "--store", "stages-storage"], ["drift", "--comment"], ["doctor"]):
        shown = nest.run(*command).text
        assert not [canary.name for canary in CANARIES if canary.text[:12] in shown], shown
