"""The pipeline script people write by hand, as a module so that the demo can run it as a job: no part of the product.

It does what shell scripts and older tools do to follow a moving base: look the base's digest up by tag, make the image's tag from it,
pull *by tag*, build, push; the deploy job computes the tag again and expects the image. Its faults are what the demo is about: do not
mend them. It speaks to registry and engine by itself, so that nothing of stagepin helps or hinders it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode

from ci_plugin.demo.look import find_digest
from ci_plugin.demo.rig import ask_engine
from ci_plugin.errors import StagepinError

ENV_FILE = "base.env"
"""What the job ``lookup`` hands to later jobs; GitLab calls such a file a dotenv report."""
DIGEST_VARIABLE = "FROM_IMAGE_DIGEST"
PUSHED, NEEDED = "pushed ", "this job needs the image "
"""How lines of the log begin; the image follows."""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run ``lookup``, ``build`` or ``deploy`` in the working directory; returns the exit code."""
    jobs = {"lookup": _lookup, "build": _build, "deploy": _deploy}
    try:
        return jobs[arguments[0]](environ)
    except StagepinError as error:
        return _fail(str(error))


def image_tag(dockerfile: bytes, commit: str, base_digest: str) -> str:
    """The tag: 12 hex characters over everything the image is made from, the base's digest included."""
    return hashlib.sha256(b"\n".join([dockerfile, commit.encode(), base_digest.encode()])).hexdigest()[:12]


def _lookup(environ: Mapping[str, str]) -> int:
    Path(ENV_FILE).write_text(f"{DIGEST_VARIABLE}={_base_digest(environ)}\n")
    return 0


def _build(environ: Mapping[str, str]) -> int:
    image = _needed_image(environ)
    if find_digest(image):
        print("it is there already")
        return 0
    base, host = _base(), environ["DOCKER_HOST"]
    print(f"pulling {base}")
    ask_engine(host, "POST", f"/images/create?{urlencode([('fromImage', base)])}")
    print(f"building {image}")
    ask_engine(host, "POST", f"/build?{urlencode([('t', image), ('networkmode', 'none')])}", _context())
    name, _, tag = image.rpartition(":")
    anonymous = base64.b64encode(json.dumps({}).encode()).decode()
    ask_engine(host, "POST", f"/images/{name}/push?tag={tag}", headers={"X-Registry-Auth": anonymous})
    print(f"{PUSHED}{image}")
    return 0


def _deploy(environ: Mapping[str, str]) -> int:
    image = _needed_image(environ)
    digest = find_digest(image)
    if digest is None:
        return _fail(f"the registry has no image {image.partition('/')[2]}")
    print(f"deploying {image} ({digest})")
    return 0


def _needed_image(environ: Mapping[str, str]) -> str:
    """``repository:tag``, computed anew in every job from the Dockerfile, the commit and the base's digest."""
    tag = image_tag(Path("Dockerfile").read_bytes(), environ["CI_COMMIT_SHA"], _base_digest(environ))
    image = f"{environ['CI_REGISTRY_IMAGE']}:{tag}"
    print(f"{NEEDED}{image}")
    return image


def _base() -> str:
    first = Path("Dockerfile").read_text().splitlines()[0]
    return first.removeprefix("FROM ")


def _base_digest(environ: Mapping[str, str]) -> str:
    handed_on = environ.get(DIGEST_VARIABLE)
    digest = handed_on or find_digest(_base()) or ""
    print(f"{_base()} is {digest}{' (an earlier job looked it up)' if handed_on else ''}")
    return digest


def _context() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("Dockerfile", "app.sh"):
            tar.add(name)
    return out.getvalue()


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
