"""``.stagepin.yaml``: what it says is what the settings hold; what it misspells is told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ci_plugin.config.settings import Settings, parse_settings
from ci_plugin.errors import ConfigError
from ci_plugin.values.reference import Repository

FULL = b"""\
repo: registry.example.com/app
scope: commit
platforms: [linux/amd64, linux/arm64]
registries:
  insecure: [localhost:5000]
  ca: ca.pem
  allow: [docker.io/library, "Registry.example.com:5000/group"]
  mirrors: {docker.io: [mirror.example.com/dockerhub, "localhost:5001"], ghcr.io: mirror.example.com}
  waitForPlatforms: 30
env: [MY_KEY]
dockerfiles:
  api: {dockerfile: api/Dockerfile, context: api, target: prod, args: {V: 1.10}}
  web: {dockerfile: web/Dockerfile, fromLatest: false}
settle: 0.5
maxAge: 12h
keep: registry.example.com/bases
cacheRepos: [registry.example.com/app, registry.example.com/main, registry.example.com/app]
"""


def test_an_empty_list_of_registries_allows_none_and_no_list_all() -> None:
    assert parse_settings(b"registries: {allow: []}\n").allowed == ()
    assert parse_settings(b"registries: {insecure: [a.example]}\n").allowed is None


def test_every_setting_is_read() -> None:
    settings = parse_settings(FULL)
    api, web = settings.dockerfiles
    assert (settings.repo, settings.scope) == ("registry.example.com/app", "commit")
    assert [str(platform) for platform in settings.platforms] == ["linux/amd64", "linux/arm64"]
    assert (settings.insecure, settings.ca_file, settings.readable_env) == (("localhost:5000",), "ca.pem", ("MY_KEY",))
    assert (api.name, api.context, api.target, api.build_args, api.from_latest) == ("api", "api", "prod", {"V": "1.10"}, True)
    assert (web.dockerfile, web.from_latest, web.location.line) == ("web/Dockerfile", False, 13)
    assert (settings.settle_seconds, settings.platform_wait_seconds) == (0.5, 30)
    assert [str(prefix) for prefix in settings.allowed or ()] == ["docker.io/library", "registry.example.com:5000/group"]
    assert settings.mirrors == {"docker.io": ("mirror.example.com/dockerhub", "localhost:5001"), "ghcr.io": ("mirror.example.com",)}
    assert [str(repository) for repository in settings.cache_repos] == ["registry.example.com/app", "registry.example.com/main"]
    assert (settings.max_age, settings.keep) == (timedelta(hours=12), Repository("registry.example.com", "bases"))


@pytest.mark.parametrize("data", [b"", b"# nothing\n", b"---\n"])
def test_an_empty_file_sets_nothing(data: bytes) -> None:
    assert parse_settings(data) == Settings()


@pytest.mark.parametrize(
    ("data", "where", "message", "hint"),
    [
        (b"repo: x\nscop: y\n", 2, "found `scop`", "did you mean `scope`?"),
        (b"checks: {}\n", 1, "does not do it yet", "remove `checks`"),
        (b"cacheRepos: [':local']\n", 1, "expected a registry's repository to take stages from, found ':local'", "such as registry"),
        (b"cacheRepos:\n  - a.example/b\n  - u:p@a.example/b\n", 3, "without user and password, found one", "such as registry"),
        (b"keep: ':local'\n", 1, "expected a registry's repository for the copies, found ':local'", "such as registry"),
        (b"registries:\n  allow:\n    - docker.io\n    - '*.example.com'\n", 4, "found '*.example.com'", "no wildcards"),
        (b"registries: {allow: [library]}\n", 1, "expected a registry such as docker.io/library", "write a host"),
        (b"registries: {allow: [https://docker.io]}\n", 1, "expected a registry", "write a host"),
        (b"registries: {allow: [docker.io/]}\n", 1, "expected a registry", "write a host"),
        (b"registries: {allow: ['docker.io/library/alpine:3']}\n", 1, "expected a registry", "write a host"),
        (b"registries:\n  allow:\n", 2, "expected the registries images may come from, found nothing", "remove the line"),
        (b"registries: {mirrors: [a]}\n", 1, "expected a mapping", "key: value"),
        (b"registries: {mirrors: {docker.io/library: [m.example]}}\n", 1, "expected a registry's host", "write `docker.io: [...]`"),
        (b"registries: {mirrors: {docker.io: ['mirror']}}\n", 1, "found 'mirror'", "write a host"),
        (b"registries: {waitForPlatforms: 601}\n", 1, "expected seconds from 0 to 600, found '601'", "number"),
        (b"maxAge: 12\n", 1, "expected a duration such as 30m, 12h or 7d, found '12'", "m, h or d"),
        (b"keep: registry.example.com/a:1\n", 1, "expected a repository without tag", "such as registry.example.com"),
        (b"registries:\n  insecur: []\n", 2, "found `insecur`", "did you mean `insecure`?"),
        (b"settle: soon\n", 1, "expected seconds from 0 to 60, found 'soon'", "number"),
        (b"settle: nan\n", 1, "expected seconds", "number"),
        (b"platforms: linux\n", 1, "expected a platform such as linux/amd64", "os/architecture"),
        (b"- a\n", 1, "expected a mapping, found a list", "key: value"),
        (b"repo: a\n---\nrepo: b\n", 3, "expected one document", "---"),
        (b"dockerfiles:\n  a: {context: ../..}\n", 2, "inside the project", "without"),
    ],
)
def test_bad_settings_are_told_with_line_and_way_out(data: bytes, where: int, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(data)
    assert caught.value.where is not None
    assert (caught.value.where.file, caught.value.where.line) == (".stagepin.yaml", where)
    assert message in caught.value.message
    assert hint in caught.value.hint
