"""An older dialect rewritten in the newest: dapp's dappfile and werf 1.0 and 1.1 in the words of werf 2, as strict as werf 3 reads them.

Rules. Text is edited where a directive of the rendered configuration was written, and nowhere else: comments, templates, order and spacing
stay. What stands in a form that cannot be edited safely, or in a branch of a template that this run did not take, is listed with its place.
The result is parsed again and has to build the same; otherwise nothing is given out. Migrating a second time changes nothing.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace

from ci_plugin.config.dialects import DAPP, WERF
from ci_plugin.config.edits import Edits
from ci_plugin.config.go_scalars import resolve_plain
from ci_plugin.config.load import load_configuration
from ci_plugin.config.model import Configuration, DockerfileImage, ExternalBase, ImageBase, StapelImage
from ci_plugin.config.rendering import RenderedConfiguration, render_configuration
from ci_plugin.config.source import Source, decode, is_dappfile
from ci_plugin.config.template import DAPP_TEMPLATES, TEMPLATES
from ci_plugin.config.yaml_nodes import ListNode, MapNode, Node, ScalarNode, parse_documents
from ci_plugin.errors import ConfigError, Location
from ci_plugin.values.reference import Reference, is_scratch

NEW_FILE = "werf.yaml"
_RENAMED = {DAPP.image.name: WERF.image.name, "contextAddFile": "contextAddFiles"}
_BASES = ("fromDimg", "fromDimgArtifact", "fromImage", "fromImageArtifact", "fromArtifact")
_ADMISSIONS = ("herebyIAdmitThatFromLatestMightBreakReproducibility", "herebyIAdmitThatBranchMightBreakReproducibility")
_OLD_WORD = re.compile(rf"^\s*(?:- +)?({'|'.join((*_RENAMED, *_BASES, *_ADMISSIONS, 'artifact', 'asLayers'))})\s*:", re.MULTILINE)
_ENV_CALL = re.compile(r"""(?<![\w.$"`-])(env[ \t]+(?:"[^"\\]*"|`[^`]*`|[$.][\w.]*))(?=[ \t]*(?:\||\)|-?\}\}))""")
"""``env`` of one name and no default."""
_NO_VALUE = ("", "~", "null")
_META = "project: {}\nconfigVersion: 1\n"


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to know of a migration; ``kind`` is ``edited``, ``by-hand``, ``meaning``, ``no-counterpart`` or ``drift``."""

    kind: str
    text: str
    location: Location | None

    def __str__(self) -> str:
        return f"{self.location}: {self.text}" if self.location else self.text


@dataclass(frozen=True, slots=True)
class Migration:
    """``texts``: path → new text of every file that changes; ``main`` is the configuration's path from now on, ``old`` until now."""

    old: str
    main: str
    text: str
    texts: Mapping[str, str]
    read: Mapping[str, bytes]
    """The bytes each changed file had when it was read."""
    remarks: tuple[Remark, ...]
    moved: tuple[str, ...] = ()
    """Templates that are in ``texts`` by another path, and are not needed where they were."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to do by hand."""
        return all(remark.kind != "by-hand" for remark in self.remarks)


def migrate(source: Source, project: str, config_file: str | None = None) -> Migration:
    """The configuration in the newest dialect; ``project`` is what the repository is called.

    Raises ConfigError for one that is broken, or that would build something else afterwards.
    """
    rendered = render_configuration(source, config_file)
    main = _new_name(source, rendered.file)
    given, project = project, project if main == rendered.file else project_name(project)
    before = load_configuration(source, project, config_file=rendered.file)
    edits = Edits({path: decode(data, path) for path in rendered.files if (data := source.find_file(path)) is not None})
    _Rewriting(before, rendered, edits).run()
    taken = _taken_lines(rendered)
    edits.rename_elsewhere(lambda where: (where.file, where.line) in taken)
    left = tuple(_left(source, taken, edits, is_dapp=main != rendered.file))
    if main != rendered.file:
        _keep_unset(edits, (rendered.file, *_moved(source)))
        _add_meta(edits, rendered.file, before.project)
    named = _named(given, before.project, Location(main, 1)) if main != rendered.file else ()
    remarks = (*named, *_edited(edits), *left, *_drift(before))
    moved = _moved(source) if main != rendered.file else {}
    new_path = {rendered.file: main, **moved}
    kept = {path: decode(data, path) for path in moved if (data := source.find_file(path)) is not None}
    texts = {new_path.get(path, path): text for path, text in (kept | edits.changed()).items()}
    migration = Migration(
        rendered.file,
        main,
        texts.get(main, rendered.written),
        texts,
        {path: data for path in edits.changed() if (data := source.find_file(path)) is not None},
        remarks,
        tuple(moved),
    )
    if migration.is_whole:
        _prove(source, project, before, migration)
    return migration


def _new_name(source: Source, file: str) -> str:
    if not is_dappfile(file):
        return file
    main = posixpath.join(posixpath.dirname(file), NEW_FILE)
    if source.find_file(main) is not None:
        hint = f"remove one of the two: {main} is the one that is read"
        raise ConfigError(f"expected no {main} beside {file}, found one", hint=hint, where=Location(file))
    return main


def project_name(text: str) -> str:
    """What a repository is called, as werf takes it for ``project``: lower-case letters, digits and single dashes, at most 50."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:50].strip("-") or "app"


def _scalar(text: str) -> str:
    """The text as YAML has it: ``null`` and ``12`` in quotes."""
    return text if isinstance(resolve_plain(text), str) else f'"{text}"'


def _named(given: str, project: str, where: Location) -> Iterator[Remark]:
    made = f" (made of {given!r}, which werf would not take)" if project != given else ""
    yield Remark("edited", f"`project: {project}` is new{made}: dapp took the repository's name; write another if you have one", where)


def _add_meta(edits: Edits, file: str, project: str) -> None:
    """The document about the project, which dapp had not. A template that begins with ``{{-`` would eat the line break before it."""
    text = edits.texts[file]
    meta = _META.format(_scalar(project))
    if text.lstrip().startswith("{{-"):
        edits.append(file, f"\n---\n{meta}")
    else:
        edits.prepend(file, meta if text.startswith("---\n") else f"{meta}---\n")


def _keep_unset(edits: Edits, files: Iterable[str]) -> None:
    """A variable that is not set was the empty text to dapp, and is an error to werf where no default stands."""
    for file in files:
        if file in edits.texts:
            edits.in_actions(
                file, _ENV_CALL, r'\1 ""', "`env` has a default: a variable that is not set stays the empty text it was to dapp"
            )


class _Rewriting:
    """Walks the documents and edits what has a newer word."""

    def __init__(self, before: Configuration, rendered: RenderedConfiguration, edits: Edits) -> None:
        self._before = before
        self._rendered = rendered
        self._edits = edits
        self._is_dapp = before.dialect == DAPP.name
        self._names = {image.name for image in before}

    def run(self) -> None:
        text, place_of = self._rendered.text, self._rendered.place_of
        for document in parse_documents(text, self._rendered.file, place_of):
            if isinstance(document, MapNode):
                self._document(document)

    def _document(self, node: MapNode) -> None:
        keys = {key.text: (key, value) for key, value in node.entries}
        if not keys.keys() & {"image", "dimg", "artifact"}:
            return
        for key, value in node.entries:
            self._entry(key, value, keys)

    def _entry(self, key: ScalarNode, value: Node, keys: Mapping[str, tuple[ScalarNode, Node]]) -> None:
        edits, word = self._edits, key.text
        if word == "artifact":
            edits.rename(key, "image", "`artifact` is `image` with `final: false`")
            lines = ["final: false"]
            if "git" in keys and "disableGitAfterPatch" not in keys:
                lines.append("disableGitAfterPatch: true")
            edits.insert_after(key, value, lines)
        elif word in _RENAMED:
            edits.rename(key, _RENAMED[word], f"`{word}` is `{_RENAMED[word]}`")
        elif word in _BASES:
            edits.rename(key, "from", f"`{word}` is `from`")
        elif word == "from" and isinstance(value, ScalarNode):
            self._from(key, value)
        elif word in _ADMISSIONS:
            edits.remove(key, value, f"`{word}` is not needed any more: pins make it safe")
        elif word == "asLayers":
            edits.remove(key, value, "`asLayers` has no counterpart: it cut layers for debugging, the files are the same", "no-counterpart")
        elif word in ("import", "git", "shell") and not (word == "import" and isinstance(value, ScalarNode)):
            self._below(word, value)
        if word in ("image", "dimg") and isinstance(value, ScalarNode) and value.is_null:
            what = f"the nameless image is called {self._before.project!r} now: whoever asked for it without a name asks for that one"
            edits.value(key, _NO_VALUE, _scalar(self._before.project), what, "meaning")

    def _from(self, key: ScalarNode, value: ScalarNode) -> None:
        """Werf 3 wants a tag at every base; dapp's ``from`` never meant an image of the file, werf's does."""
        text = value.text
        is_image = text in self._names and not self._is_dapp
        if value.is_null or is_scratch(text) or is_image or "@" in text or ":" in text.rpartition("/")[2]:
            return
        why = "names a registry's image, not the image of this file" if text in self._names else "says which tag it always meant"
        forms = (text, f'"{text}"', f"'{text}'")
        self._edits.value(key, forms, f"{text}:latest", f"`from: {text}:latest` {why}", is_must=text in self._names)

    def _below(self, word: str, value: Node) -> None:
        maps = [item for item in (value.items if isinstance(value, ListNode) else (value,)) if isinstance(item, MapNode)]
        for node in maps:
            for key, inner in node.entries:
                if word == "import" and key.text == "artifact":
                    self._edits.rename(key, "image", "`artifact` of an import is `image`")
                elif key.text in _ADMISSIONS:
                    self._edits.remove(key, inner, f"`{key.text}` is not needed any more: pins make it safe")
                elif key.text.startswith("buildArtifact") and self._is_dapp:
                    self._edits.by_hand(key, f"`{key.text}` has no counterpart: make it the last commands of `setup`")
                elif key.text == "stageDependencies":
                    self._below("git", inner)


def _edited(edits: Edits) -> Iterator[Remark]:
    for kind, text, where in edits.notes:
        yield Remark(kind, text, where)


def _taken_lines(rendered: RenderedConfiguration) -> set[tuple[str, int | None]]:
    """(File, line) of what gave a line of the rendered text."""
    places = (rendered.place_of(line) for line in range(1, rendered.text.count("\n") + 2))
    return {(place.file, place.line) for place in places}


def _left(source: Source, taken: set[tuple[str, int | None]], edits: Edits, *, is_dapp: bool) -> Iterator[Remark]:
    """Old words in lines that no rendered line came from: branches that were not taken, templates that nothing includes."""
    for file, text in edits.texts.items():
        for found in _OLD_WORD.finditer(text):
            where = Location(file, text.count("\n", 0, found.start(1)) + 1)
            if (where.file, where.line) not in taken and not edits.has(where):
                what = (
                    f"`{found[1]}` stands in a part of the template that this run did not take: rewrite it by hand, or run with its --env"
                )
                yield Remark("by-hand", what, where)
    there = set(source.paths())
    for old, new in _moved(source).items() if is_dapp else ():
        if new in there:
            yield Remark("by-hand", f"templates are read from {TEMPLATES} now, which has a {new} of its own", Location(old))
        else:
            yield Remark("edited", f"is {new}: templates are read from {TEMPLATES} now", Location(old))


def _moved(source: Source) -> dict[str, str]:
    """Where dapp's templates were → where werf's are."""
    paths = (path for path in sorted(source.paths()) if path.startswith(DAPP_TEMPLATES) and path.endswith(".tmpl"))
    return {path: TEMPLATES + path.removeprefix(DAPP_TEMPLATES) for path in paths}


def _drift(configuration: Configuration) -> Iterator[Remark]:
    for image in configuration:
        if isinstance(image, DockerfileImage):
            if not image.from_latest:
                what = f"image {image.name}: bases of {image.dockerfile} are frozen at the first build (add fromLatest: true)"
                yield Remark("drift", what, image.location)
        elif isinstance(image.base, ExternalBase) and image.base.reference.digest is None:
            base = image.base
            how = "pinned once per pipeline" if base.from_latest else "frozen at the first build (add fromLatest: true)"
            yield Remark("drift", f"image {image.name}: {base.reference} can move: {how}", base.location)


def _prove(source: Source, project: str, before: Configuration, migration: Migration) -> None:
    """Parse the new text and compare. Raises ConfigError where it would build something else."""
    new = {path: text.encode() for path, text in migration.texts.items()}
    overlaid = replace(
        source,
        find_file=lambda path: new[path] if path in new else source.find_file(path),
        paths=lambda: sorted({*source.paths(), *new}),
    )
    hint = "migrate this part by hand; docs/config-command.md has the table of old and new words"
    try:
        after = load_configuration(overlaid, project, config_file=migration.main)
    except ConfigError as error:
        message = f"expected the migrated text to be read, found: {error.message}"
        raise ConfigError(message, hint=hint, where=error.where) from None
    for old, new_meaning in zip(meaning(before), meaning(after), strict=False):
        if old != new_meaning:
            name = old["name"]
            changed = ", ".join(sorted(key for key in old.keys() | new_meaning.keys() if old.get(key) != new_meaning.get(key)))
            raise ConfigError(
                f"expected image {name!r} to stay as it is, found another {changed}", hint=hint, where=Location(migration.old)
            )
    if (before.project, len(before.images)) != (after.project, len(after.images)):
        raise ConfigError("expected the same project and images, found others", hint=hint, where=Location(migration.old))


def meaning(configuration: Configuration) -> list[dict[str, object]]:
    """What each image is, whatever dialect and lines it was written in: an artifact is an image that is not final."""
    return [_meaning_of(image) for image in configuration]


def _meaning_of(image: StapelImage | DockerfileImage) -> dict[str, object]:
    found = {item.name: _without_places(getattr(image, item.name)) for item in fields(image) if item.name != "location"}
    if isinstance(image, StapelImage):
        del found["is_artifact"]
        is_off = image.is_artifact or (image.disable_git_after_patch is not None and image.disable_git_after_patch.value)
        found["disable_git_after_patch"] = bool(image.git) and is_off
        if isinstance(image.base, ImageBase):
            found["base"] = ("image", image.base.image)
    return found


def _without_places(value: object) -> object:
    if isinstance(value, Location):
        return None
    if isinstance(value, Reference):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return (type(value).__name__, *((item.name, _without_places(getattr(value, item.name))) for item in fields(value)))
    if isinstance(value, Mapping):
        return {key: _without_places(item) for key, item in value.items()}
    return tuple(_without_places(item) for item in value) if isinstance(value, tuple | list) else value
