"""The parts of a source tree: the project's own files, and those of every submodule that is checked out.

Rules: a submodule's files are those of the commit its project names, never of what is checked out by chance. Where its repository lacks
that commit, or there is none, its one entry of mode 160000 stays. A repository is a submodule's only where its ``.git`` lies in the
submodule's own directory, inside the checkout: an empty directory must not answer for the repository above it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ci_plugin.git.command import Git
from ci_plugin.git.objects import list_files
from ci_plugin.values.submodules import SUBMODULE
from ci_plugin.values.tree import Listing, TreeEntry

_MOST_PATHS = 500
"""Paths on one command line; more are asked for together."""
_PLAIN_DIFF = ("--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=dirty")


@dataclass(frozen=True, slots=True)
class Part:
    """One repository at one commit; ``path`` is where it lies in the project, empty for the project's own."""

    git: Git
    commit: str
    path: str
    files: Listing
    """Its files, under their paths in the project; submodules that are parts of their own are not among them."""

    @property
    def prefix(self) -> str:
        """What every path of the part begins with."""
        return f"{self.path}/" if self.path else ""

    def inside(self, paths: Collection[str]) -> Sequence[str]:
        """Those of these clean paths of the project that may hold, or be, files of this part, relative to it; ``.`` for the whole of it."""
        if any(path in (".", self.path) or self.path.startswith(f"{path}/") for path in paths) or len(paths) > _MOST_PATHS:
            return (".",)
        own = [path.removeprefix(self.prefix) for path in paths if path.startswith(self.prefix)]
        return [path for path in own if not path.startswith(("/", "../")) and path != ".."]

    def changed(self, paths: Sequence[str] = (".",), *, with_new: bool) -> Iterator[str]:
        """The paths in the project of files that differ between the commit and the working tree; new ones git does not ignore too.

        ``paths``: only these files and directories, relative to the part; git looks at no other then.
        """
        names = list(self.git.names("diff", "--name-only", "-z", "--relative", *_PLAIN_DIFF, self.commit, "--", *paths))
        if with_new:
            names += self.git.names("ls-files", "--others", "--exclude-standard", "-z", "--", *paths)
        return (self.prefix + name for name in names)


def find_parts(git: Git, commit: str, prefix: str, checkout: Path | None) -> tuple[Part, ...]:
    """The project's own part, then those of its submodules, outer ones first; ``checkout`` None: there is no working tree.

    ``prefix``: the project directory below the top level.
    """
    own = list_files(git, f"{commit}:{prefix}") or Listing()
    return tuple(_with_submodules(git, commit, "", own, checkout))


def _with_submodules(git: Git, commit: str, path: str, files: Listing, checkout: Path | None) -> Iterator[Part]:
    links = [entry for entry in files if entry[1] == SUBMODULE] if checkout and files.may_have_submodules else []
    inner = {link.path: found for link in links if checkout and (found := _open(git, link, checkout))}
    yield Part(git, commit, path, Listing([entry for entry in files if entry[0] not in inner]) if inner else files)
    for link in links:
        if link.path in inner:
            yield from _with_submodules(inner[link.path][0], link.blob, link.path, inner[link.path][1], checkout)


def _open(git: Git, link: TreeEntry, checkout: Path) -> tuple[Git, Listing] | None:
    """The submodule's repository and its files at the commit that is named, or None."""
    directory = checkout / link.path
    if not (directory / ".git").exists() or directory.resolve() != checkout.resolve() / link.path:
        return None
    inside = git.inside(directory)
    found = list_files(inside, f"{link.blob}:")
    return None if found is None else (inside, Listing([TreeEntry(f"{link.path}/{entry.path}", *entry[1:]) for entry in found]))
