"""``RUN --mount``: a list of fields with commas, as CSV has them, each of which knows where it stands in the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ci_plugin.config.dockerfile_scan import Instruction
from ci_plugin.config.dockerfile_words import Word
from ci_plugin.errors import ConfigError


def mounts(step: Instruction) -> Iterator[dict[str, Word]]:
    """The fields of each ``--mount`` of a RUN, names in lower case; the last of a name counts. Raises ConfigError for an open quote."""
    for flag in step.flags:
        if flag.text.startswith("--mount="):
            fields = ((field, field.text.partition("=")[0]) for field in _fields(flag.part(len("--mount=")), step))
            yield {name.lower(): field.part(len(name) + 1) for field, name in fields}


def mount_from(mount: Mapping[str, Word]) -> bool:
    """Whether a mount takes its files from a stage or an image, not from the context."""
    return "from" in mount and mount["from"].text != ""


def _fields(value: Word, step: Instruction) -> Iterator[Word]:
    """The fields of one CSV record: between commas, or in double quotes, where two of them are one."""
    start, text = 0, value.text
    while start <= len(text):
        if text.startswith('"', start):
            kept, start = _quoted(text, start + 1, step)
            yield Word("".join(text[index] for index in kept), tuple(value.offsets[index] for index in kept))
        else:
            end = text.find(",", start)
            end = len(text) if end < 0 else end
            yield value.part(start, end)
            start = end + 1


def _quoted(text: str, index: int, step: Instruction) -> tuple[list[int], int]:
    """Indexes of the characters of a quoted field, and where the next field begins."""
    kept = []
    is_closed = False
    while index < len(text) and not is_closed:
        is_closed = text[index] == '"' and not text.startswith('"', index + 1)
        index += text[index] == '"'
        if not is_closed:
            kept.append(index)
            index += 1
    if not is_closed or text[index : index + 1] not in ("", ","):
        message = f"expected --mount=key=value,… with quotes around whole fields, found {text[:100]!r}"
        raise ConfigError(message, hint="leave the quotes out, or put them around the whole of --mount=…", where=step.location)
    return kept, index + 1
