"""Recorded images as rows for people: one for each image, and where it is an index one more for each platform in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ci_plugin.records.build_record import ImageRecord, PlatformRecord


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One row; ``platform`` is None for an index, which has no base of its own. ``name`` says the platform where there are several."""

    name: str
    reference: str
    digest: str
    platform: PlatformRecord | None


def image_rows(images: Mapping[str, ImageRecord]) -> Iterator[ImageRow]:
    """The rows in the order of the record. In ``:local``, where nothing has a digest, the image ID stands for it."""
    for name, image in images.items():
        has_several = len(image.platforms) > 1
        if has_several and image.digest:
            yield ImageRow(name, str(image.reference), str(image.digest), None)
        for platform, record in image.platforms.items():
            title = f"{name} ({platform})" if has_several else name
            yield ImageRow(title, _reference(image, record), str(record.digest or record.image_id), record)


def record_rows(images: Mapping[str, ImageRecord]) -> list[tuple[str, str, str, str]]:
    """Name, reference, state of the base, digest of the base."""
    return [(row.name, row.reference, *_base(row.platform)) for row in image_rows(images)]


def _base(platform: PlatformRecord | None) -> tuple[str, str]:
    if platform is None:
        return "-", "-"
    return platform.base.state.value, str(platform.base.digest or platform.base.reference or "-")


def _reference(image: ImageRecord, platform: PlatformRecord) -> str:
    if image.reference and platform.digest:
        return str(image.reference.repository.at(platform.digest))
    return str(platform.image_id)
