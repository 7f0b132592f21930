"""The whole story: what the parts are, the hazards in turn, what it comes to, what to look at and to try next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ci_plugin.demo.hazards import HAZARDS
from ci_plugin.demo.scene import Scene, open_scene
from ci_plugin.demo.telling import Teller

_TITLE = "What happens when a base image's tag moves while a pipeline runs: without stagepin, and with it."
_PARTS = (
    "All parts are real: a Docker engine, a registry, a git repository whose Dockerfile says FROM {base}. Every job below is a process "
    "of its own in a fresh clone, with the variables GitLab would set. Each base image says in its file /etc/stagepin-base which one it "
    "is. What you read is what happened: the demo checks it in the registry, and stops where it is not so."
)
_SIDES = (
    "  without   the script people write: look up the digest of base:latest, make the image's tag from",
    "            it, pull, build, push; the deploy job computes the tag again and looks for that image",
    "  with      stagepin pin, stagepin build, stagepin verify",
)
_SUMMARY = (
    "The base moved {moves} times. Without stagepin two deploys found no image (A, B), one image held another base than its name says (C), "
    "and one pipeline made two images (D). With stagepin the base was pinned once per pipeline, built by digest only, and every deploy "
    "shipped exactly what was built. A tag that moves is news for the next pipeline, and never breaks this one."
)


def tell_story(directory: Path, environ: Mapping[str, str], tell: Teller, program: str) -> None:
    """Live and tell it below ``directory``, where pin files, records and job logs stay; ``program`` is how to call stagepin next.

    Raises AnswerIsNo where a hazard does not happen without stagepin or happens with it; InputError, Unavailable for missing parts.
    """
    tell.heading(_TITLE)
    with open_scene(directory, environ) as scene:
        tell.text(_PARTS.format(base=scene.base_reference))
        tell.verbatim("", *_SIDES)
        for hazard in HAZARDS:
            hazard.tell(scene, tell)
        _conclude(scene, tell, program)


def _conclude(scene: Scene, tell: Teller, program: str) -> None:
    tell.heading("What it comes to")
    tell.text(_SUMMARY.format(moves=scene.moves))
    artifact = scene.runner.artifact("1001", "build") / ".stagepin"
    tell.verbatim(
        "",
        "Look at:",
        f"  pin file      {artifact / 'pins.json'}",
        f"  build record  {artifact / 'build.json'}",
        f"  job logs      {scene.runner.logs}/",
        "",
        "Next, in a git repository of yours with a Dockerfile, a werf.yaml or a dappfile.yml, see what your",
        "bases are now (needs no engine), then build on exactly these:",
        f"  {program} pin",
        f"  {program} build --pin --repo REGISTRY/PROJECT",
    )
