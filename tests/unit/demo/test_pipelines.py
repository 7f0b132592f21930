"""The demo does not believe itself: what each side's jobs must have done, held against jobs that did something else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from ci_plugin.demo.handmade import image_tag
from ci_plugin.demo.jobs import Finished, Job
from ci_plugin.demo.pipelines import ByHand, WithStagepin
from ci_plugin.demo.scene import Scene
from ci_plugin.demo.telling import Teller
from ci_plugin.errors import AnswerIsNo

BUILT = f"127.0.0.1:5000/group/app@sha256:{'a' * 64}"
OTHER = f"127.0.0.1:5000/group/app@sha256:{'b' * 64}"


class ScriptedScene:
    """A scene whose jobs end as they are told to, without running."""

    def __init__(self, directory: Path, exit_code: int, output: str, artifact: Mapping[str, str]) -> None:
        self.runner = self
        self._directory, self._exit_code, self._output = directory, exit_code, output
        for name, text in artifact.items():
            (directory / name).write_text(text)

    def variables(self, side: str) -> Mapping[str, str]:
        return {}

    def run(self, *jobs: Job) -> list[Finished]:
        return [Finished(job, self._exit_code, self._output, self._directory / "job.log", self._directory) for job in jobs]


@pytest.fixture
def told() -> list[str]:
    return []


def _by_hand(directory: Path, told: list[str], exit_code: int, output: str) -> ByHand:
    return ByHand(cast(Scene, ScriptedScene(directory, exit_code, output, {})), Teller(told.append), "1001")


def _with_stagepin(directory: Path, told: list[str], exit_code: int, output: str, shipped: str) -> WithStagepin:
    scene = ScriptedScene(directory, exit_code, output, {"stagepin.env": f"STAGEPIN_IMAGE_APP={shipped}\n"})
    return WithStagepin(cast(Scene, scene), Teller(told.append), "1001")


def test_a_hand_made_deploy_that_finds_no_image_is_told_with_its_own_words(tmp_path: Path, told: list[str]) -> None:
    output = "this job needs the image reg/app:two\nerror: the registry has no image app:two\n"
    _by_hand(tmp_path, told, 1, output).deploy_in_vain("reg/app:one")
    assert "✗ deploy" in told[0]
    assert told[-1].strip() == "| error: the registry has no image app:two"


def test_a_hand_made_deploy_that_succeeds_although_the_base_moved_ends_the_demo(tmp_path: Path, told: list[str]) -> None:
    with pytest.raises(AnswerIsNo) as refusal:
        _by_hand(tmp_path, told, 0, "this job needs the image reg/app:one\n").deploy_in_vain("reg/app:one")
    expected = "expected the hand-made deploy to look for another image and to fail, found exit code 0 with reg/app:one"
    assert refusal.value.message == expected
    assert refusal.value.hint == f"read {tmp_path / 'job.log'}: the story is not what happened"
    assert told == []


def test_a_hand_made_deploy_that_fails_for_another_reason_ends_the_demo(tmp_path: Path, told: list[str]) -> None:
    with pytest.raises(AnswerIsNo):
        _by_hand(tmp_path, told, 1, "error: the engine died\n").deploy_in_vain("reg/app:one")


def test_a_verification_that_refuses_ends_the_demo_with_its_error(tmp_path: Path, told: list[str]) -> None:
    with pytest.raises(AnswerIsNo) as refusal:
        _with_stagepin(tmp_path, told, 1, "error: it is gone\n  next: build\n", BUILT).verify(BUILT)
    assert refusal.value.message == "expected the job deploy to succeed, found exit code 1: error: it is gone"


def test_a_verification_that_ships_another_image_ends_the_demo(tmp_path: Path, told: list[str]) -> None:
    with pytest.raises(AnswerIsNo) as refusal:
        _with_stagepin(tmp_path, told, 0, "", OTHER).verify(BUILT)
    assert refusal.value.message == f"expected the image of the build job, {BUILT}, found {OTHER}"


def test_a_job_without_artifacts_is_told_as_one_that_fetches(tmp_path: Path, told: list[str]) -> None:
    _with_stagepin(tmp_path, told, 0, "", BUILT).verify(BUILT, "deploy-retry", needs=None)
    assert " ".join(" ".join(told).split()) == (
        "with ✓ deploy-retry fetches pins and record from the registry; verified, deploys app@sha256:aaaaaaaa…: exactly what was built"
    )


def test_the_hand_made_tag_follows_dockerfile_commit_and_base() -> None:
    first = image_tag(b"FROM base\n", "c0", "sha256:1")
    others = {
        image_tag(b"FROM base \n", "c0", "sha256:1"),
        image_tag(b"FROM base\n", "c1", "sha256:1"),
        image_tag(b"FROM base\n", "c0", "2"),
    }
    assert len({first, *others}) == 4
    assert first == image_tag(b"FROM base\n", "c0", "sha256:1")
