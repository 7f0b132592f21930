"""imageSpec on images of both kinds, in the config the registry serves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.scenarios.pipeline import STAGES, Job, Project

SPEC = """imageSpec:
  author: Ann
  clearHistory: true
  config:
    labels: {team: shop, stagepin.signature: forged}
    removeLabels: ["/maint.*/", stagepin.stage]
    env: {GREETING: "hello $USER_NAME"}
    removeEnv: [USER_NAME]
    entrypoint: [/bin/serve]
    user: app
    stopSignal: SIGQUIT
    healthcheck: {test: [CMD, /probe], interval: 5, retries: 2}
"""
STAPEL = "image: app\nfrom: BASE\nfromLatest: true\ndocker:\n  ENV: {USER_NAME: Ann}\n  LABEL: {maintainer: Bob}\n  CMD: [run]\n"


def document(project: Project, job: Job) -> Any:
    manifest = json.loads(project.registry.manifests[STAGES, job.digest()][1])
    return json.loads(project.registry.blobs[manifest["config"]["digest"]])


def test_a_dockerfile_image_gets_the_section_as_a_stage_of_its_own(project: Project) -> None:
    project.write("Dockerfile", f"FROM {project.base}\n")
    project.commit(config=f"image: app\ndockerfile: Dockerfile\n{SPEC}")
    job = project.pipeline().job()
    job.must("build", "--pin")
    assert [stage["name"] for stage in job.record["images"]["app"]["platforms"]["linux/amd64"]["stages"]] == ["dockerfile", "imageSpec"]
    assert document(project, job)["config"]["User"] == "app"
    job.must("verify")


def test_the_config_is_what_the_section_says_and_our_labels_stay(project: Project) -> None:
    # werf refuses `docker` beside `imageSpec`, so what the section takes away comes from another image.
    project.commit(config=f"{STAPEL.replace('image: app', 'image: lib')}---\nimage: app\nfromImage: lib\n{SPEC}")
    job = project.pipeline().job()
    job.must("build", "--pin")
    found = document(project, job)
    config = found["config"]
    assert found["author"] == "Ann"
    assert len(found.get("history") or ()) <= 1
    assert "GREETING=hello Ann" in config["Env"]
    assert not [item for item in config["Env"] if item.startswith("USER_NAME=")]
    assert (config["Entrypoint"], config.get("Cmd") or None, config["StopSignal"]) == (["/bin/serve"], None, "SIGQUIT")
    assert config["Healthcheck"] == {"Test": ["CMD", "/probe"], "Interval": 5_000_000_000, "Retries": 2}
    labels = config["Labels"]
    assert (labels["team"], labels["stagepin.stage"]) == ("shop", "imageSpec")
    assert "maintainer" not in labels
    assert labels["stagepin.signature"] == job.record["images"]["app"]["platforms"]["linux/amd64"]["signature"]
    job.must("verify")


@pytest.mark.parametrize("pattern", ["/(/", "/[/"])
def test_a_pattern_that_is_none_is_refused_with_its_place(project: Project, pattern: str) -> None:
    project.commit(config=STAPEL.split("docker:")[0] + f"imageSpec:\n  config:\n    removeLabels: ['{pattern}']\n")
    ran = project.pipeline().job().run("build", "--pin")
    assert ran.code == 2
    assert f"error: expected a regular expression between slashes, found '{pattern}': " in ran.err
    assert "at: werf.yaml:7" in ran.err
    assert "next: correct it, or write the name without slashes" in ran.err
