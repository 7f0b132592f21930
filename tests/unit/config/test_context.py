"""Ignore files and COPY sources select what Docker selects."""

from __future__ import annotations

import pytest

from ci_plugin.config.context import find_dockerignore, parse_dockerignore, select

PATHS = ("Dockerfile", "a.txt", "b.md", "docs/README.md", "docs/deep/x.md", "src/a.go", "src/lib/b.go", "temp/a", "tempa", "[x]")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", PATHS),
        ("# docs\n\n  docs  \n", ("Dockerfile", "a.txt", "b.md", "src/a.go", "src/lib/b.go", "temp/a", "tempa", "[x]")),
        ("/docs\n", ("Dockerfile", "a.txt", "b.md", "src/a.go", "src/lib/b.go", "temp/a", "tempa", "[x]")),
        ("*\n!src/lib\n", ("src/lib/b.go",)),
        ("**/*.md\n!docs/README.md", ("Dockerfile", "a.txt", "docs/README.md", "src/a.go", "src/lib/b.go", "temp/a", "tempa", "[x]")),
        ("docs/**\n!docs/deep/x.md\nsrc/*.go", ("Dockerfile", "a.txt", "b.md", "docs/deep/x.md", "src/lib/b.go", "temp/a", "tempa", "[x]")),
        ("temp?\n*/a\n", tuple(path for path in PATHS if path not in ("temp/a", "tempa"))),
        ("!x\n*.txt\n*.md\n./src/../src", ("Dockerfile", "docs/README.md", "docs/deep/x.md", "temp/a", "tempa", "[x]")),
        (".", PATHS),
        ("\\[x\\]\n[ab].*", tuple(path for path in PATHS if path not in ("[x]", "a.txt", "b.md"))),
        ("[", PATHS),
        ("[?--]", PATHS),  # a range that ends before it begins; Python warns of it as a set difference
        ("[a-", PATHS),
    ],
)
def test_an_ignore_file_keeps_what_docker_keeps(text: str, kept: tuple[str, ...]) -> None:
    rules = parse_dockerignore(text)
    assert tuple(path for path in PATHS if not rules.excludes(path)) == kept


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
    ],
)
def test_copy_sources_select_files_and_everything_below_directories(patterns: list[str], selected: tuple[str, ...]) -> None:
    assert select(PATHS, patterns) == selected


def test_the_dockerfiles_own_ignore_file_comes_first() -> None:
    assert find_dockerignore("app/Dockerfile", "app") == ("app/Dockerfile.dockerignore", "app/.dockerignore")
