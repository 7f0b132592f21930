from __future__ import annotations

from pathlib import Path

import pytest

from ci_plugin.engine.docker_engine import DockerEngine
from ci_plugin.errors import InputError


def _no_credentials(registry: str) -> None:
    return None


def test_no_engine_is_the_callers_to_mend_and_says_where_it_looked(tmp_path: Path) -> None:
    engine = DockerEngine(f"unix://{tmp_path}/none.sock", credentials=_no_credentials, environ={})
    with pytest.raises(
        InputError, match=r"^no Docker engine reachable at unix://.*none.sock: expected an answer, found No such file or directory$"
    ) as caught:
        engine.native_platform()
    assert caught.value.exit_code == 2
    assert "DOCKER_HOST" in caught.value.hint


def test_the_address_comes_from_the_environment_when_none_is_given() -> None:
    engine = DockerEngine(None, credentials=_no_credentials, environ={"DOCKER_HOST": "tcp://127.0.0.1:1"})
    with pytest.raises(InputError, match=r"no Docker engine reachable at tcp://127\.0\.0\.1:1: .*Connection refused"):
        engine.native_platform()


def test_an_engine_over_ssh_is_refused_with_the_way_round_it() -> None:
    engine = DockerEngine("ssh://user@host", credentials=_no_credentials, environ={})
    with pytest.raises(InputError, match=r"^expected DOCKER_HOST to be unix:// or tcp://, found ssh://") as caught:
        engine.native_platform()
    assert "ssh -nNT -L" in caught.value.hint


def test_an_address_nobody_can_read_is_refused() -> None:
    engine = DockerEngine("what://ever", credentials=_no_credentials, environ={})
    with pytest.raises(InputError, match="no Docker engine reachable at what://ever"):
        engine.native_platform()
