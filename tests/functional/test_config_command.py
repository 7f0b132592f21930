"""``stagepin config``: rendered, listed, migrated; no registry is asked and no pins are needed."""

from __future__ import annotations

import json

import pytest

from tests.scenarios.pipeline import META, PLAIN, Job, Project

TEMPLATE = META + '{{ $base := env "BASE_TAG" "3.20" }}\nimage: app\nfrom: alpine:{{ $base }}\nshell:\n  install: {{ include "steps" . }}\n'
STEPS = '{{- define "steps" }}[echo {{ .Files.Get "words.txt" | trim }}]{{ end }}\n'


@pytest.fixture
def templated(project: Project) -> Job:
    project.write("werf.yaml", TEMPLATE)
    project.write(".werf/steps.tmpl", STEPS)
    project.write("words.txt", "hello\n")
    project.commit()
    return project.pipeline().job()


def at_the_desk(project: Project) -> Job:
    return Job(project.checkout(project.pipeline().commit), dict(PLAIN), project.engine())


class TestRender:
    def test_the_text_after_the_templates_is_the_result(self, templated: Job) -> None:
        ran = templated.must("config", "render", BASE_TAG="3.21")
        assert "from: alpine:3.21\n" in ran.out
        assert "install: [echo hello]\n" in ran.out
        assert ran.err == ""

    def test_what_was_read_is_told_by_name_alone(self, templated: Job) -> None:
        ran = templated.must("-v", "config", "render", BASE_TAG="3.21")
        assert "files read: werf.yaml, .werf/steps.tmpl, words.txt" in ran.err
        assert "environment read: BASE_TAG" in ran.err
        assert "3.21" not in ran.err

    def test_a_secret_stays_secret_in_the_text_too(self, project: Project) -> None:
        project.write(".stagepin.yaml", "env: [MY_TOKEN]\n")
        project.write("werf.yaml", META + 'image: app\nfrom: alpine\nfromCacheVersion: {{ env "MY_TOKEN" }}\n')
        project.commit()
        ran = project.pipeline().job().must("config", "render", MY_TOKEN="s3cr3t-value-of-it")
        assert "fromCacheVersion: ***" in ran.out
        assert "s3cr3t-value-of-it" not in ran.text

    def test_a_dockerfile_alone_has_nothing_to_render(self, project: Project) -> None:
        project.write("Dockerfile", "FROM alpine\n")
        project.commit()
        ran = project.pipeline().job().run("config", "render")
        assert ran.code == 2
        assert "found a Dockerfile alone" in ran.err
        assert "`stagepin config list` shows its references" in ran.err

    def test_a_configuration_that_is_not_there_is_named(self, project: Project) -> None:
        project.write("README", "x")
        project.commit()
        ran = project.pipeline().job().run("--config", "other.yaml", "config", "render")
        assert ran.code == 2
        assert "expected the configuration other.yaml in the commit, found none" in ran.err


DOCKERFILE = (
    "# syntax=docker/dockerfile:1\nARG BASE\nFROM alpine:3.20 AS one\nCOPY --from=busybox /bin/sh /sh\nFROM $BASE\nCOPY --from=one /sh /\n"
)


class TestRemotes:
    TEXT = (
        "FROM BASE\nADD https://user:pass@example.com/a.tgz /a\nADD --checksum=sha256:" + "a" * 64 + " https://example.com/b /b\n"
        "ARG REPO=https://example.com/r.git\nADD ${REPO}#v1 /r\nADD git@example.com:x/y.git#" + "b" * 40 + " /y\nADD local /l\n"
    )

    @pytest.fixture
    def job(self, project: Project) -> Job:
        project.write("Dockerfile", self.TEXT.replace("FROM BASE", f"FROM {project.base}"))
        project.write("local", "l")
        project.commit()
        return project.pipeline().job()

    def test_the_list_names_each_with_its_place_and_whether_something_holds_it(self, job: Job) -> None:
        (image,) = json.loads(job.must("config", "list", "--format", "json").out)["images"].values()
        assert [(item["kind"], item["spelling"], item["held"], item["line"]) for item in image["remotes"]] == [
            ("url", "https://example.com/a.tgz", False, 2),
            ("url", "https://example.com/b", True, 3),
            ("git", "https://example.com/r.git#v1", False, 5),
            ("git", f"git@example.com:x/y.git#{'b' * 40}", True, 6),
        ]
        ran = job.must("config", "list")
        assert "add-url" in ran.out
        assert "add-git" in ran.out
        way_out = "a download may change at any time, and no pin holds it: write ADD --checksum=sha256:<64 hex>"
        assert f"ADD https://example.com/a.tgz (Dockerfile:2:1): {way_out}" in ran.err
        assert "ADD https://example.com/b (Dockerfile:3:1): its content is held" in ran.err
        assert "user:pass" not in ran.text

    def test_pin_and_plan_name_those_that_nothing_holds(self, job: Job) -> None:
        for command in ("pin", "plan"):
            told = job.must(command).err
            assert "ADD https://example.com/a.tgz (Dockerfile:2:1)" in told
            assert "https://example.com/b" not in told


class TestDappfile:
    def test_an_unset_variable_is_the_empty_text_as_it_was_to_dapp(self, project: Project) -> None:
        project.write("dappfile.yml", 'dimg: app\nfrom: alpine{{ env "SUFFIX" }}\nfromCacheVersion: "{{ env "V" "1" }}"\n')
        project.commit()
        job = project.pipeline().job()
        ran = job.must("-v", "config", "render")
        assert ran.out == 'dimg: app\nfrom: alpine\nfromCacheVersion: "1"\n'
        assert "environment read: SUFFIX, V" in ran.err
        assert "from: alpine:3\n" in job.must("config", "render", SUFFIX=":3").out

    def test_a_secret_is_none_of_its_business_either(self, project: Project) -> None:
        project.write("dappfile.yml", 'dimg: app\nfrom: alpine{{ env "MY_TOKEN" }}\n')
        project.commit()
        assert "found the variable 'MY_TOKEN', which looks like one" in project.pipeline().job().run("config", "render").err

    def test_its_templates_stand_in_their_own_directory(self, project: Project) -> None:
        project.write("dappfile.yml", 'dimg: app\nfrom: {{ include "base" . }}\n')
        project.write(".dappfiles/base.tmpl", '{{- define "base" }}alpine:3{{ end }}\n')
        project.commit()
        assert "from: alpine:3\n" in project.pipeline().job().must("config", "render").out
        desk = at_the_desk(project)
        ran = desk.must("config", "migrate", "--write")
        assert "next: git add .werf/base.tmpl werf.yaml && git rm dappfile.yml .dappfiles/base.tmpl" in ran.err
        assert (desk.directory / ".werf" / "base.tmpl").read_text().startswith("{{- define")

    def test_a_new_template_is_missed_in_ci(self, project: Project) -> None:
        project.write("dappfile.yml", 'dimg: app\nfrom: {{ include "base" . }}\n')
        project.write(".dappfiles/base.tmpl", '{{- define "base" }}alpine:3{{ end }}\n')
        project.commit()
        job = project.pipeline().job()
        (job.directory / ".dappfiles" / "new.tmpl").write_text("x")
        ran = job.run("config", "list")
        assert ran.code == 2
        assert "found uncommitted changes to .dappfiles/new.tmpl" in ran.err


class TestGlobs:
    def test_a_glob_that_matches_nothing_is_told_once_and_is_no_error(self, project: Project) -> None:
        text = 'image: app\nfrom: alpine\n{{ range $path, $text := .Files.Glob "conf/*.yaml" }}{{ fail "no" }}{{ end }}'
        text += '{{ $again := .Files.Glob "conf/*.yaml" }}{{ $hit := .Files.Glob "*.txt" }}{{ $hidden := .Files.Glob (env "V") }}'
        project.write("werf.yaml", META + text)
        project.write("a.txt", "x")
        project.commit()
        ran = project.pipeline().job().must("config", "list", V="a-value-of-it")
        assert ran.err.count("warning: werf.yaml: .Files.Glob 'conf/*.yaml' matches no committed file") == 1
        assert ran.err.count("matches no committed file") == 2
        assert "a-value-of-it" not in ran.text


class TestReadableNames:
    @pytest.fixture
    def job(self, project: Project) -> Job:
        project.write("werf.yaml", META + 'image: app\nfrom: alpine:{{ env "TAG" }}\n')
        rules = "giterminismConfigVersion: 1\nconfig:\n  goTemplateRendering:\n    allowEnvVariables: [OTHER]\n"
        project.write("werf-giterminism.yaml", rules)
        project.commit()
        return project.pipeline().job()

    def test_the_hint_names_the_list_of_the_project(self, job: Job) -> None:
        ran = job.run("config", "list", TAG="3")
        assert ran.code == 2
        assert "next: add TAG to `config.goTemplateRendering.allowEnvVariables` in werf-giterminism.yaml" in ran.err

    def test_our_own_list_wins_where_it_stands(self, job: Job, project: Project) -> None:
        project.write(".stagepin.yaml", "env: [MORE]\n")
        project.commit()
        ran = project.pipeline("1002").job().run("config", "list", TAG="3")
        assert "next: add TAG to `env:` in .stagepin.yaml" in ran.err


class TestList:
    @pytest.fixture
    def job(self, project: Project) -> Job:
        text = (
            "artifact: tools\nfrom: golang\n---\nimage: app\nfrom: scratch\n---\nimage: web\ndockerfile: web/Dockerfile\nfromLatest: true\n"
        )
        project.write("web/Dockerfile", DOCKERFILE)
        project.commit(config=text)
        return project.pipeline().job()

    def test_as_json_it_is_what_the_contract_says(self, job: Job) -> None:
        images = job.must("config", "list", "--format", "json").document["images"]
        assert list(images) == ["tools", "app", "web"]
        assert images["tools"] == {
            "kind": "artifact",
            "references": [
                {"reference": "docker.io/library/golang:latest", "spelling": "golang", "file": "werf.yaml", "line": 5, "kind": "from"}
            ],
            "unresolved": [],
            "remotes": [],
        }
        assert images["app"] == {"kind": "stapel", "references": [], "unresolved": [], "remotes": []}
        web = images["web"]
        assert (web["kind"], {use["file"] for use in web["references"]}) == ("dockerfile", {"web/Dockerfile"})
        assert [(use["kind"], use["spelling"], use["line"]) for use in web["references"]] == [
            ("syntax", "docker/dockerfile:1", 1),
            ("from", "alpine:3.20", 3),
            ("copy-from", "busybox", 4),
        ]
        assert [(item["spelling"], item["line"]) for item in web["unresolved"]] == [("$BASE", 5)]
        assert web["unresolved"][0]["reason"]

    def test_the_table_says_where_each_stands_and_what_follows_the_registry(self, job: Job) -> None:
        ran = job.must("config", "list")
        lines = [line.split() for line in ran.out.splitlines()]
        assert lines[0] == ["IMAGE", "KIND", "BASE", "USE", "REFERENCE", "WHERE"]
        assert ["web", "dockerfile", "web/Dockerfile", "copy-from", "docker.io/library/busybox:latest", "web/Dockerfile:4:13"] in lines
        assert "tools: base frozen at first build (add fromLatest: true)" in ran.err
        assert "web: base follows the registry" in ran.err
        assert "warning: web: $BASE (web/Dockerfile:5:6) cannot be told: " in ran.err

    def test_no_registry_is_asked_and_nothing_is_written(self, project: Project, job: Job) -> None:
        project.registry.requests.clear()
        job.must("config", "list")
        assert project.registry.requests == []
        assert not job.workspace.exists()

    def test_dockerfiles_of_the_command_line_are_listed_too(self, job: Job) -> None:
        ran = job.must("config", "list", "--format", "json", "--dockerfile", "x=web/Dockerfile", "--build-arg", "BASE=debian:12")
        (image,) = ran.document["images"].values()
        assert image["unresolved"] == []
        assert "docker.io/library/debian:12" in [use["reference"] for use in image["references"]]


DAPP = "# ours\ndimg: app # the only one\nfrom: alpine\n"


class TestMigrate:
    @pytest.fixture
    def desk(self, project: Project) -> Job:
        project.write("dappfile.yml", DAPP)
        project.commit()
        return at_the_desk(project)

    def test_the_new_text_is_printed_and_nothing_is_written(self, desk: Job) -> None:
        ran = desk.must("config", "migrate")
        assert ran.out.endswith("configVersion: 1\n---\n# ours\nimage: app # the only one\nfrom: alpine:latest\n")
        assert "rewritten: dappfile.yml:2: `dimg` is `image`" in ran.err
        assert "warning: drifts: dappfile.yml:3:1: image app: docker.io/library/alpine:latest can move" in ran.err
        assert not (desk.directory / "werf.yaml").exists()

    def test_written_it_is_read_instead_of_the_old_one(self, desk: Job) -> None:
        printed = desk.must("config", "migrate").out
        ran = desk.must("config", "migrate", "--write")
        assert (desk.directory / "werf.yaml").read_text() == printed
        assert "git add werf.yaml && git rm dappfile.yml" in ran.err
        again = desk.must("config", "migrate", "--write")
        assert "werf.yaml is in the newest dialect already" in again.err
        assert (desk.directory / "werf.yaml").read_text() == printed

    def test_what_needs_a_hand_is_listed_and_nothing_is_written(self, project: Project) -> None:
        project.write("dappfile.yml", "artifact: tools\nfrom: alpine:3\nshell:\n  buildArtifact: [make]\n---\ndimg: app\nfrom: alpine:3\n")
        project.commit()
        job = at_the_desk(project)
        ran = job.run("config", "migrate", "--write")
        assert ran.code == 1
        assert "by hand: dappfile.yml:4: `buildArtifact` has no counterpart: make it the last commands of `setup`" in ran.err
        assert "nothing is written" in ran.err
        assert not (job.directory / "werf.yaml").exists()

    def test_a_branch_that_was_not_taken_needs_a_hand(self, project: Project) -> None:
        branch = '{{ if eq .Env "dev" }}\nfromImage: base\n{{ else }}\nfrom: alpine:3\n{{ end }}\n'
        project.write("werf.yaml", META + "image: base\nfrom: alpine:3\n---\nimage: app\n" + branch)
        project.commit()
        job = at_the_desk(project)
        before = (job.directory / "werf.yaml").read_bytes()
        ran = job.run("config", "migrate", "--write")
        assert ran.code == 1
        assert "by hand: werf.yaml:9: `fromImage` stands in a part of the template that this run did not take" in ran.err
        assert (job.directory / "werf.yaml").read_bytes() == before
        job.must("--env", "dev", "config", "migrate", "--write")
        assert "\nfrom: base\n" in (job.directory / "werf.yaml").read_text()

    def test_templates_are_rewritten_with_it(self, project: Project) -> None:
        project.write("werf.yaml", META + 'image: base\nfrom: alpine:3\n---\nimage: app\n{{ include "base" . }}\n')
        project.write(".werf/base.tmpl", '{{ define "base" }}fromCacheVersion: 1\nfromImage: base # ours\n{{ end }}')
        project.commit()
        job = at_the_desk(project)
        ran = job.must("config", "migrate", "--write")
        assert "from: base # ours\n" in (job.directory / ".werf/base.tmpl").read_text()
        assert "written: .werf/base.tmpl" in ran.err

    def test_two_configurations_are_not_made_one(self, project: Project) -> None:
        project.write("dappfile.yml", DAPP)
        project.commit(config="image: app\nfrom: alpine\n")
        ran = at_the_desk(project).run("--config", "dappfile.yml", "config", "migrate", "--write")
        assert ran.code == 2
        assert "expected no werf.yaml beside dappfile.yml, found one" in ran.err


def test_the_list_is_json_that_a_program_can_read_with_every_log_format(project: Project) -> None:
    project.commit(config="image: app\nfrom: alpine\n")
    ran = project.pipeline().job().must("--log-format", "json", "config", "list", "--format", "json")
    assert json.loads(ran.out)["images"]["app"]["kind"] == "stapel"
