"""Build arguments that ``dependencies`` sets: their values are known only when the other image is there, so no FROM can be told by them.

A Dockerfile is read with a stand-in for each of them, and an image whose name has a stand-in in it is refused: with the argument's default,
or none, another image would be built on than the one that was meant.
"""

from __future__ import annotations

from collections.abc import Mapping

from ci_plugin.config.model import DockerfileImage
from ci_plugin.errors import ConfigError, Location
from ci_plugin.values.digest import Digest
from ci_plugin.values.reference import Reference

_NAME = "stagepin.invalid/told"
_TAG = "told-by-stagepin"
_DIGEST = str(Digest.of(b"told by stagepin"))
_STAND_INS = {"ImageName": f"{_NAME}:{_TAG}", "ImageRepo": _NAME, "ImageTag": _TAG, "ImageID": _DIGEST, "ImageDigest": _DIGEST}


def told_arguments(image: DockerfileImage) -> Mapping[str, str]:
    """A stand-in for every build argument that another image's facts are told by; each is text that such a fact could be."""
    return {fact.target: _STAND_INS[fact.type] for dependency in image.dependencies for fact in dependency.imports}


def find_told_fault(reference: Reference, image: DockerfileImage, where: Location) -> ConfigError | None:
    """What is wrong with an image that is named by such an argument; None for any other."""
    if not any(text in str(reference) for text in (_NAME, _TAG, _DIGEST)):
        return None
    told = ", ".join(f"{fact.target} from {item.image!r}" for item in image.dependencies for fact in item.imports)
    return ConfigError(
        f"expected an image whose name is known before anything is built, found one by a build argument that `dependencies` sets ({told})",
        hint="build this image by stages, with `fromImage` or `import`; a RUN of a Dockerfile may use such arguments, a FROM may not",
        where=where,
    )
