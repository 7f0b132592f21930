"""Which files go where: ``add``, ``to``, ``includePaths``, ``excludePaths``, ``owner``, ``group``, as ``git`` and ``import`` have them."""

from __future__ import annotations

from ci_plugin.config.parts import Moment, Selection, Side
from ci_plugin.config.readers import read_absolute, read_globs, read_name
from ci_plugin.config.sections import Key, Section
from ci_plugin.config.yaml_nodes import read_text

ADD = Key("add", read_absolute, "Absolute path in the source; / where it is absent")
TO = Key("to", read_absolute, "Absolute path in the image")
INCLUDE = Key("includePaths", read_globs, "Globs below `add` that are taken; all where it is absent")
EXCLUDE = Key("excludePaths", read_globs, "Globs below `add` that are left out")
OWNER = Key("owner", read_text, "Name or number of the files' user in the image")
GROUP = Key("group", read_text, "Name or number of the files' group in the image")
SELECTION_KEYS: tuple[Key[object], ...] = (ADD, TO, INCLUDE, EXCLUDE, OWNER, GROUP)

BEFORE = Key("before", read_name, "`install` or `setup`: just before this stage")
AFTER = Key("after", read_name, "`install` or `setup`: just after this stage")
MOMENT_KEYS: tuple[Key[object], ...] = (BEFORE, AFTER)
_STAGES = ("install", "setup")


def read_selection(section: Section, to: str | None) -> Selection:
    """The files a section selects; ``to`` is the target where it names none. Raises ConfigError."""
    return Selection(
        add=section.get(ADD) or "/",
        to=section.get(TO) or to or section.get(ADD) or "/",
        include=section.get(INCLUDE) or (),
        exclude=section.get(EXCLUDE) or (),
        owner=section.get(OWNER),
        group=section.get(GROUP),
    )


def read_moment(section: Section) -> Moment:
    """When it happens: exactly one of ``before`` and ``after``, of ``install`` or ``setup``. Raises ConfigError."""
    given = [key for key in (BEFORE, AFTER) if section.has(key)]
    if len(given) != 1:
        found = "both" if given else "neither"
        hint = "write `after: install`, or another of before, after and install, setup" if not given else "keep one of them"
        raise section.error(f"expected one of `before` and `after`, found {found}", hint, given[1] if given else None)
    stage = section.get(given[0]) or ""
    if stage not in _STAGES:
        hint = "commands of beforeInstall and beforeSetup lie between them"
        raise section.error(f"expected install or setup in `{given[0].name}`, found {stage[:50]!r}", hint, given[0])
    return Moment(Side(given[0].name), stage)
