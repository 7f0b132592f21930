"""Resolve references into pins: one HEAD per reference, one GET by digest per index; nothing else asks a registry what a tag means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from ci_plugin.config.references import ConfigReference
from ci_plugin.errors import AccessDenied, Gone, InputError, StagepinError, Unavailable
from ci_plugin.pins.pin_set import Origin, Pin
from ci_plugin.ports import Clock, Registry
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import Descriptor, Manifest, parse_image_config
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Reference

_INDEXES_AT_ONCE = 8
_LARGEST_CONFIG = 8 * 1024 * 1024


def resolve_pins(references: Iterable[ConfigReference], platforms: Sequence[Platform], registry: Registry, clock: Clock) -> tuple[Pin, ...]:
    """One pin per distinct reference, sorted by reference.

    Raises what the registry raised where the digest enters a signature or the registry is unavailable; a reference that is missing or
    forbidden and enters no signature becomes a pin without digest. Raises InputError where an index lacks a platform we build.
    """
    uses: dict[Reference, list[ConfigReference]] = {}
    for use in references:
        uses.setdefault(use.reference, []).append(use)
    answers = registry.resolve(list(uses))
    with ThreadPoolExecutor(_INDEXES_AT_ONCE) as pool:
        pins = pool.map(lambda item: _pin(item[1], answers[item[0]], platforms, registry, clock), uses.items())
        return tuple(sorted(pins, key=lambda pin: str(pin.reference)))


def _pin(
    uses: Sequence[ConfigReference],
    answer: Descriptor | StagepinError,
    platforms: Sequence[Platform],
    registry: Registry,
    clock: Clock,
) -> Pin:
    first = uses[0]
    in_signature = any(use.in_signature for use in uses)
    origin = tuple(Origin(use.kind, use.image, use.location.file, use.location.line) for use in uses)
    if isinstance(answer, StagepinError):
        if in_signature or not isinstance(answer, Gone | AccessDenied):
            answer.where = answer.where or first.location
            raise answer
        return Pin(first.reference, None, "", 0, {}, in_signature, clock.now(), origin, reason=answer.message)
    wanted = tuple(dict.fromkeys(item for use in uses for item in ((use.platform,) if use.platform else platforms)))
    digests = _platforms(uses, answer, wanted, registry)
    return Pin(first.reference, answer.digest, answer.media_type, answer.size, digests, in_signature, clock.now(), origin)


def _platforms(
    uses: Sequence[ConfigReference], descriptor: Descriptor, platforms: Sequence[Platform], registry: Registry
) -> Mapping[Platform, Digest]:
    """The manifest digest of every platform we build.

    Of a single manifest the one platform asked for is taken as given: the build compares it with what the engine pulled, so a wrong
    guess stops there and costs no request here.
    """
    use = uses[0]
    may_lack = all(use.by_build_platform for use in uses)
    if not descriptor.is_index:
        if len(platforms) == 1:
            return {platforms[0]: descriptor.digest}
        config = _manifest(use, descriptor, registry).get_config()
        data = registry.get_blob(use.reference.repository, config, _LARGEST_CONFIG)
        return _require(use, platforms, {parse_image_config(data).platform: descriptor.digest}, may_lack=may_lack)
    entries = _manifest(use, descriptor, registry).entries
    return _require(use, platforms, {platform: entry.digest for platform, entry in reversed(entries) if platform}, may_lack=may_lack)


def _require(
    use: ConfigReference, platforms: Sequence[Platform], known: Mapping[Platform, Digest], *, may_lack: bool
) -> Mapping[Platform, Digest]:
    found = {wanted: digest for wanted in platforms for platform, digest in known.items() if platform.serves(wanted)}
    missing = [str(platform) for platform in platforms if platform not in found]
    if missing and not may_lack:
        raise InputError(
            f"expected {use.reference} for {', '.join(missing)}, found it for {', '.join(sorted(map(str, known))) or 'no platform'}",
            hint="choose another base or platform (`--platform`)",
            where=use.location,
        )
    return found


def _manifest(use: ConfigReference, descriptor: Descriptor, registry: Registry) -> Manifest:
    manifest = registry.find_manifest(use.reference.at(descriptor.digest))
    if manifest is None:
        message = f"expected {use.reference.at(descriptor.digest)} to be there, found it absent right after it was resolved"
        raise Unavailable(message, hint="the registry may still be receiving it; run the job again", where=use.location)
    return manifest
