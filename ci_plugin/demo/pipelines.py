"""The jobs of one pipeline, on both sides: run, checked against what really lies in the registry, told in one line each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ci_plugin.demo.handmade import DIGEST_VARIABLE, ENV_FILE, NEEDED, PUSHED
from ci_plugin.demo.jobs import BY_HAND, STAGEPIN, Finished, Job
from ci_plugin.demo.look import look_inside
from ci_plugin.demo.scene import Base, Scene, expect
from ci_plugin.demo.telling import Teller, short, short_image
from ci_plugin.records.stage_labels import OCI_BASE_DIGEST

_DEPLOY_VARIABLE = "STAGEPIN_IMAGE_APP="


class ByHand:
    """One pipeline of the project that uses the hand-made script."""

    def __init__(self, scene: Scene, tell: Teller, pipeline: str) -> None:
        self._scene, self._tell, self._pipeline = scene, tell, pipeline

    def look_up(self) -> None:
        """The job that hands the base's digest to later jobs."""
        done = self._run("lookup", "lookup")
        _expect_success(done)
        self._say(done, f"notes {DIGEST_VARIABLE}={short(self._noted(done.artifact)[DIGEST_VARIABLE])} for the build job", good=True)

    def build(self, job: str = "build") -> str:
        """A build job that goes well; returns ``repository:tag``."""
        done = self._build(job, {})
        image = done.said(PUSHED)
        self._say(done, f"pushed {short_image(image)}, a tag made from {look_inside(image).base}'s digest", good=True)
        return image

    def build_with_noted_digest(self) -> tuple[Finished, str]:
        """A build job that names its image for the digest ``look_up`` noted, told by the caller; returns it and ``repository:tag``."""
        done = self._build("build", self._noted(self._scene.runner.artifact(self._pipeline, "lookup")))
        return done, done.said(PUSHED)

    def deploy(self, job: str = "deploy") -> None:
        """A deploy job that finds its image."""
        done = self._run(job, "deploy")
        _expect_success(done)
        self._say(done, f"finds {short_image(done.said(NEEDED))} and deploys it", good=True)

    def deploy_in_vain(self, built: str, job: str = "deploy") -> None:
        """A deploy job that computes another tag than the build job did, and fails."""
        done = self._run(job, "deploy")
        expect(
            done.exit_code == 1 and done.said(NEEDED) not in ("", built),
            "the hand-made deploy to look for another image and to fail",
            f"exit code {done.exit_code} with {done.said(NEEDED)}",
            done.log,
        )
        self._say(done, f"FAILS, exit code {done.exit_code}: new base digest, new tag, and nobody built it:", good=False)
        self._tell.quote(done.complaint)

    def _build(self, job: str, variables: dict[str, str]) -> Finished:
        done = self._run(job, "build", variables)
        _expect_success(done)
        expect(bool(done.said(PUSHED)), "the hand-made build to push an image", repr(done.complaint), done.log)
        return done

    def _run(self, job: str, command: str, variables: dict[str, str] | None = None) -> Finished:
        given = {**self._scene.variables(BY_HAND), **(variables or {})}
        (done,) = self._scene.runner.run(Job(BY_HAND, job, self._pipeline, (command,), variables=given))
        return done

    @staticmethod
    def _noted(artifact: Path) -> dict[str, str]:
        lines = (artifact / ENV_FILE).read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def _say(self, done: Finished, text: str, *, good: bool) -> None:
        self._tell.outcome(BY_HAND, done.job.name, text, good=good)


class WithStagepin:
    """One pipeline of the project that uses stagepin."""

    def __init__(self, scene: Scene, tell: Teller, pipeline: str) -> None:
        self._scene, self._tell, self._pipeline = scene, tell, pipeline

    def pin(self) -> Base:
        """The pin job: writes down what the base's tag means now."""
        base = self._scene.base
        (done,) = self._run("pin", pin=None)
        (pin,) = _read(done.artifact / ".stagepin/pins.json")["pins"]
        expect(pin["digest"] == base.digest, f"the pin {base.digest}", str(pin["digest"]), done.log)
        self._say(done, f"base:latest = {short(base.digest)} ({base.name}), pinned for the whole pipeline")
        return base

    def build(self, base: Base, *jobs: str) -> str:
        """Build jobs, all at once, each with the pin job's CI artifact; returns the one ``repository@digest`` that all recorded."""
        finished = self._run("build", **dict.fromkeys(jobs or ("build",), "pin"))
        images = []
        for done in finished:
            image = _read(done.artifact / ".stagepin/build.json")["images"]["app"]["reference"]
            self._expect_base(done, image, base)
            self._say(done, f"recorded {short_image(image)}, built on the pinned {base.name}")
            images.append(image)
        expect(len(set(images)) == 1, "one image", " and ".join(sorted(set(images))), finished[-1].log)
        return str(images[0])

    def verify(self, built: str, job: str = "deploy", needs: str | None = "build") -> None:
        """A deploy job that proves its image before it ships it; ``needs=None`` is a job whose CI artifacts have expired."""
        (done,) = self._run("verify", "--env-file=stagepin.env", **{job: needs})
        env_file = done.artifact / "stagepin.env"
        shipped = env_file.read_text().strip().removeprefix(_DEPLOY_VARIABLE)
        expect(shipped == built, f"the image of the build job, {built}", shipped, done.log)
        fetched = "fetches pins and record from the registry; " if needs is None else ""
        self._say(done, f"{fetched}verified, deploys {short_image(shipped)}: exactly what was built")

    def _expect_base(self, done: Finished, image: str, base: Base) -> None:
        inside = look_inside(image)
        expect(inside.base == base.name, f"{image} to hold {base.name}", inside.base, done.log)
        label = inside.labels.get(OCI_BASE_DIGEST, "nothing")
        expect(label == base.digest, f"the label {OCI_BASE_DIGEST} to say {base.digest}", label, done.log)

    def _run(self, command: str, *options: str, **needs: str | None) -> list[Finished]:
        """Jobs of these names at once, each with the CI artifact of the job it needs."""
        variables = self._scene.variables(STAGEPIN)
        jobs = [Job(STAGEPIN, job, self._pipeline, (command, *options), need, variables) for job, need in needs.items()]
        finished = self._scene.runner.run(*jobs)
        for done in finished:
            _expect_success(done)
        return finished

    def _say(self, done: Finished, text: str) -> None:
        self._tell.outcome(STAGEPIN, done.job.name, text, good=True)


def _expect_success(done: Finished) -> None:
    expect(done.exit_code == 0, f"the job {done.job.name} to succeed", f"exit code {done.exit_code}: {done.complaint}", done.log)


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document
