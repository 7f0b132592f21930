"""Pull a pinned base from the first place that has it: the digest is what was pinned, so which place is no matter."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ci_plugin.errors import AccessDenied, Gone, Unavailable
from ci_plugin.ports import Engine, EngineImage
from ci_plugin.values.reference import Reference

Places = Callable[[Reference], tuple[Reference, ...]]
"""Where a pinned digest may be pulled from, in order: mirrors, the place it was pinned at, copies. All name the same digest."""


def pinned_place_only(pinned: Reference) -> tuple[Reference, ...]:
    """The places where nobody named any other."""
    return (pinned,)


@dataclass(frozen=True, slots=True)
class Pulled:
    """A pinned base in the engine, under the name of the place it came from."""

    pinned: Reference
    place: Reference
    image: EngineImage


class Bases:
    """The pinned bases of one run. ``copy_used`` is told once of each that only a copy still has: what was pinned, and the copy."""

    def __init__(self, engine: Engine, places: Places, copy_used: Callable[[Reference, Reference], None]) -> None:
        self._engine = engine
        self._places = places
        self._copy_used = copy_used
        self._found: dict[Reference, Reference] = {}
        self._down: set[str] = set()
        self._lock = threading.Lock()

    def pull(self, pinned: Reference) -> Pulled:
        """The base from the first place that has it.

        Gone moves on to the next place, and at a mirror Unavailable and AccessDenied too; a mirror that is down costs its tries once.
        Raises what the place it was pinned at said; Gone where none has it any more.
        """
        known = self._found.get(pinned)
        places = (known,) if known else self._places(pinned)
        own = places.index(pinned) if pinned in places else 0
        gone: list[Gone] = []
        for number, place in enumerate(places):
            if number < own and place.repository.registry in self._down:
                continue
            try:
                image = self._engine.pull(place)
            except Gone as error:
                gone += [error] if number >= own else []
            except (Unavailable, AccessDenied) as error:
                if number > own:
                    error.message = f"{pinned} is gone from its registry; of the copy that was kept: {error.message}"
                if number >= own:
                    raise
                self._down |= {place.repository.registry} if isinstance(error, Unavailable) else set()
            else:
                self._remember(pinned, place, is_copy=number > own)
                return Pulled(pinned, place, image)
        raise _lost(places[own + 1 :], gone[0])

    def _remember(self, pinned: Reference, place: Reference, *, is_copy: bool) -> None:
        with self._lock:
            is_new = pinned not in self._found
            self._found[pinned] = place
        if is_copy and is_new:
            self._copy_used(pinned, place)


def _lost(copies: Sequence[Reference], first: Gone) -> Gone:
    """One sentence for all places, and the way out, which is never a fresh resolve in this scope."""
    if copies:
        message = f"{first.message}; nor is there a copy in {', '.join(str(copy.repository) for copy in copies)}"
        hint = "somebody deleted the copy too: push that base again, or run a new pipeline, which pins anew"
        return Gone(message, hint=hint, where=first.where)
    hint = "its registry deleted what was pinned: run a new pipeline, which pins anew, and give its pin job --keep REPO to have copies"
    return Gone(first.message, hint=hint, where=first.where)
