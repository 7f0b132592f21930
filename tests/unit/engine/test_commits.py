from __future__ import annotations

from ci_plugin.engine.commits import split_lines


def test_lines_are_put_together_from_any_chunks() -> None:
    data = "eins\r\nzwölf\n\nopen".encode()
    assert list(split_lines(data[i : i + 1] for i in range(len(data)))) == ["eins", "zwölf", "", "open"]
    assert list(split_lines([data])) == ["eins", "zwölf", "", "open"]
    assert list(split_lines([b"\xff\n"])) == ["\N{REPLACEMENT CHARACTER}"]
    assert list(split_lines([])) == []
