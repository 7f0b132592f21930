"""Images of the configuration that a Dockerfile is told of and may begin with: ``FROM $APP``, where ``dependencies`` say what APP is.

What such an image is called is known when it is built. Until then it has a stand-in, which no registry answers to and nothing asks for.
An ID or a digest alone is no name that a FROM takes: an image whose name has one in it is refused, for with the argument's default, or
none, another image would be built on than the one that was meant.
"""

from __future__ import annotations

from collections.abc import Mapping

from ci_plugin.config.model import DockerfileImage
from ci_plugin.errors import ConfigError, Location
from ci_plugin.values.canonical import sha256_hex
from ci_plugin.values.digest import Digest
from ci_plugin.values.reference import Reference, Repository

_REGISTRY = "stagepin.invalid"
_TAG = "told-by-stagepin"
_DIGEST = str(Digest.of(b"told by stagepin"))


def stand_in(image: str) -> Reference:
    """What stands for an image of the configuration."""
    return Repository(_REGISTRY, sha256_hex(image)[:32]).tagged(_TAG)


def is_parent(reference: Reference, image: DockerfileImage) -> bool:
    """Whether a reference stands for an image that this one is told of, by its tag or its digest."""
    is_whole = (reference.tag, str(reference.digest or "")) in ((_TAG, ""), (None, _DIGEST))
    return is_whole and any(reference.repository == stand_in(item.image).repository for item in image.dependencies)


def parent_args(image: DockerfileImage) -> Mapping[str, str]:
    """A stand-in for every build argument that another image's facts are told by; each is text that such a fact could be."""
    found: dict[str, str] = {}
    for item in image.dependencies:
        name = stand_in(item.image)
        values = {"ImageName": str(name), "ImageRepo": str(name.repository), "ImageTag": _TAG, "ImageID": _DIGEST, "ImageDigest": _DIGEST}
        found |= {fact.target: values[fact.type] for fact in item.imports}
    return found


def find_parent_fault(reference: Reference, image: DockerfileImage, where: Location) -> ConfigError | None:
    """What is wrong with an image that is named by such arguments and is none of those; None for any other."""
    if is_parent(reference, image) or not any(text in str(reference) for text in (_REGISTRY, _TAG, _DIGEST)):
        return None
    told = ", ".join(f"{fact.target} from {item.image!r}" for item in image.dependencies for fact in item.imports)
    return ConfigError(
        f"expected a FROM by ImageName, or by ImageRepo with ImageTag or ImageDigest, found one by another part of what is told ({told})",
        hint="write `type: ImageName` with `targetBuildArg: BASE`, and `FROM $BASE`",
        where=where,
    )
