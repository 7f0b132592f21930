"""Templates see what is committed and named variables, nothing else; a message never holds a variable's value."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ci_plugin.config.source import Source
from ci_plugin.config.template import render
from ci_plugin.errors import ConfigError
from tests.unit.config.sources import source

SECRET = "hunter2-canary"


def show(text: str, given: Source | None = None) -> str:
    return render(text, "werf.yaml", given or source({})).text


def refuse(text: str, given: Source | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        show(text, given)
    return caught.value


def test_files_commit_and_environment_name_are_there() -> None:
    given = source({"a.txt": "A", "b/c.txt": "C"})
    glob = '{{ range $p, $t := .Files.Glob "**/*.txt" }}{{ $p }}={{ $t }};{{ end }}'
    text = '{{ .Files.Get "a.txt" }} {{ .Files.Exists "nope" }} ' + glob + " {{ .Env }} {{ .Commit.Hash }}"
    assert show(text, given) == f"A false a.txt=A;b/c.txt=C; production {'c' * 40}"


def test_shared_templates_and_definitions_of_the_file_are_included() -> None:
    given = source({".werf/lib/a.tmpl": "shared {{ .Env }}", ".werf/b.tmpl": '{{ define "b" }}defined{{ end }}'})
    assert show('{{ define "c" }}own{{ end }}{{ include "lib/a.tmpl" . }} {{ include "b" . }} {{ include "c" . }}', given) == (
        "shared production defined own"
    )


def test_sprig_is_there() -> None:
    assert show('{{ list "b" "a" | sortAlpha | join "," | upper | quote }}') == '"A,B"'


@pytest.mark.parametrize(
    ("text", "expected"), [('{{ env "X" }}', "v"), ('{{ env "EMPTY" }}', ""), ('{{ env "EMPTY" "d" }}', "d"), ('{{ env "U" "d" }}', "d")]
)
def test_env_takes_the_variable_or_the_default(text: str, expected: str) -> None:
    assert show(text, source({}, {"X": "v", "EMPTY": ""})) == expected


def test_only_listed_names_are_readable_where_the_settings_list_some() -> None:
    given = source({}, {"MY_TOKEN": "t", "X": "v"}, readable_env=("MY_TOKEN",))
    assert show('{{ env "MY_TOKEN" }}', given) == "t"
    assert "found 'X'" in refuse('{{ env "X" }}', given).message


@pytest.mark.parametrize("name", ["MY_TOKEN", "DOCKER_AUTH_CONFIG", "HTTP_AUTHORIZATION", "GPG_PASSPHRASE", "CI_REPOSITORY_URL"])
def test_what_looks_like_a_secret_is_refused_unless_the_settings_list_it(name: str) -> None:
    environment = {name: f"https://gitlab-ci-token:{SECRET}@gitlab.example.com/app.git" if name.endswith("URL") else SECRET}
    error = refuse(f'{{{{ env "{name}" "default" }}}}', source({}, environment))
    assert error.message == f"expected no secret in a configuration, found the variable {name!r}, which looks like one"
    assert error.hint == f"remove it; if it is no secret, list it under `env:` in .stagepin.yaml: env: [{name}]"
    assert show(f'{{{{ env "{name}" }}}}', source({}, environment, readable_env=(name,))) == environment[name]


def test_an_author_and_an_address_without_a_password_are_readable() -> None:
    environment = {"CI_COMMIT_AUTHOR": "Ann <ann@example.com>", "SITE": "https://user@example.com/"}
    assert show('{{ env "CI_COMMIT_AUTHOR" }} {{ env "SITE" }}', source({}, environment)) == " ".join(environment.values())


def test_a_failure_in_a_shared_template_names_its_file() -> None:
    given = source({".werf/a.tmpl": '\n{{ env "U" }}', ".werf/b.tmpl": "\n\n{{ nope }}"})
    assert str(refuse('{{ include "a.tmpl" . }}', given).where) == ".werf/b.tmpl:3:4"
    assert str(refuse('{{ include "a.tmpl" . }}', source({".werf/a.tmpl": '\n{{ env "U" }}'})).where) == ".werf/a.tmpl:2:4"


@pytest.mark.parametrize(
    "text",
    [
        '{{ env "X" | fail }}',
        '{{ required (env "X") "" | toDate }}',
        '{{ env "X" | semver }}',
        '{{ index (env "X") "a" }}',
        '{{ include (env "X") . }}',
        '{{ (env "X").Foo }}',
        '{{ .Files.Get (env "X") }}',
    ],
)
def test_no_message_holds_the_value_of_a_variable(text: str) -> None:
    error = refuse(text, source({}, {"X": SECRET}))
    assert SECRET not in f"{error.message}{error.hint}{error.where}"


@pytest.mark.parametrize(
    "text", ["{{" * 1000, "{{(" * 1000, '{{ include "werf.yaml" . }}', "{{ .Files.__class__ }}", "{{ .Env.x }}", "{{ fail `x` }}"]
)
def test_a_template_that_does_not_execute_is_told_with_its_line(text: str) -> None:
    error = refuse("a\n" + text)
    assert error.where is not None
    assert error.where.line in (1, 2)


def test_each_line_of_the_rendered_text_leads_back_to_where_it_was_written() -> None:
    text = 'a\n{{ range until 3 }}x{{ . }}\n{{ end }}\nb\n{{ template "t.tmpl" }}\n{{ env "ML" }}\nc'
    given = source({".werf/t.tmpl": "\nfrom t\n"}, {"ML": "1\n2"})
    rendered = render(text, "werf.yaml", given)
    lines = rendered.text.split("\n")
    assert [(line, str(rendered.place_of(number))) for number, line in enumerate(lines, 1) if line] == [
        ("a", "werf.yaml:1"),
        ("x0", "werf.yaml:2"),
        ("x1", "werf.yaml:2"),
        ("x2", "werf.yaml:2"),
        ("b", "werf.yaml:4"),
        ("from t", ".werf/t.tmpl:2"),
        ("1", "werf.yaml:6"),
        ("2", "werf.yaml:6"),
        ("c", "werf.yaml:7"),
    ]
    assert str(rendered.place_of(0)) == "werf.yaml:1"
    assert str(rendered.place_of(99)) == "werf.yaml:7"


def test_plain_configurations_import_no_template_library() -> None:
    code = (
        "import sys\nfrom ci_plugin.config.load import load_configuration\nfrom ci_plugin.config.source import Source\n"
        "f = {'Dockerfile': b'FROM a'}\nload_configuration(Source(f.get, lambda: list(f), {}), 'p')\n"
        "assert not {'yaml', 'gotpl'} & set(sys.modules), sys.modules.keys()\n"
        "f = {'dappfile.yml': b'dimg: a\\nfrom: b'}\nload_configuration(Source(f.get, lambda: list(f), {}), 'p')\n"
        "assert 'gotpl' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
