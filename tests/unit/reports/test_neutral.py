from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_plugin.reports.neutral import neutral, neutral_lines

HOSTILE = st.lists(
    st.one_of(
        st.sampled_from(
            ["::", "##[", "\x1b", "\r", "\n", "\t", " ", "section_start:1:a\r\x1b[0K", "\u202e", "\ud800", "\u2028", ":", "#", "["]
        ),
        st.characters(),
    ),
    max_size=30,
).map("".join)


@given(HOSTILE)
def test_neutral_text_holds_nothing_that_a_terminal_or_a_runner_obeys(text: str) -> None:
    result = neutral(text)
    assert not [
        character for character in result if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character != "\t"
    ]
    assert not re.match(r"\s*::", result)
    assert "##[" not in result
    assert neutral(result) == result


@given(HOSTILE, HOSTILE)
def test_neutral_text_stays_harmless_after_white_space(before: str, text: str) -> None:
    line = f"  {neutral(text)}"
    assert not re.match(r"\s*::", line)


@given(st.text(alphabet="abc :/@.-é漢😀\t#[", max_size=20).filter(lambda text: not re.match(r"\s*::", text) and "##[" not in text))
def test_safe_text_is_unchanged(text: str) -> None:
    assert neutral(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("::add-mask::x", "\\::add-mask::x"),
        (" \t::error::x", " \t\\::error::x"),
        ("a ##[error]x", "a ##\\[error]x"),
        ("a::b", "a::b"),
        ("\x1b]52;c;x\x07", "\\x1b]52;c;x\\x07"),
        ("\x9b2J\x7f", "\\x9b2J\\x7f"),
        ("a\u202eb\u200b\ufeff", "a\\u202eb\\u200b\\ufeff"),
        ("\udce9\U000e0041", "\\udce9\\U000e0041"),
        ("a\r\nb", "a\\r\\nb"),
        ("\x1b[0Ksection_start:1:a\r\x1b[0K", "\\x1b[0Ksection_start:1:a\\r\\x1b[0K"),
    ],
)
def test_an_escape_shows_what_was_there(text: str, expected: str) -> None:
    assert neutral(text) == expected


def test_lines_are_neutral_each() -> None:
    assert neutral_lines("a\r\n::b\n\rc") == ["a", "\\::b", "\\rc"]
    assert neutral_lines("") == [""]
