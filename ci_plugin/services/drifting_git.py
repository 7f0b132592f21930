"""Drifting of other git repositories: what every pinned branch and tag means now. One request for each repository; reads only."""

from __future__ import annotations

from collections.abc import Iterable

from ci_plugin.config.git_references import GitReference
from ci_plugin.config.parts import GitRemote
from ci_plugin.errors import Location, StagepinError
from ci_plugin.pins.drift import GitDrift
from ci_plugin.pins.git_pin import GitPin
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.services.resolving_git import GitRemotes, ask_refs


def find_git_drift(pins: PinSet, references: Iterable[GitReference], remotes: GitRemotes) -> tuple[GitDrift, ...]:
    """One for each git pin, in the set's order; a repository that gives no answer stops none of the others.

    ``references`` say how each repository is asked; one that no configuration names is asked without a login.
    """
    known = {(use.url, use.ref): use for use in references}
    asked = [known.get((pin.url, pin.ref)) or _anonymous(pin) for pin in pins.git if not pin.is_commit]
    answers = ask_refs(asked, remotes)

    def tell(pin: GitPin) -> GitDrift:
        if pin.is_commit:
            return GitDrift(pin, pin.commit)
        answer = answers[pin.url, pin.ref]
        return GitDrift(pin, None, answer) if isinstance(answer, StagepinError) else GitDrift(pin, answer.get(pin.ref))

    return tuple(tell(pin) for pin in pins.git)


def _anonymous(pin: GitPin) -> GitReference:
    return GitReference(pin.url, pin.ref, GitRemote(pin.url), "", pin.place or Location(pin.url))
