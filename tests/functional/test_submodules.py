"""Submodules from the command line: their files are the project's, in Dockerfile contexts and in git mappings."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.fakes.git_repository import GitRepository
from tests.scenarios.pipeline import Job, Project

COPIES_ALL = "FROM scratch\nCOPY . /app\n"
MAPS_ALL = "image: app\nfrom: BASE\ngit:\n- {add: /vendor, to: /opt/vendor}\n"


@pytest.fixture
def library(tmp_path: Path) -> GitRepository:
    repository = GitRepository(tmp_path / "library")
    repository.write("code", "one\n")
    repository.commit()
    return repository


def job_with(project: Project, library: GitRepository, *, config: str = "", number: str = "1001") -> Job:
    """A job whose checkout has the submodule."""
    origin = project._repository
    if not (origin.directory / "vendor/lib").exists():
        origin.add_submodule(library, "vendor/lib")
    project.commit(config=config)
    job = project.pipeline(number).job()
    job.environ["CI_PROJECT_NAME"] = "app"
    return job


def signature(job: Job) -> str:
    job.must("pin")
    return str(job.must("plan", "--format", "json").document["images"].popitem()[1]["platforms"]["linux/amd64"]["signature"])


def without_submodules(job: Job) -> Job:
    """As a job that checked none out."""
    shutil.rmtree(job.directory / "vendor/lib")
    (job.directory / "vendor/lib").mkdir()
    return job


def test_a_build_context_has_the_files_of_submodules(project: Project, library: GitRepository) -> None:
    project.write("Dockerfile", COPIES_ALL)
    job = job_with(project, library)
    job.must("build", "--pin")
    (build,) = job.engine.builds
    assert build.paths == (".gitmodules", "Dockerfile", "vendor/lib/code")


@pytest.mark.parametrize("config", ["", MAPS_ALL], ids=["dockerfile", "stapel"])
def test_another_commit_of_a_submodule_is_another_image(project: Project, library: GitRepository, config: str) -> None:
    if not config:
        project.write("Dockerfile", COPIES_ALL)
    before = signature(job_with(project, library, config=config))
    library.write("code", "two\n")
    library.commit()
    GitRepository.at(project._repository.directory / "vendor/lib").git("-c", "protocol.file.allow=always", "pull", "--quiet")
    assert signature(job_with(project, library, config=config, number="1002")) != before


def test_a_mapping_of_a_submodule_that_is_not_checked_out_is_refused_with_the_way_out(project: Project, library: GitRepository) -> None:
    job = without_submodules(job_with(project, library, config=MAPS_ALL))
    job.must("pin")
    ran = job.run("plan")
    assert ran.code == 2
    assert "expected the submodule 'vendor/lib' to be checked out" in ran.err
    for way_out in ("git submodule update --init --recursive", "GIT_SUBMODULE_STRATEGY: recursive", "submodules: recursive"):
        assert way_out in ran.err


def test_what_no_mapping_takes_need_not_be_checked_out(project: Project, library: GitRepository) -> None:
    project.write("src/main.py", "print()\n")
    config = MAPS_ALL.replace("/vendor", "/src")
    whole = job_with(project, library, config=config)
    assert signature(without_submodules(project.pipeline().job())) == signature(whole)
