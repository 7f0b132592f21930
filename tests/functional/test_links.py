"""A committed link that leads out of the project is told as that: not as missing, not as uncommitted, and never passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.pipeline import META, Project, Ran

CONFIG = META + "image: app\ndockerfile: Dockerfile\n"


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """Where the project's files are written."""
    return tmp_path / "origin"


def linked(project: Project, origin: Path, path: str, target: str, **files: str) -> Ran:
    """``config list`` of a project in which ``path`` is a link; what it leads to is there."""
    place = origin / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)
    for name, text in files.items():
        project.write(name, text)
    project.commit()
    job = project.pipeline().job()
    outside = Path(job.directory / path).parent / target
    outside.parent.mkdir(parents=True, exist_ok=True)
    outside.write_text("FROM alpine\n")
    return job.run("config", "list")


@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("Dockerfile", {}),
        ("Dockerfile", {"werf.yaml": CONFIG}),
        ("werf.yaml", {"Dockerfile": "FROM alpine\n"}),
        (".dockerignore", {"Dockerfile": "FROM alpine\n"}),
        ("shared.tmpl", {"werf.yaml": META + '{{ .Files.Get "shared.tmpl" }}'}),
        (".werf/shared.tmpl", {"werf.yaml": META + "image: app\nfrom: {{ `a` }}\n"}),
        ("werf-giterminism.yaml", {"werf.yaml": META + "image: app\nfrom: a\n"}),
    ],
)
def test_a_link_that_leads_out_is_named_with_its_target(project: Project, origin: Path, path: str, files: dict[str, str]) -> None:
    target = "../" * (path.count("/") + 1) + "outside-of-it/file"
    ran = linked(project, origin, path, target, **files)
    assert ran.code == 2
    assert f"error: expected a file of the commit at {path}, found a link that leads out of the project, to '{target}'" in ran.err
    assert "next: commit the file itself" in ran.err
    assert "uncommitted" not in ran.err


def test_a_directory_that_leads_out_is_named_too(project: Project, origin: Path) -> None:
    ran = linked(project, origin, "api", "../elsewhere", **{"werf.yaml": META + "image: app\ncontext: api\ndockerfile: Dockerfile\n"})
    assert ran.code == 2
    assert "expected a file of the commit at api, found a link that leads out of the project, to '../elsewhere'" in ran.err


def test_a_link_inside_the_project_is_followed(project: Project, origin: Path) -> None:
    project.write("docker/app", "FROM alpine\n")
    (origin / "Dockerfile").symlink_to("docker/app")
    project.commit()
    assert "docker.io/library/alpine:latest" in project.pipeline().job().must("config", "list").out
