"""Images of the same layers under another config, by loading an archive that names layers the engine has and holds none of them.

It is the one way to take something out of a config or to drop the history: a commit fills in again what is empty (``image_config``). The
engine takes a layer it has by its chain, without its bytes (moby ``image/tarexport/load.go``; measured on 20.10.24). An engine that keeps
images in containerd (fresh installs of 29) has no such layers and is told apart by its own ``DriverStatus``.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ci_plugin.engine.connection import EngineConnection
from ci_plugin.engine.failures import checked, engine_errors
from ci_plugin.engine.image_config import history_entries
from ci_plugin.errors import InputError, StagepinError
from ci_plugin.values.digest import ImageId
from ci_plugin.values.platform import Platform

_CONTAINERD_STORE = ["driver-type", "io.containerd.snapshotter.v1"]


class Rewriter:
    """Writes configs on one engine."""

    def __init__(self, connection: EngineConnection) -> None:
        self._connection = connection

    def rewrite(
        self, image: str, config: Mapping[str, Any], *, author: str = "", with_history: bool = True, platform: Platform | None = None
    ) -> ImageId:
        """The image's layers under exactly this config, and no name; ``platform``: what it says it is for, None as it did.

        Raises InputError where the engine cannot, Unavailable.
        """
        self._check_store()
        document = self._document(image, config, author, with_history)
        data = json.dumps(_for_platform(document, platform) if platform else document).encode()
        with engine_errors("load an image's config"):
            api: Any = self._connection.api  # the stubs leave this method untyped
            found = api.load_image(_archive(data, len(json.loads(data)["rootfs"]["diff_ids"])))
            for _ in checked(found, "load an image's config"):
                pass
        return ImageId.of(data)

    def drop(self, image: str) -> None:
        """Remove an image that was only a step on the way; one that something needs stays."""
        with suppress(StagepinError), engine_errors("remove an image"):
            self._connection.api.remove_image(image, force=True, noprune=True)

    def _check_store(self) -> None:
        with engine_errors("say how it keeps images"):
            status = self._connection.api.info().get("DriverStatus") or []
        if _CONTAINERD_STORE in status:
            raise InputError(
                "expected an engine that keeps layers by its own storage driver, to take something out of an image's config; "
                "found one with containerd's image store",
                hint="leave out what removes or clears (imageSpec), or switch containerd-snapshotter off in the engine's daemon.json",
            )

    def _document(self, image: str, config: Mapping[str, Any], author: str, with_history: bool) -> dict[str, Any]:
        with engine_errors(f"look at {image}"):
            api: Any = self._connection.api
            found = api.inspect_image(image)
            diff_ids = (found.get("RootFS") or {}).get("Layers") or []
            history = history_entries(api.history(image), len(diff_ids)) if with_history else []
        document = {"architecture": found["Architecture"], "os": found["Os"], "created": found["Created"], "config": dict(config)}
        extras = {"variant": found.get("Variant"), "os.version": found.get("OsVersion"), "author": author, "history": history}
        document |= {key: value for key, value in extras.items() if value}
        return {**document, "rootfs": {"type": "layers", "diff_ids": diff_ids}}


def _for_platform(document: Mapping[str, Any], platform: Platform) -> dict[str, Any]:
    own = {key: value for key, value in document.items() if key not in ("variant", "os.version")}
    variant = {"variant": platform.variant} if platform.variant else {}
    return {**own, "os": platform.os, "architecture": platform.architecture, **variant}


def _archive(config: bytes, layers: int) -> bytes:
    manifest = [{"Config": "config.json", "RepoTags": None, "Layers": [f"{number}/layer.tar" for number in range(layers)]}]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in (("config.json", config), ("manifest.json", json.dumps(manifest).encode())):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()
