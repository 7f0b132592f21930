"""Resolve references into pins: one HEAD per reference, one GET by digest per index; nothing else asks a registry what a tag means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ci_plugin.config.references import ConfigReference
from ci_plugin.errors import AccessDenied, ConfigError, Gone, InputError, StagepinError, Unavailable
from ci_plugin.pins.pin_set import Origin, Pin
from ci_plugin.ports import Clock, Registry
from ci_plugin.threads import thread_pool
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import LARGEST_CONFIG, Descriptor, Manifest, parse_image_config
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Reference

_INDEXES_AT_ONCE = 8


def resolve_pins(references: Iterable[ConfigReference], registry: Registry, clock: Clock) -> tuple[Pin, ...]:
    """One pin per distinct reference, sorted by reference.

    A reference that is missing or forbidden and enters no signature becomes a pin without digest; where its digest enters one, a missing
    one is a ConfigError. Raises AccessDenied and Unavailable as the registry did, InputError where an index lacks a platform we build.
    """
    uses: dict[Reference, list[ConfigReference]] = {}
    for use in references:
        uses.setdefault(use.reference, []).append(use)
    answers = registry.resolve(list(uses))
    with thread_pool(_INDEXES_AT_ONCE) as pool:
        pins = pool.map(lambda item: _pin(item[1], answers[item[0]], registry, clock), uses.items())
        return tuple(sorted(pins, key=lambda pin: str(pin.reference)))


def _pin(uses: Sequence[ConfigReference], answer: Descriptor | StagepinError, registry: Registry, clock: Clock) -> Pin:
    first = uses[0]
    in_signature = any(use.in_signature for use in uses)
    origin = tuple(dict.fromkeys(Origin(use.kind, use.image, use.location.file, use.location.line) for use in uses))
    if isinstance(answer, StagepinError):
        is_needed = any(use.kind != "syntax" for use in uses)
        if in_signature or (is_needed and not isinstance(answer, Gone | AccessDenied)):
            # The line that names the image is what people can change; the message says which registry gave which answer.
            if isinstance(answer, Gone):
                raise ConfigError(answer.message, hint=answer.hint, where=first.location)
            answer.where = first.location
            raise answer
        return Pin(first.reference, None, "", 0, {}, in_signature, clock.now(), origin, reason=answer.message)
    digests = _platforms(uses, answer, registry)
    return Pin(first.reference, answer.digest, answer.media_type, answer.size, digests, in_signature, clock.now(), origin)


def _platforms(uses: Sequence[ConfigReference], descriptor: Descriptor, registry: Registry) -> Mapping[Platform, Digest]:
    """The manifest digest of every platform these uses need.

    Of a single manifest the one platform asked for is taken as given: the build compares it with what the engine pulled, so a wrong
    guess stops there and costs no request here.
    """
    needed = {use.platform: use for use in uses if use.platform}
    if not needed:
        return {}
    if not descriptor.is_index and len(needed) == 1:
        return dict.fromkeys(needed, descriptor.digest)
    known = _known_platforms(uses[0], descriptor, registry)
    return {platform: _find(platform, known, use) for platform, use in needed.items()}


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


def _find(wanted: Platform, known: Mapping[Platform, Digest], use: ConfigReference) -> Digest:
    for platform, digest in known.items():
        if platform.serves(wanted):
            return digest
    raise InputError(
        f"expected {use.reference} for {wanted}, found it for {', '.join(sorted(map(str, known))) or 'no platform'}",
        hint="choose another base or platform (`--platform`)",
        where=use.location,
    )


def _manifest(use: ConfigReference, descriptor: Descriptor, registry: Registry) -> Manifest:
    manifest = registry.find_manifest(use.reference.at(descriptor.digest))
    if manifest is None:
        message = f"expected {use.reference.at(descriptor.digest)} to be there, found it absent right after it was resolved"
        raise Unavailable(message, hint="the registry may still be receiving it; run the job again", where=use.location)
    return manifest
