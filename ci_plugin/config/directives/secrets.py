"""``secrets``: an id with exactly one of ``env``, ``src``, ``value``. Values are never shown."""

from __future__ import annotations

import posixpath

from ci_plugin.config.parts import Secret, SecretValue
from ci_plugin.config.readers import read_name
from ci_plugin.config.sections import Key, Section, Table, mappings
from ci_plugin.config.yaml_nodes import read_text
from ci_plugin.errors import ConfigError

ID = Key("id", read_name, "The name commands find it by: /run/secrets/ID")
ENV = Key("env", read_name, "Name of the environment variable that holds it")
SRC = Key("src", read_name, "Path of the file that holds it")
VALUE = Key("value", read_text, "The value itself; better one of the others")
SOURCES: tuple[Key[str], ...] = (ENV, SRC, VALUE)
SECRETS = mappings("secrets", Table.of((ID, *SOURCES)), "What commands of the build may read and no image keeps")


def read_secret_value(section: Section) -> SecretValue:
    """Exactly one of the three. Raises ConfigError, which never shows the value."""
    given = [key for key in SOURCES if section.has(key)]
    if len(given) != 1:
        found = " and ".join(f"`{key.name}`" for key in given) or "none of them"
        raise section.error(f"expected one of `env`, `src` and `value`, found {found}", "keep one of them", given[1] if given else None)
    return SecretValue(section.get(ENV), section.get(SRC), section.get(VALUE))


def read_secrets(image: Section) -> tuple[Secret, ...]:
    """The secrets of an image, each id once; collects what is wrong."""
    found: dict[str, Secret] = {}
    for section in image.open_each(SECRETS):
        with image.problems.collect():
            secret = _secret(section)
            if (first := found.setdefault(secret.id, secret)) is not secret:
                message = f"expected every secret's id once, found {secret.id[:100]!r} again (first at {first.location})"
                raise ConfigError(message, hint="rename one of the two", where=secret.location)
    return tuple(found.values())


def _secret(section: Section) -> Secret:
    source = read_secret_value(section)
    name = section.get(ID) or source.env or (posixpath.basename(source.src) if source.src else None)
    if not name:
        raise section.error("expected an `id` for a secret with a `value`, found none", "write `id: NAME`")
    return Secret(name, source, section.where(ID) if section.has(ID) else section.node.location)
