"""The registries a configuration may name: prefixes end where a part of the path ends."""

from __future__ import annotations

import pytest

from ci_plugin.config.registries import RegistryPrefix, check_allowed, parse_registry_prefix
from ci_plugin.errors import ConfigError, Location
from ci_plugin.values.reference import Reference, Repository, parse_reference, parse_repository


@pytest.mark.parametrize(
    ("prefix", "held", "not_held"),
    [
        ("docker.io/library", "alpine", "grafana/grafana"),
        ("docker.io", "grafana/grafana", "ghcr.io/a/b"),
        ("index.docker.io/library", "docker.io/library/alpine", "docker.io/library2/alpine"),
        ("registry.example.com", "registry.example.com/a", "registry.example.com:5000/a"),
        ("registry.example.com/group", "registry.example.com/group/app", "registry.example.com/groups/app"),
        ("registry.example.com/group/app", "registry.example.com/group/app", "registry.example.com/group/app2"),
        ("localhost:5000", "localhost:5000/a", "localhost/a"),
        ("example.com", "example.com/a", "evil.example.com/a"),
        ("169.254.169.254", "169.254.169.254/x", "169.254.169.25/x"),
    ],
)
def test_a_prefix_holds_what_is_below_it(prefix: str, held: str, not_held: str) -> None:
    assert parse_registry_prefix(prefix).holds(parse_repository(held))
    assert not parse_registry_prefix(prefix).holds(parse_repository(not_held))


@pytest.mark.parametrize(
    "text", ["", "library", "docker.io/", "/library", "*.example.com", "a.example/b:1", "http://a.example", "a.example/B"]
)
def test_what_is_no_prefix_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a registry such as docker\.io/library or registry\.example\.com, found"):
        parse_registry_prefix(text)


def use(text: str, line: int) -> tuple[Reference, Location]:
    return parse_reference(text), Location("Dockerfile", line)


def test_every_reference_outside_is_named_at_its_line() -> None:
    uses = [use("alpine", 1), use("evil.example/x:1", 2), use("ghcr.io/a/b", 3), use("registry.example.com/group/app:x", 4)]
    own = [Repository("registry.example.com", "group/app")]
    with pytest.raises(ConfigError) as caught:
        check_allowed(uses, [RegistryPrefix("docker.io", "library")], own)
    first, _, rest = caught.value.message.partition("\n")
    assert first == "expected an image of one of the allowed registries (docker.io/library), found evil.example/x:1"
    assert "Dockerfile:3: expected an image of one of the allowed registries (docker.io/library), found ghcr.io/a/b:latest" in rest
    assert "group/app" not in rest
    assert caught.value.hint == "use an image from there, or add its registry to `registries: allow:` in .stagepin.yaml"
    assert str(caught.value.where) == "Dockerfile:2"


def test_no_registry_allowed_is_said_to_be_none() -> None:
    with pytest.raises(ConfigError, match=r"expected an image of one of the allowed registries \(none\), found docker.io/library/alpine"):
        check_allowed([use("alpine", 1)], (), ())
