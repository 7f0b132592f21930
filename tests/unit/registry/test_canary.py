"""The canary finds itself in every form, or the tests that use it could not fail."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus, urlencode

import pytest

from tests.fakes.canary import Canary, make_canary

PASSWORD = make_canary("password")
TOKEN = make_canary("token", for_header=True)


@pytest.mark.parametrize("canary", [PASSWORD, TOKEN], ids=lambda canary: str(canary.name))
@pytest.mark.parametrize(
    "spell",
    [
        lambda text: f"error: {text} was refused",
        lambda text: "Basic " + base64.b64encode(f"user:{text}".encode()).decode(),
        lambda text: base64.b64encode(f"user1:{text}!".encode()).decode(),
        lambda text: base64.urlsafe_b64encode(f"user12:{text}!!".encode()).decode(),
        lambda text: f"https://user:{quote(text, safe='')}@a.example/",
        quote_plus,
        lambda text: urlencode({"refresh_token": text}),
        lambda text: json.dumps({"secret": text}),
        lambda text: json.dumps({"line": json.dumps({"secret": text})}),
        lambda text: json.dumps([text], ensure_ascii=False),
        lambda text: repr([text]),
        lambda text: repr(text.encode()),
        lambda text: text[:20] + "\n    " + text[20:],
        lambda text: base64.encodebytes(f"user:{text}".encode()).decode(),
    ],
)
def test_a_secret_that_shows_is_found(canary: Canary, spell: Callable[[str], str]) -> None:
    with pytest.raises(AssertionError, match="shows"):
        canary.assert_hidden(spell(canary.text))


def test_other_text_is_not_taken_for_it() -> None:
    PASSWORD.assert_hidden("error: the canary password was refused ***")
    PASSWORD.assert_hidden(TOKEN.text)


def test_files_are_looked_into(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    file = tmp_path / "below" / "config.json"
    file.write_text(json.dumps({"auth": base64.b64encode(f"u:{TOKEN.text}".encode()).decode()}))
    TOKEN.assert_hidden_below(tmp_path, but=(file,))
    with pytest.raises(AssertionError, match="shows"):
        TOKEN.assert_hidden_below(tmp_path)
