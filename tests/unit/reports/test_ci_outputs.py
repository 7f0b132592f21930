from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_plugin.errors import InputError
from ci_plugin.reports.ci_outputs import SummaryRow, env_file, github_outputs, step_summary

DIGEST = "sha256:" + "a" * 64
REFERENCE = f"registry.example.com:5000/group/app@{DIGEST}"


def read_outputs(data: bytes) -> dict[str, str]:
    """As the runner reads the file: heredocs by their delimiter."""
    lines, values = data.decode().split("\n"), {}
    while lines != [""]:
        name, _, delimiter = lines.pop(0).partition("<<")
        end = lines.index(delimiter)
        values[name] = "\n".join(lines[:end])
        del lines[: end + 1]
    return values


@given(st.dictionaries(st.sampled_from(["images", "any", "pin-checksum"]), st.text(alphabet="ab<=\n{}:é", max_size=40)))
def test_outputs_are_read_as_they_were_given(values: dict[str, str]) -> None:
    assert read_outputs(github_outputs(values)) == values


def test_a_value_cannot_set_another_output() -> None:
    first = github_outputs({"images": "x"}).decode()
    delimiter = first.splitlines()[0].partition("<<")[2]
    assert read_outputs(github_outputs({"images": f"x\n{delimiter}\nevil=1"})) == {"images": f"x\n{delimiter}\nevil=1"}
    assert re.fullmatch(r"stagepin-[0-9a-f]{32}", delimiter)


def test_an_output_name_of_other_characters_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected an output name"):
        github_outputs({"a=b\nc": "x"})


def test_images_become_variables_sorted_by_name() -> None:
    assert env_file({"web-front.end": REFERENCE, "app": REFERENCE}) == (
        f"STAGEPIN_IMAGE_APP={REFERENCE}\nSTAGEPIN_IMAGE_WEB_FRONT_END={REFERENCE}\n"
    )
    assert env_file({}) == ""


def test_two_images_with_one_variable_are_both_named() -> None:
    with pytest.raises(InputError, match=r"found STAGEPIN_IMAGE_A_B for both 'a-b' and 'a\.b'") as caught:
        env_file({"a.b": REFERENCE, "a-b": REFERENCE})
    assert caught.value.hint == "rename one of the two images, or name the images to write"


@pytest.mark.parametrize("value", ["", "a b", "$(id)", "a\nB=c", "`id`", "a;b", "a'b", "é"])
def test_a_value_that_a_shell_would_read_is_refused(value: str) -> None:
    with pytest.raises(InputError, match=r"expected repository@digest for image 'app', found other characters"):
        env_file({"app": value})


def test_a_summary_is_a_table_of_images() -> None:
    rows = [SummaryRow("app", DIGEST, "docker.io/library/alpine:3.20", "pinned"), SummaryRow("web", "", "", "kept")]
    assert step_summary("pipeline:1001", rows, ["nothing moved"]) == (
        "### stagepin: `pipeline:1001`\n"
        "\n"
        "| image | digest | base | state |\n"
        "| --- | --- | --- | --- |\n"
        f"| `app` | `{DIGEST}` | `docker.io/library/alpine:3.20` | `pinned` |\n"
        "| `web` | - | - | `kept` |\n"
        "\n"
        "- `nothing moved`\n"
    )


def test_a_summary_without_images_says_so() -> None:
    assert step_summary("local", []) == "### stagepin: `local`\n\nNo images.\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a`b", "`` a`b ``"),
        ("`` `@team`", "``` `` `@team` ```"),
        ("<img src=x onerror=y>", "`<img src=x onerror=y>`"),
        ("a | b \\| c", "`a ¦ b \\¦ c`"),
        ("a\nb", "`a\\nb`"),
        ("[x](https://evil.example.com) @org/team #1", "`[x](https://evil.example.com) @org/team #1`"),
        ("x" * 300, "`" + "x" * 200 + "…`"),
        (" \t", "-"),
    ],
)
def test_foreign_text_in_a_summary_is_shown_as_code(text: str, shown: str) -> None:
    summary = step_summary("t", [SummaryRow(text, text, text, text)], [text])
    assert f"| {shown} | {shown} | {shown} | {shown} |" in summary.split("\n")
    assert f"- {shown}" in summary.split("\n")


def test_jinja_is_loaded_for_a_summary_only() -> None:
    modules = "ci_plugin.reports.ci_outputs, ci_plugin.reports.console"
    code = f"import sys, {modules}; print([name for name in ('jinja2', 'markupsafe') if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
