"""What a stage's commands find around them: mounted directories, secrets, the network."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ci_plugin.config.parts import Mount, MountKind, Secret
from ci_plugin.conveyor.stage import RunCommands
from ci_plugin.errors import InputError
from ci_plugin.ports import MountedDirectory, RunSettings
from ci_plugin.services.stage_work.secrets import AgentReader, no_agents
from ci_plugin.values.canonical import sha256_hex

SecretReader = Callable[[Sequence[Secret]], Mapping[str, bytes]]
"""Secrets of an image → their bytes by id; raises InputError for one that cannot be read."""


def no_secrets(secrets: Sequence[Secret]) -> Mapping[str, bytes]:
    """Where nobody said how secrets are read, there must be none."""
    if secrets:
        raise InputError(f"expected no secrets in this build, found {', '.join(secret.id for secret in secrets)}")
    return {}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What mounts and secrets are found by. ``project`` names it; ``directory`` is its own, ``home`` that of whoever builds."""

    project: str = ""
    directory: Path = Path()
    home: Path | None = None
    secrets: SecretReader = no_secrets
    agents: AgentReader = no_agents

    def settings(self, work: RunCommands) -> RunSettings:
        """The settings of one stage. Raises InputError for a ``~`` without a home directory, and for a secret that cannot be read."""
        mounts = tuple(self._mounted(mount) for mount in work.mounts)
        return RunSettings(mounts, self.secrets(work.secrets) if work.secrets else {}, work.network)

    def _mounted(self, mount: Mount) -> MountedDirectory:
        match mount.kind:
            case MountKind.TMP_DIR:
                return MountedDirectory("fresh", mount.to)
            case MountKind.BUILD_DIR:
                return MountedDirectory("kept", mount.to, f"stagepin-build-{sha256_hex((self.project, mount.to))[:32]}")
            case MountKind.PATH:
                return MountedDirectory("host", mount.to, self._host_path(mount))

    def _host_path(self, mount: Mount) -> str:
        """``~`` is the home directory; what is not absolute lies in the project directory."""
        path = mount.path or "."
        if path == "~" or path.startswith("~/"):
            if self.home is None:
                raise InputError(
                    f"expected a home directory for the mount {path}, found none",
                    hint="set HOME, or write the whole path",
                    where=mount.location,
                )
            path = f"{self.home}{path[1:]}"
        return posixpath.normpath(posixpath.join(self.directory.absolute().as_posix(), path))
