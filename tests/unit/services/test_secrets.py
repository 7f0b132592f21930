from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ci_plugin.cli.secret_options import parse_agents, parse_secrets
from ci_plugin.config.parts import Placed, Secret, SecretValue
from ci_plugin.errors import InputError, Location
from ci_plugin.services.stage_work.secrets import find_agents, no_agents, read_secrets

AT = Location("werf.yaml", 7, 5)


def _secret(**source: str) -> Secret:
    return Secret("token", SecretValue(**source), AT)


def test_a_secret_comes_from_the_environment_a_file_or_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xff\x00line\n")
    home = tmp_path / "home"
    home.mkdir()
    (home / "netrc").write_text("of home")
    for source, expected in (
        ({"env": "TOKEN"}, b"of the environment"),
        ({"src": "file"}, b"\xff\x00line\n"),
        ({"src": str(tmp_path / "file")}, b"\xff\x00line\n"),
        ({"src": "~/netrc"}, b"of home"),
        ({"value": "written"}, b"written"),
    ):
        environ = {"TOKEN": "of the environment", "HOME": str(home)}
        assert read_secrets([_secret(**source)], environ, tmp_path) == {"token": expected}


def test_a_value_is_learned_before_it_is_used(tmp_path: Path) -> None:
    learned: list[str] = []
    read_secrets([_secret(value="one"), Secret("b", SecretValue(env="B"), AT)], {"B": "two\udcff"}, tmp_path, learned.append)
    assert learned == ["one", "two\udcff"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"env": "TOKEN"}, "expected a value in the environment variable TOKEN for the secret 'token', found none"),
        ({"env": "EMPTY"}, "expected a value in the environment variable EMPTY for the secret 'token', found none"),
        ({"src": "missing"}, "expected a file missing for the secret 'token', found No such file or directory"),
        ({"src": "."}, "expected a file . for the secret 'token', found Is a directory"),
        ({"src": "empty"}, "expected a value in the file empty for the secret 'token', found it empty"),
        ({"src": "large"}, "expected a value of at most 500 KiB for the secret 'token', found 512001 bytes"),
    ],
)
def test_a_secret_that_is_not_there_is_said_at_its_place(tmp_path: Path, source: dict[str, str], message: str) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(bytes(500 * 1024 + 1))
    with pytest.raises(InputError) as caught:
        read_secrets([_secret(**source)], {"EMPTY": ""}, tmp_path)
    assert caught.value.message == message
    assert caught.value.where == AT
    assert caught.value.hint


def test_agents_are_named_or_that_of_the_environment(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with socket.socket(socket.AF_UNIX) as agent:
            agent.bind(str(tmp_path / name))
    environ = {"SSH_AUTH_SOCK": str(tmp_path / "a")}
    assert find_agents("default", environ) == {"default": str(tmp_path / "a")}
    assert find_agents(f"default\nother={tmp_path}/b", environ) == {"default": f"{tmp_path}/a", "other": f"{tmp_path}/b"}


def test_an_agent_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("PRIVATE")
    for text, message in (
        ("default", "expected an SSH agent in SSH_AUTH_SOCK, found none"),
        (f"default={tmp_path}/no", f"expected an SSH agent's socket at {tmp_path}/no, found none"),
        (f"x={tmp_path}/key", f"expected an SSH agent's socket at {tmp_path}/key, found a file, which would be a key"),
    ):
        with pytest.raises(InputError) as caught:
            find_agents(text, {}, AT)
        assert caught.value.message == message
        assert caught.value.hint == "start one and give it the key: eval $(ssh-agent); ssh-add KEY"
        assert caught.value.where == AT


def test_where_nobody_said_how_there_are_no_agents() -> None:
    with pytest.raises(InputError, match=r"^expected no SSH agents in this build, found 'default'$"):
        no_agents("default")


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("id=token,env=T", SecretValue(env="T")),
        ("id=token", SecretValue(env="token")),
        ("id=token,src=a/b", SecretValue(src="a/b")),
        ("source=a=b,id=token", SecretValue(src="a=b")),
        ("type=file,id=token,src=x", SecretValue(src="x")),
        ("type=env,id=token,src=T", SecretValue(env="T")),
        ("type=file,id=token", SecretValue(src="token")),
    ],
)
def test_secrets_of_the_command_line_are_dockers(text: str, source: SecretValue) -> None:
    (secret,) = parse_secrets([text])
    assert (secret.id, secret.source) == ("token", source)


@pytest.mark.parametrize("text", ["", "token", "env=T", "id=", "id=a,id=b", "id=a,what=b", "id=a,src=x,env=y"])
def test_a_secret_in_other_words_is_a_usage_error(text: str) -> None:
    with pytest.raises(InputError, match=r"^expected ") as caught:
        parse_secrets([text])
    assert caught.value.hint == "write --secret id=NAME,env=VARIABLE or --secret id=NAME,src=FILE"


def test_an_id_is_given_once() -> None:
    with pytest.raises(InputError, match=r"^expected every secret's id once, found 'a' again$"):
        parse_secrets(["id=a", "id=a,env=B"])


def test_several_agents_are_one_a_line() -> None:
    assert parse_agents([]) is None
    assert parse_agents(["default", "a=/b c"]) == Placed("default\na=/b c", Location("--ssh"))
