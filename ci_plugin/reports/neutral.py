"""Foreign text made safe to print: no terminal obeys it, no CI runner takes it for a command, nobody is misled by its direction.

Rules: what ``str.isprintable`` refuses is written as an escape (C0, C1, DEL, bidi and zero-width characters, line separators, unpaired
surrogates, private use), the tab excepted. GitHub's runner takes ``::name::`` at the start of a line, after white space, and ``##[name]``
anywhere in it (actions/runner, ActionCommand.cs): a backslash breaks both. GitLab's section markers need ESC and CR, which are escaped.
"""

from __future__ import annotations

import re

_COMMAND_AT_START = re.compile(r"([ \t]*)::")
_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r"}


def neutral(text: str) -> str:
    """One line; harmless wherever it is printed at the start of a line, after white space, or within one. Safe text is unchanged."""
    if not text.isprintable():
        text = "".join(character if character.isprintable() or character == "\t" else _escape(character) for character in text)
    text = text.replace("##[", "##\\[")
    return _COMMAND_AT_START.sub(r"\1\\::", text, count=1) if _COMMAND_AT_START.match(text) else text


def neutral_lines(text: str) -> list[str]:
    """The lines of a text that may have several, each neutral; at least one."""
    return [neutral(line) for line in text.replace("\r\n", "\n").split("\n")]


def _escape(character: str) -> str:
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
