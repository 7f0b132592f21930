"""What a wheel holds: everything stagepin reads at run time, and nothing of the workshop."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

import pytest

from tests.e2e.own_source import ROOT, build_wheel


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    with zipfile.ZipFile(build_wheel(tmp_path_factory.mktemp("wheel"))) as wheel:
        return set(wheel.namelist())


def test_a_wheel_holds_every_file_of_the_package(names: set[str]) -> None:
    package = ROOT / "ci_plugin"
    files = {str(file.relative_to(ROOT)) for file in package.rglob("*") if file.is_file() and "__pycache__" not in file.parts}
    assert files == {name for name in names if name.startswith("ci_plugin/")}


def test_a_wheel_holds_the_schemas_the_typing_mark_and_the_licence(names: set[str]) -> None:
    assert {"ci_plugin/py.typed", "ci_plugin/schemas/pins-1.json", "ci_plugin/schemas/build-1.json"} <= names
    assert any(PurePosixPath(name).name == "LICENSE" for name in names)


def test_a_wheel_holds_nothing_else(names: set[str]) -> None:
    assert {PurePosixPath(name).parts[0].partition("-")[0] for name in names} == {"ci_plugin", "stagepin"}
    assert not [name for name in names if Path(name).suffix in (".pyc", ".orig", ".rej")]
