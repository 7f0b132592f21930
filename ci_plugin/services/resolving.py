"""Resolve references into pins: one HEAD per reference and one GET by digest per index, however many references name it.

Nothing else asks a registry what a tag means.
An index is often pushed before the last platform's image is in it: one that lacks a platform we build is asked again for a bounded time,
all such references together. A pin is made of one answer, so two images that name one tag get one digest whatever happens meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ci_plugin.config.references import ConfigReference
from ci_plugin.errors import AccessDenied, ConfigError, Gone, InputError, StagepinError, Unavailable
from ci_plugin.pins.pin_set import Origin, Pin
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import LARGEST_CONFIG, Descriptor, Manifest, parse_image_config
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Reference

if TYPE_CHECKING:
    from ci_plugin.ports import Clock, Registry

_INDEXES_AT_ONCE = 8
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_Uses = Mapping[Reference, Sequence[ConfigReference]]
_Seen = dict[Digest, Mapping[Platform, Digest]]
"""Manifest or index → what it has for which platform. A digest names its content, so what was seen once is not asked for again."""


def _tell_nobody(_line: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Patience:
    """For how many seconds in all an index that lacks a platform is asked again, and who is told that we wait."""

    seconds: float = 0.0
    tell: Callable[[str], None] = _tell_nobody


IMPATIENT = Patience()


@dataclass(frozen=True, slots=True)
class _Lack:
    """An image without platforms that are needed, named at the first use that needs one; an index may be receiving them."""

    use: ConfigReference
    wanted: Sequence[Platform]
    known: Sequence[Platform]

    @property
    def missing(self) -> str:
        return ", ".join(map(str, self.wanted))

    def error(self, waited: float = 0.0) -> InputError:
        after = f" ({waited:g} s later still)" if waited else ""
        return InputError(
            f"expected {self.use.reference} for {self.missing}, "
            f"found it for {', '.join(sorted(map(str, self.known))) or 'no platform'}{after}",
            hint="choose another base or platform (`--platform`)",
            where=self.use.location,
        )


class _Lacking(Exception):
    def __init__(self, lack: _Lack) -> None:
        self.lack = lack


def resolve_pins(
    references: Iterable[ConfigReference], registry: Registry, clock: Clock, patience: Patience = IMPATIENT
) -> tuple[Pin, ...]:
    """One pin per distinct reference, sorted by reference.

    A reference that is missing or forbidden and enters no signature becomes a pin without digest; where its digest enters one, a missing
    one is a ConfigError. Raises AccessDenied and Unavailable as the registry did, InputError where an index lacks a platform we build.
    """
    uses: dict[Reference, list[ConfigReference]] = {}
    for use in references:
        uses.setdefault(use.reference, []).append(use)
    if not uses:
        return ()
    seen: _Seen = {}
    found = _resolve(uses, registry, clock, seen)
    waited = 0.0
    for pause in _pauses(patience.seconds):
        lacking = [answer for answer in found.values() if isinstance(answer, _Lack)]
        if not lacking:
            break
        if not waited:
            names = ", ".join(f"{lack.use.reference} has no {lack.missing} yet" for lack in lacking)
            patience.tell(f"{names}: asking again for up to {patience.seconds:g} s")
        clock.sleep(pause)
        waited += pause
        found |= _resolve({lack.use.reference: uses[lack.use.reference] for lack in lacking}, registry, clock, seen)
    return tuple(sorted((_made(answer, waited) for answer in found.values()), key=lambda pin: str(pin.reference)))


def _pauses(seconds: float) -> Iterator[float]:
    """Growing waits that make ``seconds`` in all."""
    pause = _FIRST_PAUSE
    while seconds > 0:
        yield min(pause, seconds)
        seconds -= pause
        pause = min(pause * 2, _LONGEST_PAUSE)


def _made(answer: Pin | _Lack, waited: float) -> Pin:
    if isinstance(answer, _Lack):
        raise answer.error(waited)
    return answer


def _resolve(uses: _Uses, registry: Registry, clock: Clock, seen: _Seen) -> dict[Reference, Pin | _Lack]:
    # A job that adopts its pins needs no threads.
    from ci_plugin.threads import thread_pool

    answers = registry.resolve(list(uses))

    def pin(reference: Reference) -> Pin | _Lack:
        try:
            return _pin(uses[reference], answers[reference], registry, clock, seen)
        except _Lacking as lacking:
            return lacking.lack

    # References with one digest are one task: no two threads ask for the same index.
    groups: dict[Digest | Reference, list[Reference]] = {}
    for reference in uses:
        answer = answers[reference]
        groups.setdefault(answer.digest if isinstance(answer, Descriptor) else reference, []).append(reference)
    with thread_pool(_INDEXES_AT_ONCE) as pool:
        made = pool.map(lambda group: [(reference, pin(reference)) for reference in group], groups.values())
        found = dict(pair for pairs in made for pair in pairs)
    return {reference: found[reference] for reference in uses}


def _pin(uses: Sequence[ConfigReference], answer: Descriptor | StagepinError, registry: Registry, clock: Clock, seen: _Seen) -> Pin:
    first = uses[0]
    in_signature = any(use.in_signature for use in uses)
    origin = tuple(dict.fromkeys(Origin(use.kind, use.image, use.location.file, use.location.line) for use in uses))
    if isinstance(answer, StagepinError):
        is_needed = any(use.kind != "syntax" for use in uses)
        if in_signature or (is_needed and not isinstance(answer, Gone | AccessDenied)):
            # The line that names the image is what people can change; the message says which registry gave which answer.
            if isinstance(answer, Gone):
                raise ConfigError(answer.message, hint=answer.hint, where=first.location)
            # A file that is wrong, such as the CA certificates, is named by its own error; a registry's address says less than the line.
            if answer.where is None or "://" in answer.where.file:
                answer.where = first.location
            raise answer
        return Pin(first.reference, None, "", 0, {}, in_signature, clock.now(), origin, reason=answer.message)
    digests = _platforms(uses, answer, registry, seen)
    return Pin(first.reference, answer.digest, answer.media_type, answer.size, digests, in_signature, clock.now(), origin)


def _platforms(uses: Sequence[ConfigReference], descriptor: Descriptor, registry: Registry, seen: _Seen) -> Mapping[Platform, Digest]:
    """The manifest digest of every platform these uses need.

    Of a single manifest the one platform asked for is taken as given: the build compares it with what the engine pulled, so a wrong
    guess stops there and costs no request here.
    """
    needed = {use.platform: use for use in uses if use.platform}
    if not needed:
        return {}
    if not descriptor.is_index and len(needed) == 1:
        return dict.fromkeys(needed, descriptor.digest)
    if descriptor.digest not in seen:
        seen[descriptor.digest] = _known_platforms(uses[0], descriptor, registry)
    known = seen[descriptor.digest]
    found = {platform: _find(platform, known) for platform in needed}
    missing = [platform for platform, digest in found.items() if digest is None]
    if missing:
        lack = _Lack(needed[missing[0]], missing, tuple(known))
        # An image of one platform gets no other by waiting.
        raise _Lacking(lack) if descriptor.is_index else lack.error()
    return {platform: digest for platform, digest in found.items() if digest}


def _known_platforms(use: ConfigReference, descriptor: Descriptor, registry: Registry) -> Mapping[Platform, Digest]:
    manifest = _manifest(use, descriptor, registry)
    if descriptor.is_index:
        return {platform: entry.digest for platform, entry in reversed(manifest.entries) if platform}
    data = registry.get_blob(use.reference.repository, manifest.get_config(), LARGEST_CONFIG)
    try:
        return {parse_image_config(data).platform: descriptor.digest}
    except ValueError as error:
        message = f"expected {use.reference} to be an image, found something else: {error}"
        raise InputError(message, hint="choose another base", where=use.location) from None


def _find(wanted: Platform, known: Mapping[Platform, Digest]) -> Digest | None:
    return next((digest for platform, digest in known.items() if platform.serves(wanted)), None)


def _manifest(use: ConfigReference, descriptor: Descriptor, registry: Registry) -> Manifest:
    manifest = registry.find_manifest(use.reference.at(descriptor.digest))
    if manifest is None:
        message = f"expected {use.reference.at(descriptor.digest)} to be there, found it absent right after it was resolved"
        raise Unavailable(message, hint="the registry may still be receiving it; run the job again", where=use.location)
    return manifest
