"""How the story looks, whatever the jobs print and whatever the reader's stream can show."""

from __future__ import annotations

from ci_plugin.demo.telling import Teller, short, short_image

DIGEST = f"sha256:{'ab12cd34' * 8}"


def _told(encoding: str = "utf-8") -> tuple[Teller, list[str]]:
    lines: list[str] = []
    return Teller(lines.append, encoding), lines


def test_steps_are_numbered_through_the_whole_story() -> None:
    tell, lines = _told()
    tell.step("First.")
    tell.heading("A title")
    tell.step("Second.")
    assert lines == ["   1. First.", "", "A title", "-------", "   2. Second."]


def test_long_text_is_wrapped_under_its_beginning_and_the_name_of_a_base_stays_together() -> None:
    tell, lines = _told()
    tell.outcome("without", "build", f"{'word ' * 13}on base 1 and more words", good=False)
    assert max(map(len, lines)) <= 100
    assert lines == [f"      without ✗ build        {'word ' * 13}on", f"{' ' * 29}base 1 and more words"]


def test_a_quoted_line_is_harmless_and_shortened() -> None:
    tell, lines = _told()
    tell.quote("::error::\x1b[31m" + "x" * 200)
    (line,) = lines
    assert len(line) == 100
    assert "\x1b" not in line
    assert line.lstrip().startswith("| \\::error::\\x1b[31mxxx")
    assert line.endswith("x…")


def test_a_stream_without_these_characters_gets_plain_ones() -> None:
    tell, lines = _told("ascii")
    tell.outcome("with", "deploy", short(DIGEST), good=True)
    tell.outcome("without", "deploy", "no", good=False)
    assert lines == ["      with    + deploy       sha256:ab12cd34..", "      without x deploy       no"]


def test_digests_and_images_are_short_for_people() -> None:
    assert short(DIGEST) == "sha256:ab12cd34…"
    assert short("none") == "none"
    assert short_image(f"127.0.0.1:5000/group/app@{DIGEST}") == "app@sha256:ab12cd34…"
    assert short_image("127.0.0.1:5000/group/app:0123abcd") == "app:0123abcd"
