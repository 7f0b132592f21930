"""A root filesystem made of one static busybox: what the demo's and the tests' base images hold. Same version, same bytes."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from ci_plugin.errors import InputError

BUSYBOX = Path("/bin/busybox")
_APPLETS = """
    [ ash awk basename cat chmod chown cmp cp cut date dd dirname du echo env expr false find grep gunzip gzip head
    hostname id kill ln ls md5sum mkdir mktemp mv od printf ps pwd readlink rm rmdir sed seq sh sha256sum sleep sort
    stat sync tail tar tee test touch tr true uname uniq wc which xargs yes
"""
_DIRECTORIES = {
    "bin": 0o755,
    "dev": 0o755,
    "etc": 0o755,
    "proc": 0o555,
    "root": 0o700,
    "sys": 0o555,
    "tmp": 0o1777,
    "usr": 0o755,
    "usr/bin": 0o755,
}


def busybox_rootfs(version: str = "1", busybox: Path = BUSYBOX) -> bytes:
    """A tar of about 2 MB: busybox with its usual names in /bin, users root and nobody, and ``version`` in /etc/stagepin-base.

    Two versions differ in that file alone. Raises InputError where there is no statically linked busybox.
    """
    files = {
        "bin/busybox": (_read_static(busybox), 0o755),
        "etc/group": (b"root:x:0:\nnobody:x:65534:\n", 0o644),
        "etc/passwd": (b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", 0o644),
        "etc/stagepin-base": (f"{version}\n".encode(), 0o644),
    }
    links = {f"bin/{name}": "busybox" for name in _APPLETS.split()} | {"usr/bin/env": "../../bin/busybox"}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted([*_DIRECTORIES, *files, *links]):
            entry = tarfile.TarInfo(name)
            if name in files:
                data, entry.mode = files[name]
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
            elif name in links:
                entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, links[name], 0o777
                tar.addfile(entry)
            else:
                entry.type, entry.mode = tarfile.DIRTYPE, _DIRECTORIES[name]
                tar.addfile(entry)
    return out.getvalue()


def _read_static(busybox: Path) -> bytes:
    hint = "install it (Debian package busybox-static)"
    if not busybox.is_file():
        raise InputError(f"expected a busybox at {busybox}, found none", hint=hint)
    data = busybox.read_bytes()
    if b"/ld-linux" in data or b"/ld-musl" in data:
        raise InputError(f"expected a statically linked busybox, found a dynamic one at {busybox}", hint=hint)
    return data
