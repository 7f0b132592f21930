"""``.stagepin.yaml``: what it says is what the settings hold; what it misspells is told."""

from __future__ import annotations

import pytest

from ci_plugin.config.settings import Settings, parse_settings
from ci_plugin.errors import ConfigError

FULL = b"""\
repo: registry.example.com/app
scope: commit
platforms: [linux/amd64, linux/arm64]
registries:
  insecure: [localhost:5000]
  ca: ca.pem
env: [MY_KEY]
dockerfiles:
  api: {dockerfile: api/Dockerfile, context: api, target: prod, args: {V: 1.10}}
  web: {dockerfile: web/Dockerfile, fromLatest: false}
settle: 0.5
"""


def test_every_setting_is_read() -> None:
    settings = parse_settings(FULL)
    api, web = settings.dockerfiles
    assert (settings.repo, settings.scope) == ("registry.example.com/app", "commit")
    assert [str(platform) for platform in settings.platforms] == ["linux/amd64", "linux/arm64"]
    assert (settings.insecure, settings.ca_file, settings.readable_env) == (("localhost:5000",), "ca.pem", ("MY_KEY",))
    assert (api.name, api.context, api.target, api.build_args, api.from_latest) == ("api", "api", "prod", {"V": "1.10"}, True)
    assert (web.dockerfile, web.from_latest, web.location.line) == ("web/Dockerfile", False, 10)
    assert settings.settle_seconds == 0.5


@pytest.mark.parametrize("data", [b"", b"# nothing\n", b"---\n"])
def test_an_empty_file_sets_nothing(data: bytes) -> None:
    assert parse_settings(data) == Settings()


@pytest.mark.parametrize(
    ("data", "where", "message", "hint"),
    [
        (b"repo: x\nscop: y\n", 2, "found `scop`", "did you mean `scope`?"),
        (b"cacheRepos: [x]\n", 1, "does not do it yet", "remove `cacheRepos`"),
        (b"registries: {mirrors: {}}\n", 1, "does not do it yet", "remove `mirrors`"),
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
    assert str(caught.value.where) == f".stagepin.yaml:{where}"
    assert message in caught.value.message
    assert hint in caught.value.hint
