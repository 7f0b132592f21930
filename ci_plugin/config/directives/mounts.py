"""``mount``: a directory for the commands of a build: ``tmp_dir``, ``build_dir``, or one of the build machine (``fromPath``)."""

from __future__ import annotations

from ci_plugin.config.directives.selection import TO
from ci_plugin.config.parts import Mount, MountKind
from ci_plugin.config.readers import read_name
from ci_plugin.config.sections import Key, Section, Table, mappings, takes
from ci_plugin.config.yaml_nodes import Node, read_text
from ci_plugin.errors import ConfigError

_KINDS = {kind.value: kind for kind in (MountKind.TMP_DIR, MountKind.BUILD_DIR)}


@takes({"enum": [*_KINDS, None]})
def _read_kind(node: Node) -> MountKind:
    text = read_text(node)
    if text not in _KINDS:
        hint = "write tmp_dir or build_dir; a directory of the build machine goes in `fromPath`"
        raise ConfigError(f"expected tmp_dir or build_dir, found {text[:100]!r}", hint=hint, where=node.location)
    return _KINDS[text]


FROM = Key("from", _read_kind, "tmp_dir: empty for every build; build_dir: kept for the project")
FROM_PATH = Key("fromPath", read_name, "A directory of the build machine")
MOUNT = mappings("mount", Table.of((TO, FROM, FROM_PATH), required=("to",)), "Directories the commands see and the image does not keep")


def read_mounts(image: Section) -> tuple[Mount, ...]:
    """The mounts of an image, one for every target; collects what is wrong."""
    found: dict[str, Mount] = {}
    for section in image.open_each(MOUNT):
        with image.problems.collect():
            mount = _mount(section)
            if (first := found.setdefault(mount.to, mount)) is not mount:
                message = f"expected one mount for every `to`, found {mount.to[:100]!r} again (first at {first.location})"
                raise ConfigError(message, hint="remove one of the two", where=mount.location)
    return tuple(found.values())


def _mount(section: Section) -> Mount:
    target, kind, path = section.get(TO), section.get(FROM), section.get(FROM_PATH)
    if target is None:
        raise section.error("expected `to` in a mount, found none", "write `to: /var/cache/apt`, an absolute path in the image")
    if (kind is None) is (path is None):
        found = "neither" if kind is None else "both"
        hint = "write `from: tmp_dir`, `from: build_dir` or `fromPath: DIRECTORY`"
        raise section.error(f"expected one of `from` and `fromPath`, found {found}", hint, FROM_PATH if kind else None)
    return Mount(kind or MountKind.PATH, target, section.node.location, path)
