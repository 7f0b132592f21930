"""Resolve branches and tags of other git repositories into pins: one request for each repository, however many of its refs are named.

Nothing else asks what a branch means. A commit that is named needs no asking; it is written down all the same, so that the pin file tells
of every source there is, and a configuration that names another one is seen to be another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from ci_plugin.config.git_references import DEFAULT_BRANCH, GitReference
from ci_plugin.errors import ConfigError, Location, StagepinError
from ci_plugin.pins.git_pin import GIT_ORIGIN, GitPin
from ci_plugin.pins.origin import Origin

if TYPE_CHECKING:
    from ci_plugin.config.parts import GitRemote
    from ci_plugin.ports import Clock

_AT_ONCE = 8
_MOST_NAMED = 5


class GitRemotes(Protocol):
    """What other repositories say of themselves."""

    def list_refs(self, remote: GitRemote, refs: Collection[str] = ()) -> Mapping[str, str]:
        """Full ref → the commit it means now, of these refs or of all branches and tags; one that is absent is not in it."""
        ...


def resolve_git(references: Iterable[GitReference], remotes: GitRemotes, clock: Clock) -> tuple[GitPin, ...]:
    """One pin for each url and ref, sorted by both.

    Raises ConfigError for a branch or tag that is not there; AccessDenied, InputError and Unavailable as the repository did.
    """
    uses: dict[tuple[str, str], list[GitReference]] = {}
    for use in references:
        uses.setdefault((use.url, use.ref), []).append(use)
    if not uses:
        return ()
    commits = _ask([found[0] for found in uses.values()], remotes)
    now = clock.now()
    return tuple(
        GitPin(url, ref, commits[url, ref], now, tuple(dict.fromkeys(_origin(use) for use in uses[url, ref]))) for url, ref in sorted(uses)
    )


def ask_refs(references: Sequence[GitReference], remotes: GitRemotes) -> Mapping[tuple[str, str], Mapping[str, str] | StagepinError]:
    """What each repository says of the refs that are named, side by side; a repository that says nothing stands with its error."""
    from ci_plugin.threads import thread_pool

    groups: dict[tuple[object, ...], list[GitReference]] = {}
    for use in references:
        # Who asks is a part of the question: two mappings may have two passwords.
        groups.setdefault((use.url, use.remote.user, use.remote.password), []).append(use)

    def ask(group: Sequence[GitReference]) -> Mapping[str, str] | StagepinError:
        named = {use.ref for use in group if not _is_commit(use.ref)}
        try:
            return remotes.list_refs(group[0].remote, named) if named else {}
        except StagepinError as error:
            return error

    if len(groups) == 1:
        # Without a thread: what is interrupted here ends at once, git included.
        answers = [ask(group) for group in groups.values()]
    else:
        with thread_pool(_AT_ONCE) as pool:
            answers = list(pool.map(ask, groups.values()))
    return {(use.url, use.ref): answer for group, answer in zip(groups.values(), answers, strict=True) for use in group}


def _ask(references: Sequence[GitReference], remotes: GitRemotes) -> Mapping[tuple[str, str], str]:
    answers = ask_refs(references, remotes)
    return {(use.url, use.ref): _commit(use, answers[use.url, use.ref], remotes) for use in references}


def _commit(use: GitReference, answer: Mapping[str, str] | StagepinError, remotes: GitRemotes) -> str:
    if _is_commit(use.ref):
        return use.ref
    if isinstance(answer, StagepinError):
        # The line that names the repository is what people can change.
        answer.where = use.location
        raise answer
    if use.ref not in answer:
        raise _absent(use, remotes)
    return answer[use.ref]


def _absent(use: GitReference, remotes: GitRemotes) -> ConfigError:
    from difflib import get_close_matches  # here: most pin jobs find what they look for

    kind, _, name = use.ref.removeprefix("refs/").partition("/")
    word = {"heads": "branch", "tags": "tag"}[kind]
    others = [ref.removeprefix(f"refs/{kind}/") for ref in remotes.list_refs(use.remote) if ref.startswith(f"refs/{kind}/")]
    near = get_close_matches(name, others, _MOST_NAMED, 0.5) or sorted(others, key=lambda other: (other != "main", other))[:_MOST_NAMED]
    is_default = use.remote.branch is None and use.remote.tag is None
    default = f" (the default, as the mapping names none; {DEFAULT_BRANCH} is what werf takes)" if is_default else ""
    return ConfigError(
        f"expected the {word} {name} in {use.url}, found none of that name{default}",
        hint=f"write `{word}: {near[0]}`; it has: {', '.join(near)}" if near else f"it has no {word} at all",
        where=use.location,
    )


def _is_commit(ref: str) -> bool:
    return not ref.startswith("refs/")


def _origin(use: GitReference) -> Origin:
    where: Location = use.location
    return Origin(GIT_ORIGIN, use.image, where.file, where.line)
