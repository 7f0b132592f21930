"""Our templates against Go's: a corpus of answers, and the program that gave them where Debian's Go is."""

from __future__ import annotations

import json
import posixpath
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.config.source import Source
from ci_plugin.config.template import render
from ci_plugin.config.template_costs import words
from ci_plugin.errors import ConfigError
from tests.oracle.oracle import Snippet, ask, build, read_corpus, read_differences

CORPUS = read_corpus()
DIFFERENCES = read_differences()
DATE = 1767323045


def key(snippet: Snippet) -> str:
    return f"{snippet['template']}{snippet.get('files', {}).get('y', '')}"


def ours(snippet: Snippet) -> dict[str, str]:
    """Our answer; the snippet's data comes in as JSON in a variable, for a configuration has no other data."""
    files = {path: text.encode() for path, text in snippet.get("files", {}).items()}
    files |= {f".werf/{name}": text.encode() for name, text in snippet.get("templates", {}).items()}
    source = Source(
        lambda path: files.get(posixpath.normpath(path)),
        lambda: sorted(files),
        snippet.get("env", {}),
        "production",
        commit="c" * 40,
        commit_date=lambda: DATE,
    )
    try:
        return {"output": render(snippet["template"], "werf.yaml", source, snippet.get("data", {})).text}
    except ConfigError as error:
        return {"error": error.message} if error.where else {}


@pytest.mark.parametrize("snippet", CORPUS, ids=lambda snippet: snippet["template"][:60])
def test_a_snippet_renders_as_go_renders_it(snippet: Snippet) -> None:
    answer = ours(json.loads(json.dumps(snippet)))
    known = DIFFERENCES.get(key(snippet))
    if known:
        assert answer == known["ours"]
        assert answer.get("output") != snippet.get("output"), "no difference any more: remove it from differences.json"
    else:
        assert answer.get("output") == snippet.get("output"), answer


def test_differences_are_few_have_a_reason_and_are_in_the_corpus() -> None:
    assert set(DIFFERENCES) <= {key(snippet) for snippet in CORPUS}
    assert all(len(item["reason"]) > 20 for item in DIFFERENCES.values())
    assert len(CORPUS) >= 500
    assert len(DIFFERENCES) <= 12


def test_the_corpus_holds_what_configurations_use() -> None:
    used = (
        "include index printf if range set eq ne not and or define nindent indent replace env list dict .Files.Get .Files.Glob"
        " .Files.Exists .Files.IsDir toString tpl fromYaml toYaml default fail required len hasKey trim trimSuffix trimPrefix splitList"
        " split join ternary regexReplaceAll regexMatch b64enc b64dec sha256sum semver semverCompare .Env .Commit.Hash .Commit.Date.Human"
        " .Commit.Date.Unix with template block break continue"
    )
    counted = Counter(name for name in used.split() for snippet in CORPUS if name in snippet["template"] and "output" in snippet)
    assert [name for name in used.split() if not counted[name]] == []


@pytest.mark.engine  # one of the things scripts/prerequisites installs for all tests
def test_go_itself_still_gives_the_answers_of_the_corpus(tmp_path: Path) -> None:
    now: list[dict[str, Any]] = ask(build(tmp_path), CORPUS)
    assert [item for item, before in zip(now, CORPUS, strict=True) if item != dict(before)] == []


INSIDE = sorted(
    words("""
    1 "a" `b` 'c' . .a .m.k $.a $x $x.k $y := = | ( ) , nil true if else end range with define template block break continue print len list
    and or not eq 0x1F 1_0 1.5 -1 +2 .5 0b1 1e2 "\\n" - /*c*/ upper quote .m .l "t" 08 1i
""")
)
WHOLE = [
    *("end", "else", "if .m", "range .l", "with .m", "range $i, $x := .l", "if $x := 1", "break", "continue", "else if .l"),
    *('define "t"', 'block "u" .', 'template "t"', 'template "t" .m', 'include "t" .'),
    *('dict "k" 1', 'index .m "k"', 'printf "%v"', "$x = 2", "print $x .l"),
]


def some_template(chance: random.Random) -> str:
    """Words of the language in any order; one in ten is a template."""

    def action() -> str:
        words = [chance.choice(WHOLE)] if chance.random() < 0.3 else chance.choices(INSIDE, k=chance.randint(1, 3))
        inside = "".join(chance.choice(["", " ", " ", " ", "\n"]) + word for word in words)
        return chance.choice(["{{", "{{ ", "{{- ", "{{-"]) + inside + chance.choice(["}}", " }}", " -}}", "-}}"])

    pieces = [chance.choice(["", " ", "x", "\n", " a ", "}}"]) + action() for _ in range(chance.randint(1, 3))]
    return "{{ $x := .m }}" + "".join(pieces) + chance.choice(["", "{{end}}", "{{end}}{{end}}", "  z"])


@pytest.mark.engine  # Go, as above
def test_what_go_takes_for_a_template_we_take_and_nothing_else(tmp_path: Path) -> None:
    chance = random.Random(1)  # noqa: S311  # the same templates in every run
    data = {"a": "A", "m": {"k": 1}, "l": ["p", "q"]}
    snippets = [{"template": some_template(chance), "data": data} for _ in range(6000)]
    answers = ask(build(tmp_path), snippets)
    assert sum("output" in answer for answer in answers) > 200
    different = [
        (answer["template"], answer.get("output", answer.get("error")), found)
        for answer in answers
        if (found := ours(answer)).get("output") != answer.get("output")
        # What differences.json has, too: ranges over numbers, and dot with .Files in it, which is nothing to print.
        if "range can't iterate over" not in answer.get("error", "") and "Files:" not in answer.get("output", "")
    ]
    assert different == []
