"""Templates through the command line: what they see of the commit, what they may read, how a refusal is told."""

from __future__ import annotations

import subprocess

import pytest

from tests.scenarios.pipeline import META, Job, Project, Ran

SECRET = "hunter2-canary"


def job(project: Project, config: str) -> Job:
    project.write("werf.yaml", META + config)
    project.commit()
    return project.pipeline().job()


def refused(ran: Ran, message: str, *, at: str, hint: str) -> None:
    assert ran.code == 2, ran.text
    assert f"error: {message}" in ran.err
    assert f"\n  at: {at}\n" in ran.err
    assert f"\n  next: {hint}" in ran.err
    assert "Traceback" not in ran.err


def test_a_template_sees_the_commit_and_its_date(project: Project) -> None:
    given = job(project, "# {{ .Commit.Hash }} {{ .Commit.Date.Unix }} {{ .Commit.Date.Human }}\nimage: app\nfrom: alpine\n")
    git = ["git", "-C", str(given.directory), "show", "--no-patch", "--format=%H %ct"]
    commit, seconds = subprocess.run(git, check=True, capture_output=True, text=True).stdout.split()
    out = given.must("config", "render").out
    assert f"# {commit} {seconds} 2" in out
    assert " +0000 UTC\n" in out


def test_definitions_of_several_files_make_one_configuration(project: Project) -> None:
    config = '{{ range list "a" "b" }}---\n{{ include "image" . }}\n{{ end }}'
    project.write(".werf/lib/image.tmpl", '{{ define "image" }}image: {{ . }}\nfrom: {{ include "base.tmpl" . }}{{ end }}')
    project.write(".werf/base.tmpl", "alpine:3")
    listed = job(project, config).must("config", "list", "--format", "json").document
    assert sorted(listed["images"]) == ["a", "b"]


def test_a_refusal_in_a_shared_template_names_its_file_and_the_way_there(project: Project) -> None:
    project.write(".werf/base.tmpl", "\n{{ now }}")
    refused(
        job(project, 'image: app\nfrom: {{ include "base.tmpl" . }}\n').run("config", "render"),
        "expected a template that gives one text for one commit, found `now`",
        at=".werf/base.tmpl:2:4 (by way of werf.yaml:5)",
        hint='hand the value in through a variable: {{ env "NAME" }}',
    )


@pytest.mark.parametrize("command", [("config", "render"), ("config", "list"), ("pin",)])
def test_a_template_without_end_is_refused_by_every_command(project: Project, command: tuple[str, ...]) -> None:
    ran = job(project, "image: app\nfrom: {{ repeat 999999999 `x` }}\n").run(*command)
    refused(ran, "expected `repeat` to make at most 1 MiB, found more", at="werf.yaml:5:10", hint="use a smaller number, or a shorter text")


def test_what_is_wrong_in_the_rendered_text_is_told_where_it_was_written(project: Project) -> None:
    project.write(".werf/image.tmpl", '{{ define "image" }}\nimage: app\nform: alpine\n{{ end }}')
    ran = job(project, '{{ template "image" }}').run("config", "list")
    refused(ran, "expected a known directive, found `form`", at=".werf/image.tmpl:3:1 (by way of werf.yaml:4)", hint="did you mean `from`?")


def test_the_list_names_the_fragment_that_holds_a_reference(project: Project) -> None:
    project.write(".werf/base.tmpl", "# the base\nfrom: alpine:3")
    listed = job(project, 'image: app\n{{ include "base.tmpl" . | trim | nindent 0 }}\n')
    assert " .werf/base.tmpl:2:1 (by way of werf.yaml:5)" in listed.must("config", "list").out.replace("  ", " ")


def test_migration_rewrites_the_fragment_that_holds_the_old_word(project: Project) -> None:
    project.write(".werf/part.tmpl", "fromImageArtifact: base\n")
    migrated = job(project, 'artifact: base\nfrom: alpine:3\n---\nimage: app\n{{ include "part.tmpl" . }}\n').must("config", "migrate")
    assert "# .werf/part.tmpl\nfrom: base" in migrated.text
    assert "by hand" not in migrated.text


def test_only_variables_the_settings_list_are_readable_and_no_value_is_shown(project: Project) -> None:
    project.write(".stagepin.yaml", "env: [BASE_TOKEN]\n")
    given = job(project, 'image: app\nfrom: {{ env "BASE_TOKEN" | fail }}\n')
    ran = given.run("config", "render", BASE_TOKEN=SECRET)
    refused(ran, "***", at="werf.yaml:5:29", hint="`fail` in the template stops here")
    assert SECRET not in ran.text
    other = job(project, 'image: app\nfrom: {{ env "OTHER" }}\n').run("config", "render", OTHER="x")
    refused(other, "expected a readable variable, found 'OTHER'", at="werf.yaml:5:10", hint="add OTHER to `env:` in .stagepin.yaml")
