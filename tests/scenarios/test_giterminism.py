"""Only the commit is built where others see it; at a desk uncommitted files are built, and the record says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.pipeline import META, PLAIN, Job, Project

CONFIG = "image: app\nfrom: BASE\nfromLatest: true\n"


def at_the_desk(project: Project, **environ: str) -> Job:
    return Job(project.checkout(project.pipeline().commit), {**PLAIN, **environ}, project.engine())


def signature(job: Job) -> object:
    """The final stage signature of the one image."""
    (image,) = job.must("plan", "--format", "json").document["images"].values()
    return image["platforms"]["linux/amd64"]["signature"]


@pytest.fixture
def dockerfile(project: Project) -> Project:
    project.write("Dockerfile", f"FROM {project.base}\nCOPY src /src\n")
    project.write("src/main.py", "print(1)\n")
    project.write("README.md", "read me\n")
    project.commit()
    return project


class TestInCi:
    @pytest.mark.parametrize(
        ("path", "text"),
        [
            ("werf.yaml", META + "image: other\nfrom: scratch\n"),
            ("werf.yaml", None),
            (".werf/steps.tmpl", "x"),
            (".werf/new.tmpl", "x"),
            ("words.txt", "other\n"),
            ("web/Dockerfile", "FROM scratch\n"),
            ("web/.dockerignore", "*\n"),
            (".stagepin.yaml", "settle: 0\n"),
            ("werf-giterminism.yaml", "giterminismConfigVersion: 1\n"),
        ],
    )
    def test_a_changed_file_that_is_read_stops_the_job(self, project: Project, path: str, text: str | None) -> None:
        project.write(".werf/steps.tmpl", '{{ define "steps" }}[echo {{ .Files.Get "words.txt" }}]{{ end }}')
        project.write("words.txt", "hello")
        project.write("web/Dockerfile", f"FROM {project.base}\n")
        images = (
            'image: app\nfrom: BASE\nshell:\n  install: {{ include "steps" . }}\n---\nimage: web\ndockerfile: Dockerfile\ncontext: web\n'
        )
        project.commit(config=images)
        job = project.pipeline().job()
        if text is None:
            (job.directory / path).unlink()
        else:
            (job.directory / path).write_text(text)
        ran = job.run("pin")
        assert ran.code == 2
        assert "in this CI job, found uncommitted changes to " + path in ran.err
        assert "next: commit them (git add, git commit), or take the change back (git checkout)" in ran.err
        assert f"at: {path}" in ran.err
        assert not job.workspace.joinpath("pins.json").exists()

    def test_a_target_of_a_link_counts_as_the_link(self, project: Project, tmp_path: Path) -> None:
        project.write("docker/app", f"FROM {project.base}\n")
        (tmp_path / "origin" / "Dockerfile").symlink_to("docker/app")
        project.commit()
        job = project.pipeline().job()
        (job.directory / "docker/app").write_text("FROM scratch\n")
        ran = job.run("pin")
        assert ran.code == 2
        assert "found uncommitted changes to docker/app" in ran.err

    def test_a_changed_file_that_nobody_reads_stops_nothing(self, dockerfile: Project) -> None:
        job = dockerfile.pipeline().job()
        (job.directory / "README.md").write_text("changed")
        (job.directory / "report.xml").write_text("made by a test")
        (job.directory / ".stagepin").mkdir()
        (job.directory / ".stagepin" / "note").write_text("x")
        ran = job.must("build", "--pin")
        assert "uncommitted" not in ran.err
        assert "dirty" not in job.record

    def test_a_generated_file_that_is_added_by_name_is_an_input_like_any_other(self, dockerfile: Project) -> None:
        job = dockerfile.pipeline().job()
        (job.directory / "dist").mkdir()
        (job.directory / "dist" / "app.js").write_text("built")
        job.must("build", "--pin", "--context-add", "dist")
        assert "dirty" not in job.record


class TestAtTheDesk:
    def test_an_edited_dockerfile_is_built_and_the_record_says_so(self, dockerfile: Project) -> None:
        desk = at_the_desk(dockerfile)
        committed = signature(desk)
        (desk.directory / "Dockerfile").write_text(f"FROM {dockerfile.base}\nCOPY src /app\n")
        ran = desk.must("build")
        assert "Dockerfile differs from the commit" in ran.err
        assert "yours is used, because nothing here is published" in ran.err
        assert "warning: built with files that differ from the commit; the record says so (dirty)" in ran.err
        assert (desk.record["dirty"], desk.record["published"]) == (True, False)
        assert signature(desk) != committed
        assert "COPY src /app" in desk.engine.builds[-1].dockerfile

    def test_an_edited_and_a_new_source_file_are_built_as_they_are(self, dockerfile: Project) -> None:
        desk = at_the_desk(dockerfile)
        (desk.directory / "src" / "main.py").write_text("print(2)\n")
        (desk.directory / "src" / "new.py").write_text("new\n")
        desk.must("build")
        assert desk.record["dirty"] is True
        assert desk.engine.builds[-1].paths == ("src/main.py", "src/new.py")

    def test_a_removed_file_is_gone(self, dockerfile: Project) -> None:
        desk = at_the_desk(dockerfile)
        (desk.directory / "src" / "other.py").write_text("x")
        (desk.directory / "src" / "main.py").unlink()
        desk.must("build")
        assert desk.engine.builds[-1].paths == ("src/other.py",)

    def test_a_changed_readme_makes_no_record_dirty(self, dockerfile: Project) -> None:
        desk = at_the_desk(dockerfile)
        committed = signature(desk)
        (desk.directory / "README.md").write_text("changed")
        desk.must("build")
        assert "dirty" not in desk.record
        assert signature(desk) == committed

    def test_committing_what_was_built_gives_the_same_image(self, dockerfile: Project) -> None:
        desk = at_the_desk(dockerfile)
        (desk.directory / "src" / "main.py").write_text("print(2)\n")
        dirty = signature(desk)
        dockerfile.write("src/main.py", "print(2)\n")
        dockerfile.commit()
        assert signature(at_the_desk(dockerfile)) == dirty

    def test_a_file_that_git_ignores_is_not_in_it(self, dockerfile: Project) -> None:
        desk = at_the_desk(dockerfile)
        (desk.directory / ".gitignore").write_text("*.pyc\n")
        (desk.directory / "src" / "main.pyc").write_text("x")
        desk.must("build")
        assert desk.engine.builds[-1].paths == ("src/main.py",)

    def test_an_edited_configuration_is_the_one_that_is_read(self, project: Project) -> None:
        project.commit(config=CONFIG)
        desk = at_the_desk(project)
        (desk.directory / "werf.yaml").write_text(META + f"image: other\nfrom: {project.base}\n")
        desk.must("build")
        assert list(desk.record["images"]) == ["other"]
        assert desk.record["dirty"] is True

    def test_settings_are_always_those_of_the_commit(self, dockerfile: Project) -> None:
        desk = at_the_desk(dockerfile)
        (desk.directory / ".stagepin.yaml").write_text("platforms: linux/arm64\n")
        ran = desk.must("plan")
        assert "warning: .stagepin.yaml differs from the commit" in ran.err
        assert "linux/amd64" in ran.out

    def test_nothing_is_published_while_what_is_read_differs(self, dockerfile: Project) -> None:
        desk = at_the_desk(dockerfile, STAGEPIN_REPO=dockerfile.stages)
        (desk.directory / "Dockerfile").write_text("FROM scratch\n")
        ran = desk.run("build")
        assert ran.code == 2
        assert f"in a build for {dockerfile.stages}, found uncommitted changes to Dockerfile" in ran.err
        assert "`--repo :local` builds them as they are" in ran.err
        assert desk.engine.builds == []
        assert [request for request in dockerfile.requests_for("/group/app/stages/") if request.method not in ("GET", "HEAD")] == []

    def test_a_store_that_others_read_is_as_good_as_a_registry(self, dockerfile: Project) -> None:
        desk = at_the_desk(dockerfile, STAGEPIN_STORE="git-ref")
        (desk.directory / "Dockerfile").write_text("FROM scratch\n")
        ran = desk.run("build")
        assert ran.code == 2
        assert "in a build for git-ref, found uncommitted changes to Dockerfile" in ran.err
        assert desk.engine.builds == []

    def test_a_question_is_answered_about_the_commit_all_the_same(self, dockerfile: Project) -> None:
        desk = at_the_desk(dockerfile, STAGEPIN_REPO=dockerfile.stages)
        committed = signature(desk)
        (desk.directory / "Dockerfile").write_text("FROM scratch\n")
        assert signature(desk) == committed
        assert "warning: Dockerfile differs from the commit" in desk.must("plan").err


class TestRulesOfTheProject:
    RULES = "giterminismConfigVersion: 1\nconfig:\n"

    def test_a_project_that_forbids_from_latest_is_heard(self, project: Project) -> None:
        project.write("werf-giterminism.yaml", self.RULES + "  stapel: {allowFromLatest: false}\n")
        project.commit(config=CONFIG)
        ran = project.pipeline().job().run("pin")
        assert ran.code == 2
        assert "expected no `fromLatest` in a project that forbids it, found it at image 'app'" in ran.err

    def test_its_list_says_which_variables_a_template_may_read(self, project: Project) -> None:
        project.write("werf-giterminism.yaml", self.RULES + "  goTemplateRendering: {allowEnvVariables: [/APP_.*/]}\n")
        project.commit(config='image: app\nfrom: BASE\nfromCacheVersion: {{ env "APP_MODE" }}{{ env "OTHER" "" }}\n')
        ran = project.pipeline().job().run("config", "render", APP_MODE="debug")
        assert ran.code == 2
        assert "expected a readable variable, found 'OTHER'" in ran.err

    def test_our_own_list_comes_first(self, project: Project) -> None:
        project.write("werf-giterminism.yaml", self.RULES + "  goTemplateRendering: {allowEnvVariables: [APP_MODE]}\n")
        project.write(".stagepin.yaml", "env: [OTHER]\n")
        project.commit(config='image: app\nfrom: BASE\nfromCacheVersion: {{ env "OTHER" }}\n')
        assert "fromCacheVersion: y\n" in project.pipeline().job().must("config", "render", OTHER="y").out

    def test_a_broken_file_of_rules_is_named(self, project: Project) -> None:
        project.write("werf-giterminism.yaml", "giterminismConfigVersion: 1\nconfg: {}\n")
        project.commit(config=CONFIG)
        ran = project.pipeline().job().run("pin")
        assert ran.code == 2
        assert "found `confg`" in ran.err
        assert "did you mean `config`?" in ran.err
