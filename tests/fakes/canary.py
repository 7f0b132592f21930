"""Secrets that must show nowhere: put one into every input, then look for it in every output, in each form a program may give it.

::

    canary = make_canary("registry-password")
    ran = job.run("pin", DOCKER_AUTH_CONFIG=config_with(canary.text))
    canary.assert_hidden(ran.text)
    canary.assert_hidden_below(job.directory)
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, quote_plus


@dataclass(frozen=True)
class Canary:
    """A secret under watch; ``forms`` are its spellings: raw, base64 (also inside a longer text), percent-encoded, JSON, repr, hex."""

    name: str
    text: str

    @cached_property
    def forms(self) -> dict[str, str]:
        """What each form is called → how the secret looks in it; forms that look alike stand once, under the first name."""
        found: dict[str, str] = {}
        for kind, form in _forms(self.text):
            if form not in found.values():
                found[kind] = form
        return found

    def assert_hidden(self, text: str | bytes) -> None:
        """No form of it shows in ``text``, not even broken by white space."""
        shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        for kind, form in self.forms.items():
            assert form not in shown, f"the canary {self.name} shows ({kind}): {_around(shown, form)}"
            assert _joined(form) not in _joined(shown), f"the canary {self.name} shows ({kind}, broken by white space)"

    def assert_hidden_below(self, directory: Path, *, but: tuple[Path, ...] = ()) -> None:
        """No file or file name below ``directory`` shows it, but in the files where the test put it."""
        for path in directory.rglob("*"):
            self.assert_hidden(path.name)
            if path.is_file() and not path.is_symlink() and path not in but:
                self.assert_hidden(path.read_bytes())


def make_canary(name: str, *, for_header: bool = False) -> Canary:
    """A secret every encoding spells otherwise; with ``for_header`` only of characters a token may have."""
    return Canary(name, f"c4n4ry.{name}~%2F/+&={'' if for_header else ' “ü”'}'\"\\<>end")


def _forms(text: str) -> Iterator[tuple[str, str]]:
    data = text.encode()
    yield "raw", text
    for shift in range(3):
        # Bytes before and after it change the outermost characters only: the middle is the same in every longer text.
        encoded = base64.b64encode(b"\0" * shift + data)[-(-8 * shift // 6) : 8 * (shift + len(data)) // 6].decode()
        yield f"base64 at {shift}", encoded
        yield f"base64 at {shift}, url-safe", encoded.replace("+", "-").replace("/", "_")
    for safe in ("", "/", "/:+&='"):
        yield f"percent-encoded but {safe!r}", quote(text, safe=safe)
    yield "percent-encoded as a form", quote_plus(text)
    yield "percent-encoded, lower case", _lower_escapes(quote(text, safe=""))
    yield "JSON", json.dumps(text)[1:-1]
    yield "JSON, not ASCII only", json.dumps(text, ensure_ascii=False)[1:-1]
    yield "JSON twice", json.dumps(json.dumps(text))[3:-3]
    yield "repr", repr(text)[1:-1]
    yield "repr of bytes", repr(data)[2:-1]
    yield "hex", data.hex()


def _lower_escapes(quoted: str) -> str:
    head, *escaped = quoted.split("%")
    return head + "".join("%" + part[:2].lower() + part[2:] for part in escaped)


def _joined(text: str) -> str:
    return "".join(text.split())


def _around(text: str, form: str) -> str:
    at = text.index(form)
    return text[max(0, at - 60) : at + len(form) + 60]
