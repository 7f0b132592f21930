"""The config of a child image: the parent's, whole, with one stage's changes; what the engine's commit cannot say; Docker's own history.

The rules of the commit, from moby ``daemon/commit.go`` (``merge``), measured on 20.10.24 and held by tests/contract: what the config to
commit leaves empty is filled from the *container's* config, which has all of the image's. So a commit adds and replaces, and Cmd and
Entrypoint are emptied by ``[]``, but it takes no variable, label, volume, user, working directory or health check time away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ci_plugin.ports import ImageChange

STAGE_COMMENT, CONFIG_COMMENT = "stagepin", "stagepin: config"
"""All that the image's history says of a stage: commands may hold what nobody else should read."""
_TIMES = ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")
_STEPS_WITHOUT_LAYER = (
    "ENV",
    "LABEL",
    "CMD",
    "ENTRYPOINT",
    "EXPOSE",
    "USER",
    "ARG",
    "VOLUME",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "SHELL",
    "ONBUILD",
)


def changed_config(config: Mapping[str, Any], change: ImageChange) -> dict[str, Any]:
    """The config to commit: empty lists where the engine would fill in the container's own."""
    kept = _without(config, change)
    changed = {**kept, "Env": _added_env(kept.get("Env") or (), change.env), "Labels": {**(kept.get("Labels") or {}), **change.labels}}
    changed["Entrypoint"] = list(kept.get("Entrypoint") or ()) if change.entrypoint is None else list(change.entrypoint)
    changed["Cmd"] = list(kept.get("Cmd") or ()) if change.cmd is None else list(change.cmd)
    if change.volumes:
        changed["Volumes"] = {**(kept.get("Volumes") or {}), **{path: {} for path in change.volumes}}
    if change.expose:
        ports: dict[str, object] = {port: {} for text in change.expose for port in exposed_ports(text)}
        changed["ExposedPorts"] = {**(kept.get("ExposedPorts") or {}), **ports}
    single = {"WorkingDir": change.workdir, "User": change.user, "StopSignal": change.stop_signal}
    changed |= {key: value for key, value in single.items() if value}
    if change.healthcheck or change.healthcheck_times:
        check = {"Test": list(change.healthcheck)} if change.healthcheck else dict(kept.get("Healthcheck") or {})
        changed["Healthcheck"] = {**check, **change.healthcheck_times}
    return changed


def exceeds_commit(config: Mapping[str, Any], change: ImageChange) -> bool:
    """Whether the child's config takes something away that a commit would fill in again, or has no history."""
    changed = changed_config(config, change)
    lost = any(set(_names(config, key)) - set(_names(changed, key)) for key in ("Env", "Labels", "Volumes"))
    emptied = any(config.get(key) and not changed.get(key) for key in ("User", "WorkingDir"))
    times = [(config.get("Healthcheck") or {}, changed.get("Healthcheck") or {})]
    untimed = any(old.get(key) and not new.get(key) for old, new in times for key in _TIMES)
    return change.clear_history or lost or emptied or untimed


def exposed_ports(text: str) -> tuple[str, ...]:
    """``80`` → ``80/tcp``; ``8000-8002/udp`` → three ports. What is no port goes through as it is: the engine says what it thinks of it."""
    ports, _, protocol = text.partition("/")
    first, _, last = ports.partition("-")
    suffix = f"/{protocol.lower() or 'tcp'}"
    if first.isdigit() and last.isdigit() and int(first) <= int(last) <= 65535:
        return tuple(f"{port}{suffix}" for port in range(int(first), int(last) + 1))
    return (ports + suffix,)


def history_entries(steps: Sequence[Mapping[str, Any]], layers: int) -> list[dict[str, Any]]:
    """The config's history (OCI image-spec, config.md) from the engine's answer, which is newest first and knows sizes alone.

    Which steps made a layer of no bytes is told by their text where that is needed; none where the history names fewer than there are.
    """
    oldest_first = list(reversed(steps))
    ranked = sorted(range(len(oldest_first)), key=lambda number: _rank(oldest_first[number]))
    with_layer = set(ranked[:layers])
    if len(with_layer) < layers:
        return []
    return [_entry(step, number in with_layer) for number, step in enumerate(oldest_first)]


def _rank(step: Mapping[str, Any]) -> int:
    """0 surely made a layer, 1 may have made one, 2 hardly did."""
    if step.get("Size"):
        return 0
    if step.get("Comment") == CONFIG_COMMENT:
        return 2
    words = str(step.get("CreatedBy") or "").rpartition("#(nop)")[2].split()
    return 2 if words and words[0] in _STEPS_WITHOUT_LAYER else 1


def _entry(step: Mapping[str, Any], with_layer: bool) -> dict[str, Any]:
    created = datetime.fromtimestamp(max(0, int(step.get("Created") or 0)), UTC).isoformat().replace("+00:00", "Z")
    texts = {"created_by": step.get("CreatedBy"), "comment": step.get("Comment")}
    entry: dict[str, Any] = {"created": created, **{key: text for key, text in texts.items() if text}}
    return entry if with_layer else {**entry, "empty_layer": True}


def _without(config: Mapping[str, Any], change: ImageChange) -> dict[str, Any]:
    kept = {key: value for key, value in config.items() if key not in change.cleared}
    kept["Env"] = [item for item in config.get("Env") or () if item.partition("=")[0] not in change.removed_env]
    kept["Labels"] = {name: value for name, value in (config.get("Labels") or {}).items() if name not in change.removed_labels}
    if volumes := config.get("Volumes"):
        kept["Volumes"] = {path: value for path, value in volumes.items() if path not in change.removed_volumes}
    return kept


def _names(config: Mapping[str, Any], key: str) -> Iterable[str]:
    return (str(item).partition("=")[0] if key == "Env" else str(item) for item in config.get(key) or ())


def _added_env(env: Iterable[str], added: Mapping[str, str]) -> list[str]:
    """The parent's variables in their order with new values in place, then the new ones."""
    kept = [f"{name}={added.get(name, value)}" for name, _, value in (item.partition("=") for item in env)]
    known = {item.partition("=")[0] for item in kept}
    return kept + [f"{name}={value}" for name, value in added.items() if name not in known]
