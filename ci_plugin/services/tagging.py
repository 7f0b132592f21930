"""``--tag``: more names for final images, from a template, set when all of a build is there.

What is filled in is made a part of a tag first: every run of characters that a tag cannot hold becomes one ``-``, and ``.`` and ``-`` at
either end go (``feature/x`` gives ``feature-x``). Two refs may so give one tag; who was last has it, as with any tag that moves.
Every tag is known, and refused, before anything is built. The names of stages, indexes, listings, pins and candidates are ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ci_plugin.errors import InputError, StagepinError
from ci_plugin.services.finishing import FinishedImage
from ci_plugin.values.reference import Reference

PLACEHOLDERS = ("image", "commit", "ref", "scope")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_OURS = re.compile(r"[0-9a-f]{64}(-.*)?|(listing|reuse)-[0-9a-f]{64}(-.*)?|stagepin-.*", re.ASCII)

SetTag = Callable[[str, FinishedImage], Reference]
"""Gives a finished image a tag, moving it where it is on another image; returns the name it has now."""


@dataclass(frozen=True, slots=True)
class TagFacts:
    """What templates are filled with besides the image's name; ``ref`` is the branch or tag, None where there is none."""

    commit: str
    ref: str | None
    scope: str


@dataclass(frozen=True, slots=True)
class Tagged:
    """Image name → the tags it got, and what went wrong with the others."""

    tags: Mapping[str, tuple[str, ...]]
    failed: tuple[StagepinError, ...] = ()


def fill_tags(templates: Sequence[str], images: Sequence[str], facts: TagFacts) -> Mapping[str, tuple[str, ...]]:
    """Image name → its tags, in the order of the templates. Raises InputError for a template that gives no tag, or two images one."""
    owners: dict[str, str] = {}
    for template in templates:
        for image in images:
            tag = _fill(template, image, facts)
            if owners.setdefault(tag, image) != image:
                raise InputError(
                    f"expected a tag for each image, found that --tag {template!r} gives {owners[tag]!r} and {image!r} the same, {tag}",
                    hint="write {image} into the template: --tag '{image}-{ref}'",
                )
    return {image: tuple(tag for tag, owner in owners.items() if owner == image) for image in images}


def set_tags(finished: Sequence[FinishedImage], tags: Mapping[str, tuple[str, ...]], set_tag: SetTag) -> Tagged:
    """Set all of them; one that fails does not keep the others from being set."""
    done: dict[str, tuple[str, ...]] = {}
    failed: list[StagepinError] = []
    for image in finished:
        for tag in tags.get(image.plan.name, ()):
            try:
                set_tag(tag, image)
            except StagepinError as error:
                error.message = f"tag {tag} of image {image.plan.name!r} is not set: {error.message}"
                failed.append(error)
            else:
                done[image.plan.name] = (*done.get(image.plan.name, ()), tag)
    return Tagged(done, tuple(failed))


def _fill(template: str, image: str, facts: TagFacts) -> str:
    values = {"image": image, "commit": facts.commit, "ref": facts.ref, "scope": facts.scope}

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in values:
            raise InputError(
                f"expected {', '.join(f'{{{one}}}' for one in PLACEHOLDERS)} in --tag, found {match[0][:50]!r} in {template[:150]!r}",
                hint="there are no others, and no formats in them",
            )
        text = values[name]
        if text is None:
            raise InputError(
                f"expected a branch or tag for {{ref}} in --tag {template[:150]!r}, found none: HEAD is detached",
                hint="check a branch out, or write {commit} instead",
            )
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip(".-")

    tag = _PLACEHOLDER.sub(value, template)
    if not _TAG.fullmatch(tag):
        raise InputError(
            f"expected a tag of 1 to 128 characters [A-Za-z0-9_.-] that begins with none of .-, found {tag[:150]!r} "
            f"({len(tag)} characters) from --tag {template[:150]!r}",
            hint="a tag is the part after the colon; the repository is --repo",
        )
    if _OURS.fullmatch(tag):
        raise InputError(
            f"expected a tag of your own, found {tag[:150]!r} from --tag {template[:150]!r}",
            hint="stagepin keeps stages and pins under such names; put a word of your own before it",
        )
    return tag
