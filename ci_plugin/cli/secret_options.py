"""``--secret`` and ``--ssh`` of a Dockerfile alone, in the words of ``docker build``; nothing is read here."""

from __future__ import annotations

from collections.abc import Iterable

from ci_plugin.config.parts import Placed, Secret, SecretValue
from ci_plugin.errors import InputError, Location

_SECRET, _SSH = Location("--secret"), Location("--ssh")
_HINT = "write --secret id=NAME,env=VARIABLE or --secret id=NAME,src=FILE"
_SPELLINGS = {"source": "src", "src": "src", "env": "env", "id": "id", "type": "type"}


def parse_secrets(texts: Iterable[str]) -> tuple[Secret, ...]:
    """``id=NAME[,env=VARIABLE|,src=FILE]`` each; an id alone is the name of its variable. Raises InputError, also for an id given twice."""
    found: dict[str, Secret] = {}
    for text in texts:
        secret = _parse_secret(text)
        if secret.id in found:
            raise InputError(f"expected every secret's id once, found {secret.id[:100]!r} again", hint="rename one", where=_SECRET)
        found[secret.id] = secret
    return tuple(found.values())


def parse_agents(texts: Iterable[str]) -> Placed[str] | None:
    """``default``, ``ID`` or ``ID=SOCKET`` each, as ``ssh`` of a configuration has them: one a line; None where there is none."""
    lines = [text.strip() for text in texts if text.strip()]
    return Placed("\n".join(lines), _SSH) if lines else None


def _parse_secret(text: str) -> Secret:
    given: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        key = _SPELLINGS.get(name.lower())
        if key is None or not equals or not value or key in given:
            raise InputError(f"expected id=NAME[,env=VARIABLE|,src=FILE], found {text[:100]!r}", hint=_HINT, where=_SECRET)
        given[key] = value
    if "id" not in given or ("env" in given and "src" in given):
        raise InputError(f"expected an id and one of env and src, found {text[:100]!r}", hint=_HINT, where=_SECRET)
    if given.get("type") == "env" and "src" in given:  # docker's other way to say env
        return Secret(given["id"], SecretValue(env=given["src"]), _SECRET)
    if "src" in given or given.get("type") == "file":
        return Secret(given["id"], SecretValue(src=given.get("src", given["id"])), _SECRET)
    return Secret(given["id"], SecretValue(env=given.get("env", given["id"])), _SECRET)
