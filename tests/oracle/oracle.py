"""The oracle and its corpus: ``python -m tests.oracle.oracle`` writes the corpus again.

A line of ``corpus.jsonl`` is a snippet (template, and what it may need of data, files, templates, env) with Go's answer (output or error).
A new snippet is a new line without an answer; running this module gives it one. ``differences.json`` names where we differ, and why.
Needs Debian's golang-1.19-go, golang-github-masterminds-sprig-dev and golang-gopkg-yaml.v2-dev.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CORPUS = HERE / "corpus.jsonl"
DIFFERENCES = HERE / "differences.json"
GO = Path("/usr/lib/go-1.19/bin/go")
ANSWER = ("output", "error")
Snippet = Mapping[str, Any]


def read_corpus() -> list[Snippet]:
    """Every snippet with Go's answer."""
    return [json.loads(line) for line in CORPUS.read_text().split("\n") if line]


def read_differences() -> Mapping[str, Mapping[str, Any]]:
    """Template → our answer and the reason."""
    return {item["template"] + item.get("files", ""): item for item in json.loads(DIFFERENCES.read_text())}


def build(directory: Path) -> Path:
    """The oracle's program, compiled from Debian's sources alone."""
    program = directory / "oracle"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "GO111MODULE": "off",
        "GOPATH": "/usr/share/gocode",
        "GOCACHE": str(directory / "cache"),
        "CGO_ENABLED": "0",
        "GOFLAGS": "",
    }
    subprocess.run([GO, "build", "-o", program, HERE / "main.go"], check=True, env=environment, cwd=directory)
    return program


def ask(program: Path, snippets: Iterable[Snippet]) -> list[dict[str, Any]]:
    """Each snippet with the answer Go gives now."""
    questions = [{key: value for key, value in snippet.items() if key not in ANSWER} for snippet in snippets]
    lines = "\n".join(json.dumps(question) for question in questions).encode()
    answers = subprocess.run([program], input=lines, capture_output=True, check=True).stdout.decode().splitlines()
    return [{**question, **json.loads(answer)} for question, answer in zip(questions, answers, strict=True)]


def main() -> None:
    """Write the corpus again with the answers Go gives now."""
    with tempfile.TemporaryDirectory() as directory:
        answered = ask(build(Path(directory)), read_corpus())
    CORPUS.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in answered))


if __name__ == "__main__":
    main()
