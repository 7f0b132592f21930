"""A templated configuration of 1000 images: render, parse and validate, beside Go's own template engine and YAML package doing as much."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, compare
from tests.oracle.oracle import GO, build

IMAGES = 1000
_ONE = 'image: app{{ . }}\nfrom: alpine:{{ mod . 7 }}\nfromLatest: true\nshell:\n  install: [{{ printf "echo %d" . | quote }}, echo done]\n'
_DOCUMENTS = "project: app\nconfigVersion: 1\n{{ range until " + str(IMAGES) + " }}---\n" + _ONE + "{{ end }}"
_INDENTED = _ONE.replace("\n", "\n  ").rstrip()
_ONE_DOCUMENT = (
    '{{ define "all" }}{{ range until ' + str(IMAGES) + " }}image{{ . }}:\n  " + _INDENTED + "\n{{ end }}{{ end }}"
    '{{ include "all" . | fromYaml | len }}'
)
_OURS = """\
import sys
from pathlib import Path
from ci_plugin.config.load import load_configuration
from ci_plugin.config.source import Source
text = Path(sys.argv[1]).read_bytes()
source = Source(lambda path: text if path == "werf.yaml" else None, lambda: ["werf.yaml"], {})
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(len(load_configuration(source, "app").images), int(peak.split()[1]) // 1024)
"""
_START = "import ci_plugin.config.load, ci_plugin.config.template, ci_plugin.config.parse"
_MOST_MEMORY = 300


def measure_configuration(directory: Path, runs: int) -> Iterator[Figure]:
    """Each side a process of its own that reads, renders, parses and answers with a count; ours also validates every directive."""
    directory.mkdir(parents=True)
    file = directory / "werf.yaml"
    file.write_text(_DOCUMENTS)
    ours = [sys.executable, "-c", _OURS, str(file)]
    images, memory = map(int, _run(ours).split())
    yield Figure(f"memory of a templated configuration of {images} images", f"{memory} MiB", f"< {_MOST_MEMORY} MiB", memory < _MOST_MEMORY)
    name = f"wall time: a templated configuration of {IMAGES} images against Go's own packages"
    if not GO.exists():
        yield Figure(name, f"no Go at {GO}", "< 15 x")
        return
    oracle, question = build(directory), json.dumps({"template": _ONE_DOCUMENT}).encode()
    ratio = compare(lambda: _run(ours), lambda: _run([str(oracle)], question), runs)
    yield Figure(f"{name}, whole processes", f"{ratio}, {ratio.in_seconds}", "< 15 x", ratio.median < 15, ratio.as_numbers())
    ratio = compare(lambda: _run([sys.executable, "-c", _START]), lambda: _run([str(oracle)], question), runs)
    yield Figure("wall time: the imports alone against the same", f"{ratio}, {ratio.in_seconds}", numbers=ratio.as_numbers())


def _run(command: list[str], given: bytes = b"") -> str:
    return subprocess.run(command, input=given, capture_output=True, check=True).stdout.decode()
