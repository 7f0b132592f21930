"""An older dialect rewritten: comments and templates stay, what is built stays the same, and a second time changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_plugin.config.load import load_configuration
from ci_plugin.config.migrate import Migration, meaning, migrate
from ci_plugin.config.model import Configuration
from ci_plugin.config.references import list_references
from ci_plugin.config.source import Source
from ci_plugin.conveyor.plan import make_plan
from ci_plugin.errors import ConfigError
from ci_plugin.values.platform import DEFAULT_PLATFORM
from tests.unit.config.sources import META, source
from tests.unit.conveyor.project import MemoryProject, make_pin, make_pins

PROJECT = "my-project"


def migrated(files: Mapping[str, str], **environment: str) -> Migration:
    return migrate(source(files, environment), PROJECT)


def after(files: Mapping[str, str], migration: Migration) -> Source:
    """The project once the files are written and the old configuration is removed."""
    kept = {path: text for path, text in files.items() if path != migration.old or migration.old == migration.main}
    return source({**kept, **migration.texts})


def remarks(migration: Migration, kind: str) -> list[str]:
    return [str(remark) for remark in migration.remarks if remark.kind == kind]


class TestText:
    def test_the_documentations_smallest_dappfile_becomes_a_werf_yaml(self) -> None:
        migration = migrated({"dappfile.yml": "dimg: example\nfrom: alpine\n"})
        assert (migration.old, migration.main) == ("dappfile.yml", "werf.yaml")
        assert migration.text == "project: my-project\nconfigVersion: 1\n---\nimage: example\nfrom: alpine:latest\n"

    def test_comments_order_blanks_and_line_ends_stay(self) -> None:
        text = (
            "# top\r\ndimg:   app   # the app\r\n\r\nfromDimg: 'base'   # ours\r\nshell:\r\n"
            "    install: [ a,b ]  # odd\r\n---\r\ndimg: base\r\nfrom: alpine:3\r\n"
        )
        new = migrated({"dappfile.yml": text}).text.removeprefix("project: my-project\nconfigVersion: 1\n---\n")
        assert new == text.replace("fromDimg:", "from:").replace("dimg:", "image:")

    def test_a_template_stays_as_it_is(self) -> None:
        text = '{{ $tag := env "TAG" "3" }}\ndimg: {{ printf "a%s" "pp" }}\nfrom: alpine:{{ $tag }} # {{ $tag }}\n'
        assert migrated({"dappfile.yml": text}).text.endswith(text.replace("dimg:", "image:"))

    def test_a_variable_that_is_not_set_stays_the_empty_text(self) -> None:
        text = (
            '{{ $n := "TAG" }}{{- /* (env "TAG") */}}\ndimg: app{{- env "A" }}\nfrom: alpine:{{ env $n | default `3` }} # env "B"\n'
            'fromCacheVersion: "{{ env "C" "1" }}{{ include "v" . }}"\n'
        )
        files = {"dappfile.yml": text, ".dappfiles/v.tmpl": '{{ define "v" }}{{ printf "%s" (env "D") }}{{end}}'}
        migration = migrated(files)
        new = text.replace("dimg:", "image:").replace('{{- env "A" }}', '{{- env "A" "" }}').replace("env $n |", 'env $n "" |')
        assert migration.text.endswith(new)
        assert migration.texts[".werf/v.tmpl"] == '{{ define "v" }}{{ printf "%s" (env "D" "") }}{{end}}'
        what = "`env` has a default: a variable that is not set stays the empty text it was to dapp"
        told = [remark for remark in remarks(migration, "edited") if what in remark]
        assert told == [f"{place}: {what}" for place in ("dappfile.yml:2", "dappfile.yml:3", ".dappfiles/v.tmpl:1")]

    def test_an_old_word_beside_a_variable_in_a_branch_that_was_not_taken_is_left_to_people(self) -> None:
        text = 'dimg: app\n{{ if eq .Env "prod" }}\nfromDimg: {{ env "BASE" }}\n{{ else }}\nfrom: alpine:3\n{{ end }}\n'
        assert remarks(migrated({"dappfile.yml": text}), "by-hand") == [
            "dappfile.yml:3: `fromDimg` stands in a part of the template that this run did not take: "
            "rewrite it by hand, or run with its --env"
        ]

    def test_an_unset_variable_of_a_werf_yaml_is_an_error_before_and_after(self) -> None:
        assert migrated({"werf.yaml": META + 'artifact: a\nfrom: alpine:{{ env "T" }}\n'}, T="3").text.endswith('{{ env "T" }}\n')

    def test_a_template_that_trims_gets_the_new_document_at_its_end(self) -> None:
        migration = migrated({"dappfile.yml": '{{- $x := "alpine:3" -}}\ndimg: app\nfrom: {{ $x }}\n'})
        assert migration.text == '{{- $x := "alpine:3" -}}\nimage: app\nfrom: {{ $x }}\n\n---\nproject: my-project\nconfigVersion: 1\n'

    def test_a_word_that_is_no_key_stays(self) -> None:
        text = (
            "dimg: app # dimg: fromDimg\nfrom: alpine:3\nshell:\n  install: |\n    cat > x <<E\n"
            "    fromDimg: base\n    dimg: y\n    E\ndocker:\n  ENV: {dimg: 'fromDimg: a'}\n"
        )
        assert migrated({"dappfile.yml": text}).text.endswith(text.replace("dimg: app", "image: app", 1))

    def test_an_artifact_becomes_an_image_that_is_not_final(self) -> None:
        text = META + "artifact: tools # built once\nfrom: golang:1\ngit:\n- add: /\n  to: /src\n"
        expected = (
            META + "image: tools # built once\nfinal: false\ndisableGitAfterPatch: true\nfrom: golang:1\ngit:\n- add: /\n  to: /src\n"
        )
        other = "---\nimage: app\nfromImageArtifact: tools\n"
        assert migrated({"werf.yaml": text + other}).text == expected + "---\nimage: app\nfrom: tools\n"

    def test_an_admission_goes_and_its_comment_stays(self) -> None:
        text = META + "image: app\nfrom: alpine:3\nfromLatest: true\nherebyIAdmitThatFromLatestMightBreakReproducibility: true # sorry\n"
        migration = migrated({"werf.yaml": text})
        assert migration.text == META + "image: app\nfrom: alpine:3\nfromLatest: true\n# sorry\n"
        assert remarks(migration, "edited") == [
            "werf.yaml:7: `herebyIAdmitThatFromLatestMightBreakReproducibility` is not needed any more: pins make it safe"
        ]

    def test_a_name_of_the_file_that_meant_the_registrys_image_gets_its_tag(self) -> None:
        migration = migrated({"dappfile.yml": "dimg: alpine\nfrom: debian:12\n---\ndimg: app\nfrom: alpine\n"})
        assert "image: app\nfrom: alpine:latest\n" in migration.text
        assert "dappfile.yml:5: `from: alpine:latest` names a registry's image, not the image of this file" in remarks(migration, "edited")

    def test_the_nameless_image_gets_the_projects_name(self) -> None:
        migration = migrated({"dappfile.yml": "dimg: ~ # the app\nfrom: alpine:3\n"})
        assert "image: my-project # the app\n" in migration.text
        assert remarks(migration, "meaning")[0].startswith("dappfile.yml:1: the nameless image is called 'my-project' now")

    def test_a_text_in_the_newest_words_stays_byte_for_byte(self) -> None:
        text = META + "image: base\nfrom: alpine:3\n---\nimage: app\nfrom: base\n"
        migration = migrated({"werf.yaml": text})
        assert (migration.text, migration.texts) == (text, {})

    def test_a_key_in_a_text_that_is_included_is_renamed_there(self) -> None:
        text = META + 'image: base\nfrom: alpine:3\n---\nimage: app\n{{ include "rest" . }}\n'
        files = {"werf.yaml": text, ".werf/rest.tmpl": '{{ define "rest" }}\nfromImage: base\n{{ end }}'}
        migration = migrated(files)
        assert migration.texts == {".werf/rest.tmpl": '{{ define "rest" }}\nfrom: base\n{{ end }}'}

    def test_a_file_that_begins_with_a_line_between_documents_gets_no_second_one(self) -> None:
        assert migrated({"dappfile.yml": "---\ndimg: app\nfrom: a:1\n"}).text == META + "image: app\nfrom: a:1\n"

    def test_everything_else_an_image_may_have_stays_byte_for_byte(self) -> None:
        rest = (
            "fromCacheVersion: '3'\ngit:\n- as: src # name\n  add: /\n  to: /app\n  owner: app\n  excludePaths: [.helm]\n"
            "  stageDependencies:\n    install: [package.json]\n- url: https://example.com/x.git\n  branch: main\n  to: /x\n"
            "mount:\n- from: build_dir\n  to: /var/cache\n- fromPath: ~/.m2\n  to: /m2\n"
            "ansible:\n  beforeInstall:\n  - raw: artifact\n  install:\n  - shell: |\n      artifact: x\n"
            "docker:\n  ENV:\n    artifact: dimg\n  CMD: [\"a\", 'b']\n"
        )
        migration = migrated({"dappfile.yml": f"dimg: [one, two]\nfrom: node:20\n{rest}"})
        assert migration.text == META + f"image: [one, two]\nfrom: node:20\n{rest}"
        assert migration.is_whole

    def test_dapps_templates_move_to_where_werf_reads_them(self) -> None:
        old = "{{- define `base` }}\nfromDimg: lib # ours\n{{- end }}\n"
        text = "dimg: app\n{{ include `base` . }}\n---\ndimg: lib\nfrom: a:1\n"
        files = {"dappfile.yml": text, ".dappfiles/a/base.tmpl": old, ".dappfiles/plain.tmpl": "x", ".dappfiles/notes.txt": "n"}
        migration = migrated(files)
        assert migration.is_whole
        assert sorted(migration.texts) == [".werf/a/base.tmpl", ".werf/plain.tmpl", "werf.yaml"]
        assert migration.texts[".werf/a/base.tmpl"] == old.replace("fromDimg:", "from:")
        assert migration.moved == (".dappfiles/a/base.tmpl", ".dappfiles/plain.tmpl")
        assert ".dappfiles/plain.tmpl: is .werf/plain.tmpl: templates are read from .werf/ now" in remarks(migration, "edited")
        new = {path: text for path, text in files.items() if not path.startswith((".dappfiles/", "dappfile"))} | dict(migration.texts)
        assert meaning(load_configuration(source(new), PROJECT)) == meaning(load_configuration(source(files), PROJECT))

    @pytest.mark.parametrize(
        ("name", "project"),
        [
            ("my_app.v2", "my-app-v2"),
            ("x" * 80, "x" * 50),
            ("a" * 49 + "_b", "a" * 49),
            ("Ünï", '"n"'),
            ("___", "app"),
            ("null", '"null"'),
            ("12", '"12"'),
        ],
    )
    def test_a_repository_whose_name_is_no_projects_gets_one_that_is_and_says_so(self, name: str, project: str) -> None:
        migration = migrate(source({"dappfile.yml": "dimg: ~\nfrom: a:1\n"}), name)
        assert migration.text == f"project: {project}\nconfigVersion: 1\n---\nimage: {project}\nfrom: a:1\n"
        plain = project.strip('"')
        made = f" (made of {name!r}, which werf would not take)" if plain != name else ""
        told = f"werf.yaml:1: `project: {plain}` is new{made}: dapp took the repository's name; write another if you have one"
        assert remarks(migration, "edited")[0] == told


class TestWhatNeedsPeople:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("artifact: a\nfrom: b:1\nshell:\n  buildArtifact: [make]\n", "dappfile.yml:4: `buildArtifact` has no counterpart"),
            (
                "dimg: app\nfrom: {{ printf `web` }}\n---\ndimg: web\nfrom: a:1\n",
                "dappfile.yml:2: `from: web:latest` names a registry",
            ),
            ("{{ `dimg` }}: app\nfrom: a:1\n", "dappfile.yml:1: `dimg` is `image`"),
            ("{artifact: a, from: 'b:1'}\n", "dappfile.yml:1: write below it: final: false"),
            ("artifact:\n  a\nfrom: b:1\n", "dappfile.yml:1: write below it: final: false"),
        ],
    )
    def test_it_is_listed_with_its_place(self, text: str, told: str) -> None:
        migration = migrated({"dappfile.yml": text})
        assert not migration.is_whole
        assert any(line.startswith(told) for line in remarks(migration, "by-hand")), migration.remarks

    def test_a_branch_that_was_not_taken_is_listed(self) -> None:
        text = META + "image: app\n{{ if eq .Env `dev` }}\nfromImage: app\n{{ else }}\nfrom: alpine:3\n{{ end }}\n"
        assert remarks(migrated({"werf.yaml": text}), "by-hand")[0].startswith("werf.yaml:6: `fromImage` stands in a part of the template")

    def test_a_template_whose_place_is_taken_is_listed(self) -> None:
        files = {"dappfile.yml": "dimg: app\nfrom: a:1\n", ".dappfiles/x.tmpl": "x", ".werf/x.tmpl": "y"}
        told = [".dappfiles/x.tmpl: templates are read from .werf/ now, which has a .werf/x.tmpl of its own"]
        assert remarks(migrated(files), "by-hand") == told

    def test_a_broken_configuration_is_not_migrated(self) -> None:
        with pytest.raises(ConfigError, match="expected a known directive, found `fromDimgg`"):
            migrated({"dappfile.yml": "dimg: app\nfrom: a:1\nfromDimgg: x\n"})


class TestDrift:
    def test_every_image_whose_base_can_move_is_named_with_what_that_means(self) -> None:
        pinned = f"alpine@sha256:{'a' * 64}"
        documents = [
            "image: frozen\nfrom: alpine:3",
            "image: follows\nfrom: alpine:3\nfromLatest: true",
            f"image: fixed\nfrom: {pinned}",
            "image: none\nfrom: scratch",
            "image: child\nfromImage: frozen",
            "image: docker\ndockerfile: Dockerfile",
        ]
        told = remarks(migrated({"werf.yaml": META + "\n---\n".join(documents) + "\n", "Dockerfile": "FROM a\n"}), "drift")
        assert [line.split(": ", 1)[1] for line in told] == [
            "image frozen: docker.io/library/alpine:3 can move: frozen at the first build (add fromLatest: true)",
            "image follows: docker.io/library/alpine:3 can move: pinned once per pipeline",
            "image docker: bases of Dockerfile are frozen at the first build (add fromLatest: true)",
        ]


BASES = ("alpine", "alpine:3", "debian:12", "registry.example.com/base")
PINS = make_pins(*(make_pin(base) for base in BASES))


def signatures(configuration: Configuration, files: Mapping[str, str]) -> dict[str, str]:
    """Image → final stage signature."""
    project = MemoryProject({path: text.encode() for path, text in files.items()})
    return {planned.name: planned.signature for planned in make_plan(configuration, PINS, project)}


def references(configuration: Configuration, files: Source) -> list[str]:
    """What would be pinned, in the order of the text."""
    return [str(use.reference) for use in list_references(configuration, files, lambda _: [DEFAULT_PLATFORM])]


@st.composite
def old_files(draw: st.DrawFn) -> dict[str, str]:
    """A configuration of an older dialect: bases, artifacts, chains, commands, comments."""
    is_dapp = draw(st.booleans())
    image, of_image = ("dimg", "fromDimg") if is_dapp else ("image", "fromImage")
    of_artifact = "fromDimgArtifact" if is_dapp else draw(st.sampled_from(["fromImageArtifact", "fromArtifact"]))
    documents: list[str] = []
    artifacts: dict[str, bool] = {}
    for name in draw(st.lists(st.sampled_from(["app", "web", "tools", "base", "alpine"]), min_size=1, max_size=4, unique=True)):
        is_artifact = draw(st.booleans())
        lines = [f"{'artifact' if is_artifact else image}: {name}" + draw(st.sampled_from(["", "  # a comment"]))]
        parent = draw(st.sampled_from([None, *artifacts]))
        if parent is None:
            lines.append("from: " + draw(st.sampled_from(BASES)))
        else:
            lines.append(f"{of_artifact if artifacts[parent] else of_image}: {parent}")
        extra = ["fromCacheVersion: 1", "shell:\n  install:\n  - echo one\n  # two\n  - echo two", "asLayers: true # slow"]
        if not is_dapp:
            extra += ["herebyIAdmitThatFromLatestMightBreakReproducibility: true"] + (["fromLatest: true"] if parent is None else [])
        lines += draw(st.lists(st.sampled_from(extra), unique=True))
        if not is_artifact:
            lines += draw(st.sampled_from([[], ["docker:", "  ENV:", "    A: artifact"]]))
        artifacts[name] = is_artifact
        documents.append("\n".join(lines) + "\n")
    text = "---\n".join(documents)
    return {"dappfile.yml": text} if is_dapp else {"werf.yaml": META + text}


@settings(deadline=None)
@given(old_files())
def test_model_signatures_and_references_are_the_same_and_a_second_time_changes_nothing(files: dict[str, str]) -> None:
    try:
        before = load_configuration(source(files), PROJECT)
    except ConfigError:
        return  # an image on itself by name, as werf reads `from: alpine` at the image alpine
    migration = migrated(files)
    assert migration.is_whole, migration.remarks
    files_now = after(files, migration)
    now = load_configuration(files_now, PROJECT)
    assert meaning(now) == meaning(before)
    assert signatures(now, files) == signatures(before, files)
    assert references(now, files_now) == references(before, source(files))
    assert migrate(files_now, PROJECT).texts == {}
    old = ("dimg:", "fromDimg", "fromImage", "artifact:", "hereby", "asLayers")
    assert [line for line in migration.text.splitlines() if line.startswith(old)] == []
    assert migration.text.count("# a comment") == "".join(files.values()).count("# a comment")


def test_what_would_build_something_else_is_not_given_out() -> None:
    """This text asks for the very file it becomes."""
    base = '{{ if .Files.Exists "werf.yaml" }}debian:12{{ else }}alpine:3{{ end }}'
    with pytest.raises(ConfigError) as raised:
        migrated({"dappfile.yml": f"dimg: app\nfrom: {base}\n"})
    assert raised.value.message == "expected image 'app' to stay as it is, found another base"
    assert "docs/config-command.md has the table" in raised.value.hint


PIECES = (
    *(
        "dimg",
        "image",
        "artifact",
        "from",
        "fromDimg",
        "fromImage",
        "import",
        "git",
        "shell",
        "asLayers",
        "final",
        "project: p\nconfigVersion: 1",
    ),
    *(
        ": ",
        ":",
        "a",
        "alpine",
        "b:1",
        "~",
        "\n",
        "\n",
        "\n---\n",
        "- ",
        "  ",
        "{",
        "}",
        "[",
        "]",
        "'",
        '"',
        "# c",
        "&x ",
        "*x",
        "<<: *x",
        "|\n",
    ),
    *("{{ ", " }}", "{{ if .Env }}", "{{ end }}", '{{ define "t" }}', '{{ include "t" . }}', "{{- ", " -}}", "\r\n", "\t", "\ufeff", "é"),
)


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=25), st.sampled_from(["dappfile.yml", "werf.yaml"]))
def test_whatever_the_text_the_answer_is_a_migration_or_an_error_of_ours(pieces: list[str], file: str) -> None:
    with suppress(ConfigError):
        migration = migrated({file: "".join(pieces)})
        if migration.is_whole and migration.texts:
            assert migrate(after({file: ""}, migration), PROJECT).texts == {}
