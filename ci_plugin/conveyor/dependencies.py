"""The four ``dependencies…`` stages: files of other images (``import``) and facts about them (``dependencies``)."""

from __future__ import annotations

from collections.abc import Callable

from ci_plugin.config.model import StapelImage
from ci_plugin.config.parts import Dependency, ExternalSource, ImageSource, Import, Moment, Side
from ci_plugin.conveyor.external import open_reference
from ci_plugin.conveyor.inputs import visible
from ci_plugin.conveyor.stage import SOURCE, FromExternal, Input, PlannedDependency, PlannedImport, PutDependencies, SourceStage, Unpinned
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.values.platform import Platform

SourceOf = Callable[[ImageSource], SourceStage]
"""An image of the configuration and maybe a stage of it → the stage files or facts are taken from. Raises ConfigError."""
_STAGES = (("before", "install"), ("after", "install"), ("before", "setup"), ("after", "setup"))
STAGE_NAMES = {Moment(Side(side), stage): f"dependencies{side.capitalize()}{stage.capitalize()}" for side, stage in _STAGES}


class Dependencies:
    """What one image takes from other ones, by the stage in which it does. Raises InputError for a source that was not pinned."""

    def __init__(self, image: StapelImage, platform: Platform, pins: PinSet, source: SourceOf) -> None:
        self._image, self._platform, self._pins, self._source = image, platform, pins, source

    def stage(self, moment: Moment) -> tuple[tuple[Input, ...], PutDependencies] | None:
        """The stage of that moment, or None where nothing is taken then."""
        imports = [item for item in self._image.imports if item.moment == moment]
        dependencies = [item for item in self._image.dependencies if item.moment == moment]
        if not imports and not dependencies:
            return None
        inputs: dict[str, Input] = {}
        work = PutDependencies(
            tuple(self._import(item, inputs) for item in imports),
            tuple(plan_dependency(item, self._source, inputs) for item in dependencies),
        )
        return tuple(inputs.values()), work

    def _import(self, item: Import, inputs: dict[str, Input]) -> PlannedImport:
        source = self._open(item, inputs)
        files = item.files
        value = (files.add, files.to, files.include, files.exclude, files.owner, files.group, _label_of(item))
        _put(inputs, Input(f"import {files.to}", value, f"{files.add} of {_label_of(item)}"))
        return PlannedImport(source, files)

    def _open(self, item: Import, inputs: dict[str, Input]) -> SourceStage | FromExternal | Unpinned:
        match item.source:
            case ImageSource() as named:
                source = self._source(named)
                inputs[SOURCE + _label_of(item)] = visible(SOURCE + _label_of(item), source.signature)
                return source
            case ExternalSource() as external:
                found, work = open_reference(
                    external.reference, external.location, self._platform, self._pins, from_latest=external.from_latest
                )
                for one in found:
                    label = f"{one.label.replace('base.', 'import.', 1)} {external.reference}"
                    inputs[label] = Input(label, one.value, one.shown)
                return work


def plan_dependency(item: Dependency, source: SourceOf, inputs: dict[str, Input]) -> PlannedDependency:
    """The facts an image or a Dockerfile's build takes from another image; their inputs are added to ``inputs``."""
    found = source(ImageSource(item.image, item.location))
    label = f"{SOURCE}{item.image}"
    inputs[label] = visible(label, found.signature)
    facts = tuple((one.type, one.target) for one in item.imports)
    _put(inputs, Input(f"dependency {item.image}", facts, ", ".join(f"{target} = {fact}" for fact, target in facts) or "no fact"))
    return PlannedDependency(found, facts)


def _label_of(item: Import) -> str:
    source = item.source
    if isinstance(source, ExternalSource):
        return str(source.reference)
    return f"{source.image} after {source.stage}" if source.stage else source.image


def _put(inputs: dict[str, Input], item: Input) -> None:
    """Two imports may have one target, with other ``includePaths``; labels are unique within a stage."""
    label, count = item.label, 1
    while label in inputs:
        count += 1
        label = f"{item.label} ({count})"
    inputs[label] = Input(label, item.value, item.shown)
