"""``git``: files of the commit or of another repository. A mapping is remote where it has a ``url``."""

from __future__ import annotations

from ci_plugin.config.directives.secrets import SOURCES, read_secret_value
from ci_plugin.config.directives.selection import SELECTION_KEYS, TO, read_selection
from ci_plugin.config.parts import GitMapping, GitRemote
from ci_plugin.config.readers import read_globs, read_name
from ci_plugin.config.sections import Key, Section, Table, mapping, mappings
from ci_plugin.config.yaml_nodes import MapNode, read_flag

URL = Key("url", read_name, "Address of another repository; the commit's own files where it is absent")
BRANCH, TAG, COMMIT = Key("branch", read_name), Key("tag", read_name), Key("commit", read_name)
ADMISSION = Key("herebyIAdmitThatBranchMightBreakReproducibility", read_flag, "werf 1.1; pins make a branch safe, so it is not needed")
USERNAME = Key("username", read_name)
PASSWORD = mapping("password", Table.of(SOURCES))
BASIC_AUTH = mapping("basicAuth", Table.of((USERNAME, PASSWORD)), "Name and password for an https url")
STAGES = tuple(Key(name, read_globs) for name in ("install", "beforeSetup", "setup"))
BUILD_ARTIFACT = Key("buildArtifact", read_globs)
STAGE_DEPENDENCIES = mapping("stageDependencies", Table.of(STAGES), "Stage: globs whose change runs it again")
DAPP_STAGE_DEPENDENCIES = mapping("stageDependencies", Table.of((*STAGES, BUILD_ARTIFACT)))
_REMOTE_KEYS: tuple[Key[object], ...] = (BRANCH, TAG, COMMIT, BASIC_AUTH, ADMISSION)
_ABOUT = "Files of the commit, or of another repository"
GIT = mappings("git", Table.of((*SELECTION_KEYS, URL, *_REMOTE_KEYS, STAGE_DEPENDENCIES), ignored=("as",)), _ABOUT)
DAPP_GIT = mappings("git", Table.of((*SELECTION_KEYS, URL, BRANCH, TAG, COMMIT, DAPP_STAGE_DEPENDENCIES), ignored=("as",)), _ABOUT)


def read_git(image: Section, key: Key[tuple[MapNode, ...]]) -> tuple[GitMapping, ...]:
    """The mappings of an image, by ``GIT`` or ``DAPP_GIT``; collects what is wrong."""
    dependencies = DAPP_STAGE_DEPENDENCIES if key is DAPP_GIT else STAGE_DEPENDENCIES
    found = []
    for section in image.open_each(key):
        with image.problems.collect():
            found.append(_mapping(section, dependencies))
    return tuple(found)


def _mapping(section: Section, dependencies: Key[MapNode]) -> GitMapping:
    if not section.has(TO):
        raise section.error("expected `to` in a git mapping, found none", "write `to: /app`, an absolute path in the image")
    stages = section.open(dependencies)
    globs = {key.name: stages.get(key) or () for key in (*STAGES, BUILD_ARTIFACT) if stages.has(key)} if stages else {}
    return GitMapping(read_selection(section, None), section.node.location, globs, _remote(section))


def _remote(section: Section) -> GitRemote | None:
    given = [key for key in (BRANCH, TAG, COMMIT) if section.has(key)]
    section.get(ADMISSION)
    url = section.get(URL)
    if url is None:
        for key in (*given, BASIC_AUTH):
            if section.has(key):
                hint = "add `url`, or remove it: the project's own files are always those of the commit"
                raise section.error(f"expected `{key.name}` only with `url`, found it without", hint, key)
        return None
    if len(given) > 1:
        found = " and ".join(f"`{key.name}`" for key in given)
        raise section.error(f"expected one of `branch`, `tag` and `commit`, found {found}", "keep one of them", given[1])
    user, password = None, None
    if auth := section.open(BASIC_AUTH):
        user = auth.get(USERNAME)
        secret = auth.open(PASSWORD)
        if user is None or secret is None:
            raise auth.error("expected `username` and `password` in `basicAuth`, found one of them missing", "write both")
        password = read_secret_value(secret)
    return GitRemote(url, section.get(BRANCH), section.get(TAG), section.get(COMMIT), user, password)
