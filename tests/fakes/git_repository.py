"""A real git repository in a temporary directory, for tests that need one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.com",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.com",
    "GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z",
    "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z",
}


class GitRepository:
    """``git init`` in ``directory``; the same files always give the same commit id."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main", *options)

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.directory), *arguments]
        return subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=True, text=True, errors="surrogateescape").stdout

    def add_submodule(self, other: GitRepository, path: str) -> None:
        """Add and check out another repository at its commit; it is committed with ``commit``."""
        self.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other.directory), path)

    def clone(self, directory: Path, *options: str) -> GitRepository:
        """A clone of this repository, as a job makes one: over a transport, not by copying the directory."""
        address = f"file://{self.directory}"
        self.git("-c", "protocol.file.allow=always", "clone", "--quiet", *options, address, str(directory))
        return GitRepository.at(directory)

    @classmethod
    def at(cls, directory: Path) -> GitRepository:
        """The repository that is there."""
        found = cls.__new__(cls)
        found.directory = directory
        return found

    def write(self, path: str, data: bytes | str, *, mode: int = 0o644) -> Path:
        file = self.directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data if isinstance(data, bytes) else data.encode())
        file.chmod(mode)
        return file

    def commit(self, message: str = "a commit") -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD").strip()
