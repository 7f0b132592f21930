"""Templates see what is committed and named variables, nothing else; a message never holds a variable's value."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from ci_plugin.config.source import Source
from ci_plugin.config.template import render
from ci_plugin.config.template_costs import words
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
    error = refuse('{{ include "a.tmpl" . }}', source({".werf/a.tmpl": '\n{{ env "U" }}'}))
    assert str(error.where) == ".werf/a.tmpl:2:4 (by way of werf.yaml:1)"


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
        ("a", "werf.yaml:1:1"),
        ("x0", "werf.yaml:2:20"),
        ("x1", "werf.yaml:2:20"),
        ("x2", "werf.yaml:2:20"),
        ("b", "werf.yaml:4:1"),
        ("from t", ".werf/t.tmpl:2:1 (by way of werf.yaml:5)"),
        ("1", "werf.yaml:6"),
        ("2", "werf.yaml:6"),
        ("c", "werf.yaml:7:1"),
    ]
    assert str(rendered.place_of(0)) == "werf.yaml:1"
    assert str(rendered.place_of(99)) == "werf.yaml:7:1"


PART = "# the parts\nfrom: alpine\nshell:\n  install:\n  - echo {{ .Env }}\n"


@pytest.mark.parametrize(
    "call",
    [
        '{{ include "part.tmpl" . }}',
        '{{ include "part.tmpl" . | indent 4 }}',
        '{{ include "part.tmpl" . | nindent 4 | trim | nindent 2 }}',
        '{{ $text := include "part.tmpl" . }}{{ $text }}',
        '{{ $parts := dict "a" (include "part.tmpl" .) }}{{ $parts.a }}',
        '{{ print "x: 1\\n" (include "part.tmpl" .) }}',
        '{{ printf "x: 1\\n%s\\ny: 2" (include "part.tmpl" .) }}',
        '{{ list (include "part.tmpl" .) "z: 1" | join "\\n" }}',
        '{{ include "part.tmpl" . | default "nothing" | replace "shell" "shell" }}',
        '{{ tpl "{{ include `part.tmpl` . }}" . }}',
        '{{ tpl (.Files.Get ".werf/part.tmpl") . | nindent 2 }}',
        '{{ if true }}{{ template "part.tmpl" . }}{{ end }}',
    ],
)
def test_a_line_that_came_through_an_include_has_the_place_of_the_fragment_and_the_way_there(call: str) -> None:
    rendered = render(f"a: 1\n\n{call}\nlast: 1\n", "werf.yaml", source({".werf/part.tmpl": PART}))
    lines = rendered.text.split("\n")
    places = {line.strip(): str(rendered.place_of(number)) for number, line in enumerate(lines, 1) if line}
    assert places["from: alpine"] == ".werf/part.tmpl:2:1 (by way of werf.yaml:3)"
    assert places["install:"] == ".werf/part.tmpl:4:3 (by way of werf.yaml:3)"
    assert places["- echo production"] == ".werf/part.tmpl:5:3 (by way of werf.yaml:3)"
    assert (places["a: 1"], places["last: 1"]) == ("werf.yaml:1:1", "werf.yaml:4:1")
    number = next(number for number, line in enumerate(lines, 1) if "alpine" in line)
    assert str(rendered.place_of(number, lines[number - 1].index("alpine") + 1)).startswith(".werf/part.tmpl:2:7 ")


def test_what_a_function_makes_of_a_fragment_is_its_own_where_no_line_of_it_is_left() -> None:
    given = source({".werf/a.tmpl": "one two"})
    rendered = render('a: {{ include "a.tmpl" . | sha256sum }}\nb: {{ include "a.tmpl" . | quote }}', "werf.yaml", given)
    assert str(rendered.place_of(1, 4)) == "werf.yaml:1"
    assert str(rendered.place_of(2, 4)) == "werf.yaml:2"
    assert str(rendered.place_of(2, 5)) == ".werf/a.tmpl:1:1 (by way of werf.yaml:2)"


def test_the_same_line_twice_in_a_fragment_keeps_its_order() -> None:
    given = source({".werf/a.tmpl": "- x\n- y\n- x\n\n- x\n"})
    rendered = render('l:{{ include "a.tmpl" . | nindent 2 }}', "werf.yaml", given)
    assert [rendered.place_of(line).line for line in range(2, 7)] == [1, 2, 3, 3, 5]


def test_a_fragment_of_a_fragment_tells_the_whole_way() -> None:
    files = {".werf/a.tmpl": 'x: 1\n{{ include "b" . | nindent 2 }}', ".werf/b.tmpl": '{{ define "b" }}\ny: 1{{ end }}'}
    rendered = render('\n{{ include "a.tmpl" . | indent 2 }}', "werf.yaml", source(files))
    assert str(rendered.place_of(rendered.text.count("\n") + 1)) == ".werf/b.tmpl:2:1 (by way of werf.yaml:2 > .werf/a.tmpl:2)"


def test_a_file_that_is_printed_has_its_own_places() -> None:
    given = source({"part.yaml": "one: 1\ntwo: 2\n"})
    text = 'a:\n{{ .Files.Get "part.yaml" | indent 2 }}\n{{ range $path, $text := .Files.Glob "*.yaml" }}{{ $text }}{{ end }}'
    rendered = render(text, "werf.yaml", given)
    assert [str(rendered.place_of(line)) for line in (2, 3, 6)] == [
        "part.yaml:1:1 (by way of werf.yaml:2)",
        "part.yaml:2:1 (by way of werf.yaml:2)",
        "part.yaml:2:1 (by way of werf.yaml:3)",
    ]


def test_functions_are_given_text_of_a_fragment_as_they_are_given_any_text() -> None:
    given = source({".werf/a.tmpl": "b", ".werf/e.tmpl": ""})
    calls = {
        "kindOf (%s)": "string",
        "typeOf (%s)": "string",
        "kindOf (index (list (%s)) 0)": "string",
        'eq (%s) "b"': "true",
        'ne "b" (%s)': "false",
        'lt (%s) "c"': "true",
        'has (%s) (list "b")': "true",
        'printf "%%T %%q %%v" (%s) (%s) (list (%s))': 'string "b" [b]',
        'index (dict "b" 1) (%s)': "1",
        'toYaml (dict "k" (%s))': "k: b",
        "toJson (list (%s))": '["b"]',
        'uniq (list (%s) "b")': "[b]",
        'list (%s) "a" | sortAlpha': "[a b]",
        "upper (%s)": "B",
        'regexReplaceAll "b" (%s) "c"': "c",
        'include (printf "%%s.tmpl" (include "e.tmpl" . | default "a")) .': "b",
    }
    for call, expected in calls.items():
        expression = call.replace("%s)", '(include "a.tmpl" .))').replace("%%", "%").replace("((include", "(include").replace(".))", ".)")
        assert show(f"{{{{ {expression} }}}}", given) == expected, expression


def test_a_text_that_was_a_template_again_and_again_still_has_a_place() -> None:
    text = '{{ $x := include "a.tmpl" . }}{{ range $i := until 900 }}{{ $x = tpl (printf "%s%d" (trunc 4 $x) $i) $ }}{{ end }}{{ $x }}'
    rendered = render(text, "werf.yaml", source({".werf/a.tmpl": "abc\n"}))
    assert rendered.text == "abc\n899"
    assert str(rendered.place_of(1)).startswith("werf.yaml:1")
    assert len(str(rendered.place_of(1))) < 200
    few = render(text.replace("900", "9"), "werf.yaml", source({".werf/a.tmpl": "abc\n"}))
    assert str(few.place_of(1)).startswith(".werf/a.tmpl:1:1 (by way of werf.yaml:1")


def test_a_file_named_by_a_fragment_has_a_plain_name() -> None:
    given = source({".werf/name.tmpl": "part.yaml", "part.yaml": "one: 1"})
    rendered = render('{{ .Files.Get (include "name.tmpl" .) }}', "werf.yaml", given)
    assert str(rendered.place_of(1)) == "part.yaml:1:1 (by way of werf.yaml:1)"
    assert type(rendered.place_of(1).file) is str


def test_a_fragment_that_includes_itself_is_told_in_a_short_line() -> None:
    given = source({".werf/a.tmpl": '\n{{ include "a.tmpl" . }}'})
    error = refuse('{{ include "a.tmpl" . }}', given)
    assert error.message == "expected at most 50 templates inside each other, found more"
    assert error.hint == "does one include itself?"
    assert str(error.where) == ".werf/a.tmpl:2:4 (by way of werf.yaml:1 > … 47 more … > .werf/a.tmpl:2)"


def test_plain_configurations_import_no_template_library() -> None:
    code = (
        "import sys\nfrom ci_plugin.config.load import load_configuration\nfrom ci_plugin.config.source import Source\n"
        "f = {'Dockerfile': b'FROM a'}\nload_configuration(Source(f.get, lambda: list(f), {}), 'p')\n"
        "assert not {'yaml', 'gotpl'} & set(sys.modules), sys.modules.keys()\n"
        "f = {'dappfile.yml': b'dimg: a\\nfrom: b'}\nload_configuration(Source(f.get, lambda: list(f), {}), 'p')\n"
        "assert 'gotpl' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_function_that_is_not_the_same_everywhere_is_refused_by_name() -> None:
    for name in words("now ago date htmlDate toDate dateModify unixEpoch randAlpha randInt uuidv4 shuffle genPrivateKey genCA bcrypt"):
        error = refuse(f"a\n{{{{ {name} }}}}")
        assert error.message == f"expected a template that gives one text for one commit, found `{name}`"
        assert error.hint == 'hand the value in through a variable: {{ env "NAME" }}'
        assert str(error.where) == "werf.yaml:2:4"
    assert "found `getHostByName`" in refuse('{{ getHostByName "localhost" }}').message
    assert "found `expandenv`" in refuse('{{ expandenv "$HOME" }}').message


def test_dates_are_shown_in_a_named_time_zone_only() -> None:
    assert show('{{ dateInZone "2006-01-02 15:04" 1767323045 "Asia/Tokyo" }}') == "2026-01-02 12:04"
    assert "the machine's own" in refuse('{{ dateInZone "2006" 1 "Local" }}').message
    assert "found a string" in refuse('{{ dateInZone "2006" "1" "UTC" }}').message


def test_what_goes_by_the_order_of_a_map_goes_by_its_keys() -> None:
    assert show('{{ $d := dict "b" 1 "a" 2 }}{{ keys $d }} {{ values $d }} {{ range $k, $_ := $d }}{{ $k }}{{ end }}') == "[a b] [2 1] ab"


def test_the_commit_has_a_date() -> None:
    given = replace(source({}), commit_date=lambda: 1767323045)
    assert show("{{ .Commit.Date.Human }}|{{ .Commit.Date.Unix }}", given) == "2026-01-02 03:04:05 +0000 UTC|1767323045"


def test_the_names_a_template_read_are_told_and_no_value_is() -> None:
    given = source({".werf/a.tmpl": '{{ env "A" "d" }}'}, {"B": SECRET})
    rendered = render('{{ include "a.tmpl" . }}{{ if false }}{{ env "C" }}{{ end }}{{ env "B" | sha256sum }}', "werf.yaml", given)
    assert rendered.names_read == {"A", "B"}
    assert SECRET not in repr(rendered)


@pytest.mark.parametrize("value", ["a\nb: c", "}} {{ fail `x` }}", "- [a]", "{{ .Env }}", "&a *b !c", '"quoted"'])
def test_the_value_of_a_variable_is_data_whatever_it_looks_like(value: str) -> None:
    given = source({}, {"X": value})
    assert show('[{{ env "X" }}]', given) == f"[{value}]"
    assert show('{{ env "X" | toJson }}', given) == json.dumps(value).replace("&", r"\u0026")


def test_an_error_says_which_template_included_which() -> None:
    files = {".werf/lib/a.tmpl": '\n  {{ include "b" . }}', ".werf/b.tmpl": '{{ define "b" }}\n{{ .Env.deeper }}{{ end }}'}
    error = refuse('one\n{{ include "lib/a.tmpl" . }}', source(files))
    assert str(error.where) == ".werf/b.tmpl:2:4 (by way of werf.yaml:2 > .werf/lib/a.tmpl:2)"
    assert error.message == "expected a map before .deeper, found a string"


def test_an_error_in_a_text_given_to_tpl_is_told_at_the_place_that_gave_it() -> None:
    error = refuse('\n{{ tpl "a\\n{{ fail `stop` }}" . }}')
    assert str(error.where) == "werf.yaml:2:4"
    assert error.message == "stop (line 2, column 4 of the text given to `tpl`)"
    assert error.hint == "`fail` in the template stops here"
    assert str(refuse('\n{{ tpl "a {{ nope }}" . }}').where) == "werf.yaml:2:4"


def test_debug_functions_print_what_the_plain_ones_print_and_nothing_else() -> None:
    text = '{{ define "a" }}A{{ end }}{{ include_debug "a" . }}{{ tpl_debug "{{ .Env }}" . }}{{ printf_debug "%s" "x" }}{{ dump_debug . }}'
    assert show(text) == "Aproduction"


def test_a_file_is_read_from_the_commit_alone() -> None:
    given = source({"dir/a.txt": "A", "b": b"\xff"})
    assert show(
        '{{ .Files.IsDir "dir" }} {{ .Files.IsDir "dir/a.txt" }} {{ .Files.Exists "dir/" }} {{ .Files.Glob "no*" | len }}', given
    ) == ("true false true 0")
    error = refuse('{{ .Files.Get "../../etc/passwd" }}', given)
    assert (error.message, error.hint) == (
        "expected the committed file '../../etc/passwd', found none",
        "git add ../../etc/passwd",
    )
    assert "expected .Files.Get with one text" in refuse("{{ .Files.Get 1 }}").message
    assert "expected one of Get, Glob, Exists, IsDir, found .Nope" in refuse('{{ .Files.Nope "a" }}').message
    assert "found a set of functions" in refuse("{{ .Files }}").message


MANY_VARIABLES = "".join(f"{{{{ $a{number} := 1 }}}}" for number in range(20_000))
TOO_MUCH = {
    "a gigabyte": "{{ range until 1000 }}{{ range until 1000 }}{{ range until 1000 }}x{{ end }}{{ end }}{{ end }}",
    "a long text often": "{{ range until 100000 }}" + "x" * 10_000 + "{{ end }}",
    "text doubled": '{{ $x := "ab" }}{{ range until 60 }}{{ $x = print $x $x }}{{ end }}',
    "a list doubled": "{{ $x := list 1 }}{{ range until 60 }}{{ $x = list $x $x }}{{ end }}{{ $x }}",
    "maps in each other": '{{ $d := dict }}{{ $r := $d }}{{ range until 40 }}{{ $n := dict }}{{ $_ := set $d "a" $n }}'
    '{{ $_ := set $d "b" $n }}{{ $d = $n }}{{ end }}{{ toJson $r }}',
    "a map in itself": '{{ $d := dict }}{{ $_ := set $d "a" $d }}{{ $d }}',
    "include of itself": '{{ define "a" }}{{ include "a" . }}{{ end }}{{ include "a" . }}',
    "template of itself": '{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}',
    "tpl of itself": '{{ define "a" }}{{ tpl "{{ include `a` . }}" . }}{{ end }}{{ include "a" . }}',
    "include twice": '{{ define "a" }}{{ if gt . 0 }}{{ include "a" (sub . 1) }}'
    '{{ include "a" (sub . 1) }}{{ end }}{{ end }}{{ include "a" 40 }}',
    "tpl of many": "{{ range $i := until 100000 }}{{ tpl (printf `{{ %d }}` $i) . }}{{ end }}",
    "repeat": '{{ repeat 1000000000 "x" }}',
    "until": "{{ until 1000000000 }}",
    "untilStep": "{{ untilStep 0 1000000000 1 }}",
    "seq": "{{ seq 1000000000 }}",
    "range over a number": "{{ range 1000000000 }}{{ end }}",
    "indent": '{{ indent 1000000000 "x" }}',
    "printf": '{{ printf "%1000000000d" 1 }}',
    "printf with a star": '{{ printf "%*d" 1000000000 1 }}',
    "replace": '{{ replace "" (repeat 100000 "x") (repeat 100000 "y") }}',
    "join": '{{ join (repeat 100000 "x") (until 100000) }}',
    "wrapWith": '{{ wrapWith 1 (repeat 100000 "x") (repeat 100000 "a ") }}',
    "a pattern that goes back": '{{ regexMatch "(x+x+)+y" (repeat 50000 "x") }}',
    "a pattern on and on": '{{ regexFindAll "a.*b|a" (repeat 100000 "a") -1 | len }}',
    "matches of a simple pattern": '{{ regexFindAll "a" (repeat 650000 "a") -1 | len }}',
    "pieces between matches": '{{ range until 100 }}{{ $x := regexSplit "b" (repeat 100000 "ab") -1 }}{{ end }}',
    "a pattern of nothing": '{{ regexSplit "" (repeat 1000000 "a") -1 | len }}',
    "a pattern written out": '{{ regexMatch "((a{1,100}){1,100}){1,100}" "aaa" }}',
    "a replacement": '{{ regexReplaceAll "a" (repeat 100000 "a") (repeat 10000 "$0") }}',
    "uniq": "{{ uniq (until 100000) }}",
    "letters": '{{ range until 100 }}{{ $x := splitList "" (repeat 1000000 "a") }}{{ end }}',
    "sums": "{{ range until 100000 }}{{ addf 1e300 1e-300 }}{{ end }}",
    "scrypt": '{{ range until 100 }}{{ derivePassword 1 "long" "p" "u" "s" }}{{ end }}',
    "files": '{{ range until 100000 }}{{ $x := .Files }}{{ $y := $.Files.Glob "*" }}{{ end }}',
    "a bomb of aliases": '{{ fromYaml (.Files.Get "bomb") | toJson }}',
    "deep YAML": '{{ fromYaml (print "a: " (repeat 100000 "[")) }}',
    "deep JSON": '{{ mustFromJson (repeat 100000 "[") }}',
    "a million braces": "{{" * 500_000,
    "many actions": "{{1}}" * 200_000,
    "deep parentheses": "{{" + "(" * 1000 + "1" + ")" * 1000 + "}}",
    "deep branches": "{{ if 1 }}" * 1000 + "{{ end }}" * 1000,
    "many variables": MANY_VARIABLES + "{{ range until 300000 }}{{ $a0 }}{{ end }}",
    "calls with many variables": '{{ define "m" }}{{ if . }}' + MANY_VARIABLES + "{{ end }}{{ end }}"
    '{{ range until 100000 }}{{ template "m" }}{{ end }}',
    "a long chain of fields": "{{ range until 100000 }}{{ $.Commit" + ".a" * 50_000 + " }}{{ end }}",
    "many arguments": "{{ range until 100000 }}{{ if and" + " 1" * 70_000 + " }}{{ end }}{{ end }}",
    "pieces of text": "{{ range until 100000 }}" + "x{{/**/}}" * 1000 + "{{ end }}",
    "fragments kept": '{{ define "m" }}' + "abc\n" * 9000 + '{{ end }}{{ $m := include "m" . }}{{ $l := list }}'
    "{{ range until 100000 }}{{ $l = append $l (indent 2 $m) }}{{ end }}",
    "a fragment printed often": '{{ define "m" }}' + "{{ . }}" * 1000 + '{{ end }}{{ $m := include "m" 1 }}'
    "{{ range until 100000 }}{{ $m }}{{ end }}",
    "a text between quotes that do not end": '{{ "' + "\\a" * 500_000,
    "a long number": "{{ " + "1e+" * 300_000 + " }}",
    "a long name": "{{ " + "a" * 1_000_000 + " }}",
    "a long pipeline": "{{ 1" + " | print" * 100_000 + " }}",
    "templates of templates": '{{ range $i := until 100000 }}{{ tpl (print $i (repeat 10000 "{{ 1 }}")) . }}{{ end }}',
    "a long template": "x" * 2_000_000,
}


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{after}: &{after} [{','.join([f'*{before}'] * 9)}]\n" for before, after in pairwise("abcdefghij")
)


@pytest.mark.parametrize("row", TOO_MUCH)
def test_no_template_takes_more_than_its_budget(row: str) -> None:
    error = refuse(TOO_MUCH[row], source({"bomb": BOMB, **{f"f{number}": "x" for number in range(100)}}))
    assert error.where is not None
    assert error.where.file == "werf.yaml"
    assert error.hint


@pytest.mark.parametrize("call", ['regexFindAll "a" %s -1', 'regexReplaceAll "a" %s "b"', 'regexSplit "b" %s -1'])
def test_matches_of_a_simple_pattern_are_looked_for_in_a_text_of_bounded_length(call: str) -> None:
    within, past = (f"{{{{ $x := {call % f'(repeat {letters} `c`)'} }}}}" for letters in (1 << 18, (1 << 18) + 1))
    assert show(within) == ""
    error = refuse(past)
    assert error.message == f"expected at most 256 Ki letters for `{call.split()[0]}`, found more"
    assert error.hint == "use a shorter text"


def test_none_of_these_templates_takes_more_than_256_mib() -> None:
    code = (
        "from tests.unit.config import test_template as t\n"
        "for row in t.TOO_MUCH:\n    t.test_no_template_takes_more_than_its_budget(row)\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )  # one after the other in one process: its peak, interpreter included, is at least that of each; ru_maxrss begins at the parent's peak
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert int(ran.stdout) < 256 << 10


def test_half_a_character_is_replaced_before_anybody_has_to_encode_it() -> None:
    given = source({}, {"X": "a\udcff"})
    assert show('{{ fromJson "\\"\\\\ud800\\"" }}{{ env "X" }}', given) == "\ufffda\ufffd"
    assert refuse('{{ fromJson "\\"\\\\ud800\\"" | fail }}').message == "\ufffd"


def test_a_budget_is_told_with_what_to_do() -> None:
    error = refuse("\n{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}")
    assert error.message == "expected a template that ends within 1,000,000 steps, found more work"
    assert error.hint == "split the configuration, or loop less"
    assert str(error.where) == "werf.yaml:2:34"
    assert refuse('{{ repeat 9999999 "x" }}').message == "expected `repeat` to make at most 1 MiB, found more"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{", "expected `}}`, found the end of the text"),
        ("{{ nope }}", "expected a function, found 'nope', which is none"),
        ("{{ if true }}", "expected `{{ end }}`, found the end of the text"),
        ("{{ end }}", "expected no `end` here, found one"),
        ("{{ }}", "expected a value, found `}}`"),
        ("{{ (1 }}", "expected `)`, found `}}`"),
        ("{{ 1) }}", "expected no `)` without a `(`, found one"),
        ('{{ "a }}', "expected the end of quoted text, found none"),
        ("{{ `a }}", "expected the end of text in backquotes, found none"),
        ("{{ 'ab' }}", "expected one character, found \"'ab'\""),
        (r'{{ "\q" }}', "expected an escape that Go knows, found '\\\\q'"),
        ("{{/* a }}", "expected `*/`, found a comment that does not end"),
        ("{{/* a */ b }}", "expected `}}` behind a comment, found something else"),
        ("{{ 12x }}", "expected a number, found '12x'"),
        ("{{ 08 }}", "expected a number, found '08'"),
        ("{{ 9223372036854775808 }}", "expected a number of 64 bits, found a larger one"),
        ("{{ 1e999 }}", "expected a number, found '1e999'"),
        ("{{ $x }}", "expected a variable, found '$x' undefined"),
        ("{{ if 1 }}{{ $x := 1 }}{{ end }}{{ $x }}", "expected a variable, found '$x' undefined"),
        ("{{ $a, $b := 1 }}", "expected at most 1 variables here, found 2"),
        ("{{ 1 | 2 }}", "expected a function behind `|`, found a value"),
        ('{{ upper"a" }}', "expected a blank after 'upper', found '\"'"),
        ("{{ (1)(2) }}", "expected a blank, found '('"),
        ("{{ \x01 }}", "expected an action, found the character '\\x01'"),
        ("{{ break }}", "expected `break` inside a `range`, found it outside"),
        ("{{ range . }}{{ block `b` . }}{{ break }}{{ end }}{{ end }}", "expected `break` inside a `range`, found it outside"),
        ("{{ define `a` }}1{{ end }}{{ define `a` }}2{{ end }}", "expected one definition of 'a', found another"),
        ("{{ template a }}", "expected the name of a template in quotes, found 'a'"),
        ("{{ nil }}", "expected a value or a function, found nil"),
        ("{{ and }}", "expected `and` with a value or more, found none"),
        ("{{ upper 1 }}", "expected text as argument 1 of `upper`, found an int"),
        ("{{ upper }}", "expected `upper` with 1 arguments, found 0"),
        ("{{ 1 2 }}", "expected a function before these values, found an int"),
        ('{{ include "no" . }}', "expected a template named 'no', found none"),
        ("{{ range .Env }}{{ end }}", "expected a list or a map to range over, found a string"),
        ('{{ eq 1 "1" }}', "expected two values of one kind, found an int and a string"),
        ("{{ index (list 1) 1 }}", "expected an index below 1, found 1"),
        ("{{ fromYaml `- a` }}", "expected a map for `fromYaml`, found a list or a single value"),
        ("{{ fromYaml `a: [` }}", "expected YAML for `fromYaml`, found: did not find expected node content in its line 2"),
        ('{{ required "a tag is needed" .Env.x }}', "expected a map before .x, found a string"),
        ('{{ required "a tag is needed" "" }}', "a tag is needed"),
    ],
)
def test_a_mistake_is_told_in_words(text: str, message: str) -> None:
    assert message in refuse(text).message


ZEROS = "0" * 5000


@pytest.mark.parametrize(
    "text",
    [
        f"{{{{ range {ZEROS}356161995373695003",
        f"{{{{ {ZEROS}503x }}}}",
        "{{ " + "1" * 5000 + " }}",
        f'{{{{fromYaml  db" 3 }}}}{{" {ZEROS}}}clu }}',
        f'{{{{ "\\ {ZEROS} }}}}',
        f"{{{{ 1+{ZEROS}x }}}}",
        f"{{{{ 0x{ZEROS}.{ZEROS}p-{ZEROS}x }}}}",
        f"{{{{ {'0_' * 5000}x }}}}",
        f"{{{{ {'1e+' * 5000}i }}}}",
        f"{{{{ .{ZEROS}e }}}}",
        f"{{{{ ${ZEROS}- }}}}",
    ],
)
def test_no_number_however_long_takes_long_to_refuse(text: str) -> None:
    error = refuse("a\n" + text)
    assert error.message.startswith("expected ")
    assert error.where is not None
    assert error.where.line == 2


def test_long_runs_of_zeros_in_strings_and_text_are_no_numbers() -> None:
    zeros = "0" * 40
    assert show(f'{zeros} {{{{ "{zeros}" }}}} {{{{ `{zeros}` }}}}') == f"{zeros} {zeros} {zeros}"
