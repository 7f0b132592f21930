"""The four hazards of a base that moves (DESIGN.md §1), each as one story that both sides live through at the same time.

Whatever moves the base moves it for both: the project without and the project with stagepin follow the same tag in the same registry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ci_plugin.demo.jobs import BY_HAND, STAGEPIN
from ci_plugin.demo.look import look_inside
from ci_plugin.demo.pipelines import ByHand, WithStagepin
from ci_plugin.demo.scene import Base, Scene, expect
from ci_plugin.demo.telling import Teller, short, short_image


@dataclass(frozen=True, slots=True)
class Hazard:
    """``title`` names it, ``why`` says in a sentence how it comes about, ``happen`` lets it happen."""

    title: str
    why: str
    happen: Callable[[Scene, Teller, ByHand, WithStagepin], None]
    pipeline: str

    def tell(self, scene: Scene, tell: Teller) -> None:
        """Run and tell it. Raises AnswerIsNo where it does not happen without stagepin, or happens with it."""
        tell.heading(self.title)
        self.happen(scene, tell, ByHand(scene, tell, self.pipeline), WithStagepin(scene, tell, self.pipeline))
        tell.text(f"Why: {self.why}", indent="      ")


def _moves_between_build_and_deploy(scene: Scene, tell: Teller, by_hand: ByHand, with_stagepin: WithStagepin) -> None:
    tell.step(f"The tag base:latest is {scene.base.name}, {short(scene.base.digest)}. The build jobs of pipeline 1001 run:")
    made_by_hand = by_hand.build()
    built = with_stagepin.build(with_stagepin.pin())
    _move_base(scene, tell)
    tell.step("The deploy jobs of the same pipeline run:")
    by_hand.deploy_in_vain(made_by_hand)
    with_stagepin.verify(built)


def _moves_before_a_retry(scene: Scene, tell: Teller, by_hand: ByHand, with_stagepin: WithStagepin) -> None:
    tell.step(f"Pipeline 1002 builds on {scene.base.name} and deploys; nothing moves meanwhile, all goes well:")
    made_by_hand = by_hand.build()
    by_hand.deploy()
    built = with_stagepin.build(with_stagepin.pin())
    with_stagepin.verify(built)
    _move_base(scene, tell)
    scene.runner.expire("1002")
    tell.step("Later: the CI artifacts of pipeline 1002 have expired, and somebody retries its deploy (or rolls back to it):")
    by_hand.deploy_in_vain(made_by_hand, "deploy-retry")
    with_stagepin.verify(built, "deploy-retry", needs=None)


def _moves_between_look_up_and_pull(scene: Scene, tell: Teller, by_hand: ByHand, with_stagepin: WithStagepin) -> None:
    named = scene.base
    tell.step(f"The first job of pipeline 1003 finds out what base:latest is ({named.name}), for the jobs after it:")
    by_hand.look_up()
    pinned = with_stagepin.pin()
    now = _move_base(scene, tell)
    tell.step("The build jobs run:")
    done, image = by_hand.build_with_noted_digest()
    held = look_inside(image).base
    expect(held == now.name, f"the image named for {named.name} to hold {now.name}", held, done.log)
    tell.outcome(BY_HAND, done.job.name, f"pushed {short_image(image)}, exit code 0", good=True)
    text = f"WRONG: {short_image(image)} is named for {named.name}, but holds {held}"
    tell.outcome(BY_HAND, "look inside", text, good=False)
    built = with_stagepin.build(pinned)
    text = f"holds {look_inside(built).base}, as its label org.opencontainers.image.base.digest says"
    tell.outcome(STAGEPIN, "look inside", text, good=True)


def _moves_between_two_builds(scene: Scene, tell: Teller, by_hand: ByHand, with_stagepin: WithStagepin) -> None:
    tell.step("Pipeline 1004 builds twice: two parallel jobs, or one that is retried. The first one runs:")
    first = by_hand.build("build-1")
    pinned = with_stagepin.pin()
    _move_base(scene, tell)
    tell.step("The second one runs. (With stagepin both run now, at the same moment: the harder case.)")
    second = by_hand.build("build-2")
    bases = [look_inside(image).base for image in (first, second)]
    expect(bases[0] != bases[1], "the two hand-made builds to use two bases", " and ".join(bases), scene.runner.logs)
    text = f"WRONG: one pipeline, two images: {short_image(first)} on {bases[0]}, {short_image(second)} on {bases[1]}"
    tell.outcome(BY_HAND, "together", text, good=False)
    built = with_stagepin.build(pinned, "build-1", "build-2")
    tell.outcome(STAGEPIN, "together", f"one pipeline, one image: {short_image(built)} on {pinned.name}", good=True)


def _move_base(scene: Scene, tell: Teller) -> Base:
    base = scene.move_base()
    tell.step(f"Somebody publishes a new base image: base:latest is now {base.name}, {short(base.digest)}.")
    return base


HAZARDS = (
    Hazard(
        "Hazard A: the base moves between build and deploy",
        "the script asks the tag in every job. stagepin asks once, and verify goes by what was recorded.",
        _moves_between_build_and_deploy,
        "1001",
    ),
    Hazard(
        "Hazard B: deployed; the base moves; the deploy is retried",
        "the script cannot find its image again. stagepin keeps pins and record beside the image, in the registry.",
        _moves_before_a_retry,
        "1002",
    ),
    Hazard(
        "Hazard C: the base moves between look-up and pull",
        "the script looks up a digest, then pulls by tag. stagepin only ever pulls name@digest.",
        _moves_between_look_up_and_pull,
        "1003",
    ),
    Hazard(
        "Hazard D: two build jobs of one pipeline use two bases",
        "each build asks the tag for itself. With stagepin all jobs of a pipeline share its pins.",
        _moves_between_two_builds,
        "1004",
    ),
)
