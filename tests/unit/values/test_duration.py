from __future__ import annotations

from datetime import timedelta

import pytest

from ci_plugin.values.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "duration"),
    [("30m", timedelta(minutes=30)), ("12h", timedelta(hours=12)), ("7d", timedelta(days=7)), ("999999d", timedelta(days=999999))],
)
def test_a_duration_is_a_number_and_a_unit(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


def test_anything_else_is_refused_saying_what_was_expected() -> None:
    with pytest.raises(ValueError, match="expected a duration such as 30m, 12h or 7d, found '1h30m'"):
        parse_duration("1h30m")


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=40), "40s"),
        (timedelta(minutes=59, seconds=59), "59m 59s"),
        (timedelta(hours=12), "12h"),
        (timedelta(hours=12, seconds=5), "12h"),
        (timedelta(days=3, hours=4, minutes=5), "3d 4h"),
    ],
)
def test_people_read_the_two_largest_units(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text
