"""Our templates against Go's: a corpus of answers, and the program that gave them where Debian's Go is."""

from __future__ import annotations

import json
import posixpath
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.config.source import Source
from ci_plugin.config.template import render
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
