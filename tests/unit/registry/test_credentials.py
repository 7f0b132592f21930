"""Where credentials come from, and for whom they are."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from ci_plugin.errors import InputError
from ci_plugin.registry.credentials import HelperAnswer, RunHelper, load_credentials
from ci_plugin.values.credentials import Credentials

ALICE = Credentials("alice", "word:with:colons")


def encoded(credentials: Credentials = ALICE) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{credentials.user}:{credentials.secret}".encode()).decode()}


def write_config(home: Path, document: object) -> Path:
    file = home / ".docker" / "config.json"
    file.parent.mkdir(parents=True)
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return file


def helper(answers: dict[tuple[str, str], HelperAnswer]) -> tuple[RunHelper, list[tuple[str, str]]]:
    """A helper that knows these answers, and what it was asked."""
    asked: list[tuple[str, str]] = []

    def run(program: str, server: str) -> HelperAnswer:
        asked.append((program, server))
        return answers.get((program, server), HelperAnswer(1, "credentials not found in native keychain\n"))

    return run, asked


def test_without_anything_there_are_none(tmp_path: Path) -> None:
    assert load_credentials({}, tmp_path)("docker.io") is None


@pytest.mark.parametrize(
    "key", ["registry.example.com", "https://registry.example.com", "https://registry.example.com/v2/", "REGISTRY.example.com"]
)
def test_a_registry_is_found_however_its_key_is_spelled(tmp_path: Path, key: str) -> None:
    write_config(tmp_path, {"auths": {key: encoded()}})
    source = load_credentials({}, tmp_path)
    assert source("registry.example.com") == ALICE
    assert source("registry.example.com:5000") is None
    assert source("example.com") is None


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io"])
def test_docker_hub_goes_by_several_names(tmp_path: Path, key: str) -> None:
    write_config(tmp_path, {"auths": {key: encoded()}})
    assert load_credentials({}, tmp_path)("docker.io") == ALICE


def test_a_key_for_part_of_a_registry_is_not_for_all_of_it(tmp_path: Path) -> None:
    write_config(tmp_path, {"auths": {"registry.example.com/group": encoded()}})
    assert load_credentials({}, tmp_path)("registry.example.com") is None


def test_the_variable_goes_before_the_file_and_the_file_before_ci(tmp_path: Path) -> None:
    bob, carol = Credentials("bob", "b"), Credentials("carol", "c")
    write_config(tmp_path, {"auths": {"one.example": encoded(bob), "two.example": encoded(bob)}})
    environ = {
        "DOCKER_AUTH_CONFIG": json.dumps({"auths": {"one.example": encoded()}}),
        "CI_REGISTRY": "three.example",
        "CI_REGISTRY_USER": carol.user,
        "CI_REGISTRY_PASSWORD": carol.secret,
    }
    source = load_credentials(environ, tmp_path)
    assert [source(host) for host in ("one.example", "two.example", "three.example", "four.example")] == [ALICE, bob, carol, None]


def test_docker_config_names_the_directory(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "config.json").write_text(json.dumps({"auths": {"a.example": encoded()}}))
    assert load_credentials({"DOCKER_CONFIG": str(tmp_path / "elsewhere")}, tmp_path)("a.example") == ALICE


def test_the_github_token_is_for_ghcr_alone_and_only_in_a_workflow(tmp_path: Path) -> None:
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_TOKEN": "t", "GITHUB_ACTOR": "octo"}
    source = load_credentials(environ, tmp_path)
    assert source("ghcr.io") == Credentials("octo", "t")
    assert source("docker.io") is None
    assert load_credentials(environ | {"GITHUB_ACTIONS": ""}, tmp_path)("ghcr.io") is None


def test_gitlab_credentials_need_all_three_variables(tmp_path: Path) -> None:
    environ = {"CI_REGISTRY": "r.example", "CI_REGISTRY_USER": "u"}
    assert load_credentials(environ, tmp_path)("r.example") is None


def test_a_helper_is_asked_late_and_once(tmp_path: Path) -> None:
    write_config(tmp_path, {"credHelpers": {"a.example": "one"}, "credsStore": "all", "auths": {"b.example": {}}})
    run, asked = helper({("docker-credential-one", "a.example"): HelperAnswer(0, '{"Username": "u", "Secret": "s"}')})
    source = load_credentials({}, tmp_path, run_helper=run)
    assert asked == []
    assert [source("a.example"), source("a.example"), source("b.example")] == [Credentials("u", "s")] * 2 + [None]
    assert asked == [("docker-credential-one", "a.example"), ("docker-credential-all", "b.example")]


def test_a_helper_knows_docker_hub_by_its_old_address_and_may_give_an_identity_token(tmp_path: Path) -> None:
    write_config(tmp_path, {"credsStore": "all"})
    answer = HelperAnswer(0, '{"Username": "<token>", "Secret": "identity"}')
    run, _ = helper({("docker-credential-all", "https://index.docker.io/v1/"): answer})
    assert load_credentials({}, tmp_path, run_helper=run)("docker.io") == Credentials("", "", "identity")


def test_a_helper_that_knows_nothing_leaves_the_word_to_auths(tmp_path: Path) -> None:
    write_config(tmp_path, {"credsStore": "all", "auths": {"a.example": encoded()}})
    assert load_credentials({}, tmp_path, run_helper=helper({})[0])("a.example") == ALICE


@pytest.mark.parametrize(
    "answer", [HelperAnswer(2, "s3cret"), HelperAnswer(0, "s3cret"), HelperAnswer(0, '["s3cret"]'), HelperAnswer(0, "{}")]
)
def test_a_helper_that_fails_is_named_and_not_quoted(tmp_path: Path, answer: HelperAnswer) -> None:
    write_config(tmp_path, {"credsStore": "all"})
    source = load_credentials({}, tmp_path, run_helper=helper({("docker-credential-all", "a.example"): answer})[0])
    with pytest.raises(InputError, match="expected docker-credential-all") as caught:
        source("a.example")
    assert "s3cret" not in caught.value.message + caught.value.hint
    assert "docker-credential-all get" in caught.value.hint


def test_a_real_helper_runs(tmp_path: Path) -> None:
    program = tmp_path / "docker-credential-real"
    program.write_text('#!/bin/sh\nread -r server\necho "{\\"Username\\": \\"$server\\", \\"Secret\\": \\"s\\"}"\n')
    program.chmod(0o755)
    write_config(tmp_path, {"credsStore": "real"})
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert load_credentials(environ, tmp_path)("a.example") == Credentials("a.example", "s")


def test_a_helper_that_is_not_installed_is_named(tmp_path: Path) -> None:
    write_config(tmp_path, {"credsStore": "absent"})
    with pytest.raises(InputError, match="expected the credential helper docker-credential-absent on this machine") as caught:
        load_credentials({"PATH": str(tmp_path)}, tmp_path)("a.example")
    assert "credsStore" in caught.value.hint


BROKEN = [
    "",
    "{",
    "[]",
    "null",
    '{"auths": [1]}',
    '{"auths": {"a": "s3cret"}}',
    '{"auths": {"a": {"auth": "s3cret!"}}}',
    '{"auths": {"a": {"auth": "c2VjcmV0"}}}',
]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_is_named_and_not_quoted(tmp_path: Path, text: str) -> None:
    file = write_config(tmp_path, text)
    with pytest.raises(InputError, match=r"expected the JSON of a docker config\.json") as caught:
        load_credentials({}, tmp_path)
    assert str(caught.value.where) == str(file)
    assert "s3cret" not in caught.value.message
    assert "docker login" in caught.value.hint


def test_a_broken_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="in DOCKER_AUTH_CONFIG, found something else"):
        load_credentials({"DOCKER_AUTH_CONFIG": "{"}, tmp_path)


@pytest.mark.parametrize("name", ["../../bin/sh", "a b", "a;b"])
def test_a_helper_name_is_a_name(tmp_path: Path, name: str) -> None:
    write_config(tmp_path, {"credsStore": name})
    with pytest.raises(InputError, match="expected the name of a credential helper"):
        load_credentials({}, tmp_path)


def test_credentials_never_show(tmp_path: Path) -> None:
    write_config(tmp_path, {"auths": {"a.example": encoded()}})
    assert ALICE.secret not in repr(load_credentials({}, tmp_path)("a.example"))


def test_every_secret_is_told_as_soon_as_it_is_read_and_a_helpers_when_it_answers(tmp_path: Path) -> None:
    """So that output can be kept free of it, though it stands in no variable."""
    other = Credentials("bob", "from-a-helper")
    write_config(tmp_path, {"auths": {"one.example.com": encoded()}, "credHelpers": {"two.example.com": "x"}})
    answer = HelperAnswer(0, json.dumps({"Username": other.user, "Secret": other.secret}))
    run, _ = helper({("docker-credential-x", "two.example.com"): answer})
    told: list[str] = []
    source = load_credentials({}, tmp_path, run_helper=run, learn=told.append)
    assert told == [ALICE.secret, encoded()["auth"]]
    source("two.example.com")
    assert told[2:] == [other.secret, encoded(other)["auth"]]
