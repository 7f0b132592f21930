"""Two builders of one stage: a thousand rounds over a real registry, and what a build says where two records may differ (DESIGN.md §8)."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest

from ci_plugin.demo.rig import start_registry
from ci_plugin.ports import StoredStage
from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.platform import DEFAULT_PLATFORM
from ci_plugin.values.reference import Repository
from tests.fakes.engine import FakeEngine
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_client import make_client
from tests.scenarios.elections import Builder, Builders, Job, check, race, run_round
from tests.scenarios.pipeline import STAGES, Project

ONE = "image: app\nfrom: BASE\nfromLatest: true\nshell:\n  install: [make app]\n"
SETTLE = 2.0
SHORT = (Job(0, 1), Job(0.5, 0))
"""The first looks, the second looks and writes, the first writes half a second later."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with start_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry.address


def make_builders(repository: Repository) -> Builders:
    return Builder("one", repository, FakeEngine(make_client())), Builder("two", repository, FakeEngine(make_client()))


def import_base(builder: Builder) -> ImageId:
    return builder.engine.import_rootfs(None, DEFAULT_PLATFORM, {}).id


def publish_both(builders: Builders) -> tuple[StoredStage, StoredStage]:
    one, two = (builder.storage.publish_unique("0" * 64, builder.image(import_base(builder))) for builder in builders)
    return one, two


@pytest.mark.engine
@pytest.mark.parametrize("part", range(4))
def test_in_a_thousand_rounds_records_differ_only_where_a_writer_stalls_for_longer_than_the_settle_time(server: str, part: int) -> None:
    repository, chance = Repository(server, f"elections/{part}"), random.Random(part)  # noqa: S311 - a choice, not a secret
    builders = make_builders(repository)
    images = publish_both(builders)
    for number in range(250):
        if number % 5:
            jobs = [Job(chance.uniform(0, SETTLE), chance.uniform(0, SETTLE * 0.99)) for _ in range(2)]
        else:
            # The second has settled and recorded its digest when the first one writes at last.
            jobs = [Job(0, chance.uniform(SETTLE * 3, SETTLE * 9)), Job(chance.uniform(0.01, SETTLE), chance.uniform(0, SETTLE * 0.9))]
        ended = run_round(builders, images, SETTLE, (jobs[0], jobs[1]))
        assert ended.is_one is bool(number % 5)
        assert ended.is_told is not ended.is_one
    assert check(ended, repository) == ""


@pytest.mark.engine
def test_builders_that_race_in_real_time_agree_or_say_that_they_may_not(server: str) -> None:
    repository, chance = Repository(server, "elections/race"), random.Random(7)  # noqa: S311 - a choice, not a secret
    builders = make_builders(repository)
    bases = [import_base(builder) for builder in builders]
    for number in range(20):
        stall = chance.uniform(0, 0.2 if number % 4 == 0 else 0.02)
        ended = race(builders, bases, 0.1, (stall, 0.0) if number % 2 else (0.0, stall))
        assert check(ended, repository) == ""


def test_without_the_settle_time_a_short_stall_gives_two_records_and_nobody_knows() -> None:
    # The twin: what the settle time is for.
    with FakeRegistry() as registry:
        builders = make_builders(Repository(registry.address, "elections"))
        images = publish_both(builders)
        without = run_round(builders, images, 0.0, SHORT)
        assert (without.is_one, without.is_told) == (False, False)
        assert run_round(builders, images, SETTLE, SHORT).is_one


def test_with_immutable_tags_all_adopt_one_digest_however_long_one_stalls() -> None:
    with FakeRegistry() as registry:
        builders = make_builders(Repository(registry.address, "elections"))
        images = publish_both(builders)
        registry.immutable_tags = True
        for stall in (0.0, 1.0, 100.0):
            assert run_round(builders, images, SETTLE, (Job(0, stall), Job(0.5, 0))).is_one


def test_a_writer_that_was_too_late_says_so_and_both_records_verify(project: Project) -> None:
    # Every write takes longer than this settle time, and the second job looks as if it had looked before the first one wrote.
    project.write(".stagepin.yaml", "settle: 0.0001\n")
    project.commit(config=ONE)
    pipeline = project.pipeline()
    pin, quick, slow = (pipeline.job() for _ in range(3))
    pin.must("pin")
    quick.must("build")
    for signature in {stage["signature"] for stage in quick.record["images"]["app"]["platforms"]["linux/amd64"]["stages"]}:
        del project.registry.tags[STAGES, signature]
    ran = slow.must("build")
    (signature,) = slow.record["images"]["app"]["tags"]
    assert re.search(rf"it took \d+\.\d s to name the stage {signature}, longer than an election waits \(0\.0001 s\)", ran.err)
    assert "a job that built it meanwhile may have recorded another digest of it; both stay pullable and both verify" in ran.err
    assert "(`settle: 1` in .stagepin.yaml waits longer)" in ran.err
    assert "named other digests and was replaced; both sets stay pullable" in ran.err
    assert quick.digest() != slow.digest()
    for job in (quick, slow):
        job.must("verify")
        tags = {tag for (_, tag), digest in project.registry.tags.items() if digest == job.digest()}
        assert any(tag.startswith(f"{signature}-") for tag in tags), "what a record names has a tag of ours"


def test_a_run_that_waits_reads_again_what_it_only_found(project: Project) -> None:
    # A rival's stage is found inside the rival's settle time and loses: the record names what everybody else adopts.
    project.commit(config=f"{ONE}---\nimage: other\nfrom: BASE\nfromLatest: true\nshell:\n  install: [make other]\n")
    pipeline = project.pipeline()
    pin, first, winner, ours = (pipeline.job() for _ in range(4))
    pin.must("pin")
    first.must("build", "app")
    (signature,) = first.record["images"]["app"]["tags"]
    del project.registry.tags[STAGES, signature]
    winner.must("build", "app")
    project.registry.move_tag(STAGES, signature, Digest(first.digest()))
    ours.engine.on_push = lambda: project.registry.move_tag(STAGES, signature, Digest(winner.digest()))
    ran = ours.must("build")
    assert "app: stage" not in ran.err
    assert ours.digest() == winner.digest() != first.digest()


def test_an_image_that_was_built_on_a_stage_that_lost_its_election_says_so_and_verifies(project: Project) -> None:
    project.commit(config=f"{ONE}---\nimage: web\nfromImage: app\nshell:\n  install: [make web]\n")
    pipeline = project.pipeline()
    pin, first, winner, ours = (pipeline.job() for _ in range(4))
    pin.must("pin")
    first.must("build", "app")
    (signature,) = first.record["images"]["app"]["tags"]
    del project.registry.tags[STAGES, signature]
    winner.must("build", "app")
    project.registry.move_tag(STAGES, signature, Digest(first.digest()))
    ours.engine.on_push = lambda: project.registry.move_tag(STAGES, signature, Digest(winner.digest()))
    ran = ours.must("build")
    assert f"web: built on {first.digest()}, which was {project.stages}:{signature} when this build found it and is not any more" in ran.err
    assert (ours.digest("app"), ours.built_on("web")) == (winner.digest(), first.digest())
    ours.must("verify")
    assert "when this build found it" not in pipeline.job().must("build").err
