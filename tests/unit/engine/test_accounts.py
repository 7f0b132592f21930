from __future__ import annotations

import pytest

from ci_plugin.engine.accounts import Accounts, parse_accounts
from ci_plugin.errors import InputError
from ci_plugin.ports import LayerFile


def test_the_first_line_of_a_name_counts_and_what_is_no_line_is_left_out() -> None:
    data = (
        b"# comment\n\nroot:x:0:0::/root:/bin/sh\nweb:x:33\nweb:x:44\nbad:x:abc\n:x:5\nshort:x\n+nis::::\n\xff:x:7\nr\xc2\xb2:x:\xc2\xb2\n"
    )
    assert parse_accounts(data) == {"root": 0, "web": 33, "\udcff": 7}


def test_files_are_read_once_and_only_for_names() -> None:
    read: list[str] = []

    def reader(path: str) -> bytes:
        read.append(path)
        return b"web:x:33:\n"

    accounts = Accounts("image", reader)
    assert accounts.owners(LayerFile("/a", "file", 0o644)) == (0, 0)
    assert accounts.owners(LayerFile("/a", "file", 0o644, owner="12", group="0013")) == (12, 13)
    assert read == []
    for _ in range(2):
        assert accounts.owners(LayerFile("/a", "file", 0o644, owner="web", group="web")) == (33, 33)
    assert read == ["/etc/passwd", "/etc/group"]


@pytest.mark.parametrize("name", ["", "Web", "-1", "1.5", "\N{SUPERSCRIPT TWO}"])
def test_what_is_neither_known_nor_a_number_is_refused(name: str) -> None:
    accounts = Accounts("sha256:image", lambda _path: b"web:x:33:\n")
    with pytest.raises(InputError, match="in /etc/passwd of the image sha256:image, found none") as caught:
        accounts.owners(LayerFile("/a", "file", 0o644, owner=name))
    assert caught.value.hint == "give the number instead, or create the user in a stage before this one"
