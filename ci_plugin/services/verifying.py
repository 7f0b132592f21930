"""Verify: prove at deploy that what was built is what ships, from pins, record and registry alone (DESIGN.md §4, §11.1).

No engine, no configuration, no upstream registry: a tag that moved meanwhile is not asked for. Every check is a finding with a stable rule
name; what the registry cannot answer is an error of the run, not a finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ci_plugin.conveyor.stage import BASE_DIGEST
from ci_plugin.errors import Gone, Location
from ci_plugin.pins.pin_file import pin_checksum
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.ports import Registry
from ci_plugin.records.build_record import BaseRecord, BaseState, BuildRecord, DependencyValue, ImageRecord, PlatformRecord
from ci_plugin.records.stage_labels import OCI_BASE_DIGEST, StageLabels, parse_stage_labels
from ci_plugin.values.finding import Finding, Severity
from ci_plugin.values.manifest import DOCKER_INDEX, LARGEST_CONFIG, OCI_INDEX, ImageConfig, Manifest, parse_image_config
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Reference, Repository, parse_reference

_REBUILD = "the image is not the recorded one: do not deploy it; find out who wrote it, then build again"
_GONE_HINT = "it was deleted or garbage-collected: build again in this scope, it gets the same bases"
RULES = {
    "pins-fork": "the pins are of the project's own code, not of a fork's",
    "record-pins": "the build record names this pin file by its checksum",
    "record-commit": "the build record is of the commit that is deployed",
    "record-published": "the build record's images are in its registry repository, and that is the one this job names",
    "image-exists": "the recorded digest is in the registry",
    "index-platforms": "an image for several platforms is an index of exactly the recorded manifests",
    "image-config": "digest, image ID and platform are the recorded ones",
    "image-labels": "the image says it is the recorded stage signature on the recorded base",
    "base-layers": "the image begins with the recorded base's layers",
    "dependency-values": "what the image was told of other images is what is recorded of them",
    "base-pinned": "the recorded base is what the pin file pins its reference to",
    "signature-recomputed": "this checkout, configuration and pins give the recorded stage signature",
}
"""Rule name → what it proves: a name is stable, pipelines may look for it."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the deploy job knows by itself: its commit and the repository it names (None to take the record's), and the pins.

    ``signatures``: with ``--recompute`` those of this checkout, by image name and platform. ``fork``: the fork whose code started this
    job, whatever the pins say: they may be forged by it. ``allows_fork``: what a fork's code made may ship.
    """

    commit: str | None
    repository: Repository | None
    pins: PinSet
    signatures: Mapping[str, Mapping[Platform, str]] | None = None
    fork: str = ""
    allows_fork: bool = False


def verify(
    record: BuildRecord, images: Mapping[str, ImageRecord], expected: Expected, registry: Registry, where: Location
) -> tuple[Finding, ...]:
    """All findings, empty where everything holds. Raises AccessDenied or Unavailable where the registry gave no answer."""
    return tuple(_verify(record, images, expected, registry, where))


def _verify(
    record: BuildRecord, images: Mapping[str, ImageRecord], expected: Expected, registry: Registry, where: Location
) -> Iterator[Finding]:
    fork = expected.pins.fork or expected.fork
    if fork and not expected.allows_fork:
        hint = "deploy from a pipeline of the project's own code, or say --allow-fork where what a fork made may ship"
        yield _error("pins-fork", f"expected pins of the project's own code, found those of the fork {fork}", None, hint)
        return  # what a fork's code wrote is not followed to wherever it points
    checksum = pin_checksum(expected.pins)
    if record.pins != checksum:
        yield _error(
            "record-pins", f"expected a record of the pins {checksum}, found one of {record.pins}", where, "build again in this scope"
        )
    if expected.commit is not None and record.commit != expected.commit:
        hint = "build this commit in this scope; for a rollback name the commit with --commit"
        yield _error("record-commit", f"expected a record of commit {expected.commit}, found {record.commit}", where, hint)
    for name, image in images.items():
        yield from _verify_image(name, record, image, expected, registry)


def _verify_image(name: str, record: BuildRecord, image: ImageRecord, expected: Expected, registry: Registry) -> Iterator[Finding]:
    wanted = expected.repository or record.repository
    if image.reference is None or {image.reference.repository, record.repository} != {wanted}:
        found = image.reference or f"no reference: it was built {'without being published' if record.repository else 'in :local'}"
        hint = "build (without --no-publish) and verify with the same --repo, so that what is deployed comes from there"
        yield _error("record-published", f"expected {name!r} in {wanted or 'a registry repository'}, found {found}", None, hint)
        return
    where = Location(str(image.reference))
    manifest = registry.find_manifest(image.reference)
    if manifest is None:
        yield _error("image-exists", f"expected {name!r} at {image.reference}, found it gone", where, _GONE_HINT)
        return
    if expected.signatures is not None and name in expected.signatures:
        yield from _verify_signatures(name, image, expected.signatures[name], where)
    if manifest.descriptor.is_index and image.media_type in (OCI_INDEX, DOCKER_INDEX):
        yield from _verify_index(name, image, manifest, image.reference, registry)
    else:
        for platform, platform_record in image.platforms.items():
            yield from _verify_config(_title(name, image, platform), platform, platform_record, manifest, image.reference, registry)
    for platform, platform_record in image.platforms.items():
        yield from _verify_base(name, platform_record, expected.pins, where)
        yield from _verify_dependencies(_title(name, image, platform), platform, platform_record, record, where)


def _verify_signatures(name: str, image: ImageRecord, recomputed: Mapping[Platform, str], where: Location) -> Iterator[Finding]:
    hint = f"`stagepin explain {name} --against RECORD` says what changed"
    for platform, recorded in image.platforms.items():
        found = recomputed.get(platform)
        if found is None:
            built_for = ", ".join(map(str, recomputed))
            message = f"expected {name!r} to be built for {platform}, as its record says, found it built for {built_for} by this checkout"
            yield _error("signature-recomputed", message, where, "give verify the --platform that build had")
        elif found != recorded.signature:
            message = (
                f"expected the stage signature {recorded.signature} for {_title(name, image, platform)}, found {found} for this checkout"
            )
            yield _error("signature-recomputed", message, where, hint)
    for platform in set(recomputed) - set(image.platforms):
        message = f"expected {name!r} to be recorded for {platform} too, which this checkout builds, found {_listed(image.platforms)} alone"
        yield _error("signature-recomputed", message, where, "build it for every platform, then `stagepin build --require-built`")


def _verify_index(name: str, image: ImageRecord, index: Manifest, reference: Reference, registry: Registry) -> Iterator[Finding]:
    where = Location(str(reference))
    for platform, recorded in image.platforms.items():
        entry = index.find_platform(platform)
        if entry is None or entry.digest != recorded.digest:
            found = entry.digest if entry else _listed(platform for platform, _ in index.entries if platform)
            message = f"expected the index of {name!r} to have {recorded.digest} for {platform}, found {found}"
            yield _error("index-platforms", message, where, _REBUILD)
            continue
        child = reference.repository.at(entry.digest)
        manifest = registry.find_manifest(child)
        if manifest is None:
            message = f"expected {_title(name, image, platform)} at {child}, found it gone"
            yield _error("image-exists", message, Location(str(child)), _GONE_HINT)
        else:
            yield from _verify_config(_title(name, image, platform), platform, recorded, manifest, child, registry)
    for served, descriptor in index.entries:
        if served and not any(known.serves(served) for known in image.platforms):
            message = f"expected the index of {name!r} to be for {_listed(image.platforms)}, found {descriptor.digest} for {served} too"
            yield _error("index-platforms", message, where, _REBUILD)


def _title(name: str, image: ImageRecord, platform: Platform) -> str:
    """The image in messages, with its platform where it has several."""
    return f"{name!r} ({platform})" if len(image.platforms) > 1 else repr(name)


def _listed(platforms: Iterable[Platform]) -> str:
    return ", ".join(map(str, platforms)) or "no platform"


def _verify_config(
    title: str, platform: Platform, recorded: PlatformRecord, manifest: Manifest, reference: Reference, registry: Registry
) -> Iterator[Finding]:
    where = Location(str(reference))
    if manifest.config is None or manifest.image_id != recorded.image_id:
        found = "an index" if manifest.config is None else manifest.image_id
        yield _error("image-config", f"expected {title} to have the image ID {recorded.image_id}, found {found}", where, _REBUILD)
        return
    try:
        config = parse_image_config(registry.get_blob(reference.repository, manifest.config, LARGEST_CONFIG))
    except Gone as error:
        yield _error("image-exists", error.message, where, _GONE_HINT)
        return
    except ValueError as error:
        yield _error("image-config", f"expected {title} to be an image, found something else: {error}", where, _REBUILD)
        return
    if recorded.digest != manifest.descriptor.digest:
        message = f"expected {title} for {platform} at {recorded.digest}, as its record says, found {manifest.descriptor.digest}"
        yield _error("image-config", message, where, _REBUILD)
    if not config.platform.serves(platform):
        yield _error("image-config", f"expected {title} to be for {platform}, found {config.platform}", where, _REBUILD)
    yield from (_error("image-labels", message, where, _REBUILD) for message in _label_faults(title, recorded, config))
    layers = config.diff_ids[: len(recorded.base.diff_ids)]
    if layers != recorded.base.diff_ids:
        expected = ", ".join(map(str, recorded.base.diff_ids))
        message = f"expected {title} to begin with the base's layers {expected}, found {', '.join(map(str, layers)) or 'none'}"
        yield _error("base-layers", message, where, _REBUILD)


def _label_faults(title: str, recorded: PlatformRecord, config: ImageConfig) -> Iterator[str]:
    try:
        labels = parse_stage_labels(config.labels)
    except ValueError as error:
        yield f"expected {title} to carry stagepin's labels, found {error}"
        return
    if labels.signature != recorded.signature:
        yield f"expected {title} to be labelled with stage signature {recorded.signature}, found {labels.signature}"
    if _base_facts(labels.base) != _base_facts(recorded.base) or not _oci_base_agrees(labels, config):
        yield f"expected {title} to be labelled with base {recorded.base.digest}, found {labels.base.digest}"
    if labels.dependencies != recorded.dependencies:
        expected, found = (_told(values) for values in (recorded.dependencies, labels.dependencies))
        yield f"expected {title} to be labelled as told {expected}, found {found}"


def _told(values: Iterable[DependencyValue]) -> str:
    return ", ".join(f"{item.type} {item.value} of {item.image!r}" for item in values) or "nothing of other images"


def _verify_dependencies(
    title: str, platform: Platform, recorded: PlatformRecord, record: BuildRecord, where: Location
) -> Iterator[Finding]:
    """What an image was told of one that is recorded too; of artifact images and of what a partial record lacks nothing is known."""
    hint = "the other image was built anew after this one: build again in this scope, which makes anew what was told of it"
    for item in recorded.dependencies:
        source = record.images.get(item.image)
        told_of = source.platforms.get(platform) if source else None
        if told_of is None:
            continue
        name = f"{record.repository}:{told_of.signature}"
        facts = {"ImageName": name, "ImageTag": told_of.signature, "ImageRepo": str(record.repository)}
        facts |= {"ImageID": str(told_of.image_id), "ImageDigest": str(told_of.digest)}
        if item.value != facts.get(item.type):
            message = f"expected {title} to have {item.type} {facts.get(item.type)} of {item.image!r} in {item.target}, found {item.value}"
            yield _error("dependency-values", message, where, hint)


def _base_facts(base: BaseRecord) -> tuple[object, ...]:
    """Without the state: a reused image says ``pinned`` of what is ``kept`` for a later job."""
    return (base.reference, base.digest, base.diff_ids)


def _oci_base_agrees(labels: StageLabels, config: ImageConfig) -> bool:
    return config.labels.get(OCI_BASE_DIGEST, "") == str(labels.base.digest or "")


def _verify_base(name: str, recorded: PlatformRecord, pins: PinSet, where: Location) -> Iterator[Finding]:
    base, rebuild = recorded.base, "build again in this scope"
    if base.state is BaseState.KEPT and any(label.startswith(BASE_DIGEST) for stage in recorded.stages for label, _ in stage.inputs):
        message = f"expected {name!r} on a pinned base, because its digest is an input of the stage signature, found {base.digest} kept"
        yield _error("base-pinned", message, where, rebuild)
    if base.state is not BaseState.PINNED or base.reference is None:
        return
    pin = pins.get(parse_reference(base.reference), where)
    # A FROM may name a platform of its own, or leave it to the engine: then it is built on the index, or on another platform's manifest.
    if base.digest not in {pin.digest, *pin.platforms.values()}:
        message = f"expected {name!r} on {base.reference} pinned to {pin.digest or 'no digest'}, found it built on {base.digest}"
        yield _error("base-pinned", message, where, rebuild)


def _error(rule: str, message: str, where: Location | None, hint: str) -> Finding:
    return Finding(rule, Severity.ERROR, message, where, hint)
