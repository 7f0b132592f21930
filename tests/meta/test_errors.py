"""Every error has an exit code, and the tree that ci_plugin/errors.py draws is the tree there is."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import ci_plugin
from ci_plugin import errors
from ci_plugin.errors import StagepinError

_DRAWN = re.compile(r"^(?P<indent>[ │]*)[├└]── (?P<name>\w+) +(?P<code>\d)  \S", re.MULTILINE)


def _all_errors(parent: type[StagepinError] = StagepinError) -> Iterator[type[StagepinError]]:
    for child in parent.__subclasses__():
        if not child.__module__.startswith("ci_plugin."):
            continue  # a test's own
        yield child
        yield from _all_errors(child)


def _import_everything() -> None:
    for module in pkgutil.walk_packages(ci_plugin.__path__, "ci_plugin."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _drawn_tree() -> dict[str, tuple[str, int]]:
    """Name → (parent's name, exit code), as drawn; a level is four columns, and the first is indented by four."""
    tree: dict[str, tuple[str, int]] = {}
    ancestors = ["StagepinError"]
    for line in _DRAWN.finditer(errors.__doc__ or ""):
        level = len(line["indent"]) // 4
        tree[line["name"]] = (ancestors[level - 1], int(line["code"]))
        ancestors[level:] = [line["name"]]
    return tree


def test_every_error_ends_the_process_with_a_documented_code() -> None:
    _import_everything()
    assert {error.exit_code for error in _all_errors()} == {1, 2, 3, 4}


def test_the_drawn_tree_names_every_error_its_parent_and_its_exit_code() -> None:
    _import_everything()
    public = [error for error in _all_errors() if not error.__name__.startswith("_")]  # a private one never leaves its module
    found = {error.__name__: (error.__bases__[0].__name__, error.exit_code) for error in public}
    assert _drawn_tree() == found


def test_only_what_may_pass_by_itself_is_worth_a_retry() -> None:
    _import_everything()
    assert {error.exit_code for error in _all_errors() if error.temporary} == {3}
