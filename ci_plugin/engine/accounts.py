"""Users and groups of an image by name: what its own /etc/passwd and /etc/group say (passwd(5), group(5))."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ci_plugin.errors import InputError
from ci_plugin.ports import LayerFile

_LARGEST_ID = 2**32 - 2
"""The largest is -1 to chown(2): leave it."""
FileReader = Callable[[str], bytes]
"""An absolute path of an image → its bytes, links followed; none for what is absent."""


class Accounts:
    """Numbers for the names of one image; its files are read when the first name is asked for."""

    def __init__(self, image: str, read: FileReader) -> None:
        self._image = image
        self._read = read
        self._known: dict[str, Mapping[str, int]] = {}

    def owners(self, file: LayerFile) -> tuple[int, int]:
        """The numbers of a file's user and group; 0 where none is named. Raises InputError for a name the image does not know."""
        return self._number(file.owner, "user", "/etc/passwd"), self._number(file.group, "group", "/etc/group")

    def _number(self, text: str | None, what: str, path: str) -> int:
        if text is None:
            return 0
        if not (text.isascii() and text.isdigit()):
            return self._find(text, what, path)
        if int(text) > _LARGEST_ID:
            raise InputError(f"expected the number of a {what} to be at most {_LARGEST_ID}, found {text[:40]}", hint="correct the number")
        return int(text)

    def _find(self, name: str, what: str, path: str) -> int:
        if path not in self._known:
            self._known[path] = parse_accounts(self._read(path))
        found = self._known[path].get(name)
        if found is None:
            message = f"expected the {what} {name[:100]!r} in {path} of the image {self._image}, found none"
            raise InputError(message, hint=f"give the number instead, or create the {what} in a stage before this one")
        return found


def parse_accounts(data: bytes) -> Mapping[str, int]:
    """Name → number, the first line of a name counts; what is no such line is left out."""
    rows = [line.split(":") for line in data.decode("utf-8", "surrogateescape").splitlines()]
    return {row[0]: int(row[2]) for row in reversed(rows) if len(row) > 2 and row[0] and row[2].isascii() and row[2].isdigit()}
