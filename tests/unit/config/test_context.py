"""Ignore files and COPY sources select what Docker selects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.config.context import find_dockerignore, find_followed_link, match_any, parse_dockerignore, select
from ci_plugin.errors import ConfigError

DATA = Path(__file__).parents[2] / "data" / "config"
TABLE: dict[str, Any] = json.loads((DATA / "dockerignore.json").read_text())
"""Ignore files, and which of ``paths`` moby's own ``patternmatcher`` and ``ignorefile`` kept (null: refused)."""

PATHS = ("Dockerfile", "a.txt", "b.md", "docs/README.md", "docs/deep/x.md", "src/a.go", "src/lib/b.go", "temp/a", "tempa", "[x]")


@pytest.mark.parametrize("row", TABLE["files"], ids=lambda row: repr(row["text"]))
def test_an_ignore_file_keeps_what_mobys_own_matcher_keeps(row: dict[str, Any]) -> None:
    if row["kept"] is None:
        with pytest.raises(ConfigError, match="expected "):
            parse_dockerignore(row["text"])
    else:
        rules = parse_dockerignore(row["text"])
        assert [path for path in TABLE["paths"] if not rules.excludes(path)] == row["kept"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", PATHS),
        ("# docs\n\n  docs  \n", ("Dockerfile", "a.txt", "b.md", "src/a.go", "src/lib/b.go", "temp/a", "tempa", "[x]")),
        ("/docs/\n", ("Dockerfile", "a.txt", "b.md", "src/a.go", "src/lib/b.go", "temp/a", "tempa", "[x]")),
        ("*\n!src/lib\n", ("src/lib/b.go",)),
        ("**/*.md\n!docs/README.md", ("Dockerfile", "a.txt", "docs/README.md", "src/a.go", "src/lib/b.go", "temp/a", "tempa", "[x]")),
        ("docs/**\n!docs/deep/x.md\nsrc/*.go", ("Dockerfile", "a.txt", "b.md", "docs/deep/x.md", "src/lib/b.go", "temp/a", "tempa", "[x]")),
        ("temp?\n*/a\n", tuple(path for path in PATHS if path not in ("temp/a", "tempa"))),
        ("!x\n*.txt\n*.md\n./src/../src", ("Dockerfile", "docs/README.md", "docs/deep/x.md", "temp/a", "tempa", "[x]")),
        (".", PATHS),
        ("/", PATHS),
        ("\\[x\\]\n[ab].*", tuple(path for path in PATHS if path not in ("[x]", "a.txt", "b.md"))),
        ("\ufeff*\n!temp/*", ("temp/a",)),
        ("*\r\n!temp\r\n", ("temp/a",)),
        ("a.txt\u2028b.md\x0cc", PATHS),
    ],
)
def test_an_ignore_file_keeps_what_the_documentation_says(text: str, kept: tuple[str, ...]) -> None:
    rules = parse_dockerignore(text)
    assert tuple(path for path in PATHS if not rules.excludes(path)) == kept


BAD_RULES = {
    "an open bracket": ("[a", "expected a ] to close the [, found none"),
    "a range that ends before it begins": ("[z-a]", "expected a range from the lower to the higher character, found z-a"),
    "an empty range": ("[a-]", "expected a character or a range in brackets, found ']'"),
    "a wildcard in brackets": ("[a*]", "expected a character or a range in brackets, found '*'"),
    "a backslash at the end": ("a\\", "expected a character after the backslash, found the end"),
    "a backslash between directories": ("src\\bin", "expected a backslash before a special character, found it before 'b'"),
    "a bar": ("*|a", "expected no | and no ^ beside a wildcard"),
    "nothing to take back": ("!", "expected a pattern, found none"),
    "a NUL": ("a\0b", "expected a pattern, found a NUL byte"),
}


@pytest.mark.parametrize("name", BAD_RULES)
def test_a_pattern_that_is_none_is_told_with_its_line(name: str) -> None:
    text, message = BAD_RULES[name]
    with pytest.raises(ConfigError) as caught:
        parse_dockerignore(f"# first\n{text}\n", "app/.dockerignore")
    assert caught.value.message.startswith(message)
    assert str(caught.value.where) == "app/.dockerignore:2"
    assert "backslash" in caught.value.hint


@pytest.mark.parametrize(
    ("patterns", "selected"),
    [
        (["src"], ("src/a.go", "src/lib/b.go")),
        (["src/*.go"], ("src/a.go",)),
        (["s*"], ("src/a.go", "src/lib/b.go")),
        (["*.md", "/a.txt"], ("a.txt", "b.md")),
        (["docs/*"], ("docs/README.md", "docs/deep/x.md")),
        (["[a-b].*"], ("a.txt", "b.md")),
        (["[^a].md"], ("b.md",)),
        (["tem?"], ("temp/a",)),
        (["."], PATHS),
        (["src/../temp"], ("temp/a",)),
        (["nothing"], ()),
        (["[a"], ()),
        (["s**c"], ("src/a.go", "src/lib/b.go")),
        (["**.md"], ("b.md", "docs/README.md", "docs/deep/x.md")),
        (["./src/./lib"], ("src/lib/b.go",)),
    ],
)
def test_copy_sources_select_files_and_everything_below_directories(patterns: list[str], selected: tuple[str, ...]) -> None:
    assert select(PATHS, patterns) == selected


@pytest.mark.parametrize(
    ("patterns", "link"),
    [
        (["current"], "current"),
        (["current/app.js"], "current"),
        (["c*/app.js"], "current"),
        (["src"], None),
        (["src/data"], "src/data"),
        (["current.txt"], None),
    ],
)
def test_a_copy_that_reads_through_a_link_is_told(patterns: list[str], link: str | None) -> None:
    assert find_followed_link(["current", "src/data"], patterns) == link


def test_patterns_with_many_wildcards_take_no_long_time() -> None:
    path = "a/" * 1000 + "a" * 1000
    assert not parse_dockerignore("*a" * 200 + "b\n" + "**/a/" * 50 + "b\n" + "**/*a*" * 20 + "b").excludes(path)
    assert parse_dockerignore("**/a/" * 50 + "a*").excludes(path)
    assert not match_any("**/*a" * 30 + "b", path, below=True)


def test_the_dockerfiles_own_ignore_file_comes_first() -> None:
    assert find_dockerignore("app/Dockerfile", "app") == ("app/Dockerfile.dockerignore", "app/.dockerignore")
