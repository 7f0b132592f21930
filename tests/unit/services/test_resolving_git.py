from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import pytest

from ci_plugin.config.git_references import GitReference
from ci_plugin.config.parts import GitRemote, SecretValue
from ci_plugin.errors import AccessDenied, Bug, ConfigError, InputError, Location, StagepinError, Unavailable
from ci_plugin.pins.drift import DriftState
from ci_plugin.pins.git_pin import GitPin
from ci_plugin.pins.origin import Origin
from ci_plugin.services.drifting_git import find_git_drift
from ci_plugin.services.pinning import Adopted, Asking, adopt_or_create
from ci_plugin.services.resolving_git import resolve_git
from tests.fakes.clock import FakeClock
from tests.unit.conveyor.project import NOW, make_pins
from tests.unit.services.memory_store import MemoryStore, MemoryWorkspace, SilentRegistry
from tests.unit.services.test_pinning import ASKING, LOCAL

URL, OTHER = "https://git.example.com/lib.git", "https://git.example.com/other.git"
MAIN, TAG = "refs/heads/main", "refs/tags/v1"
ONE, TWO = "1" * 40, "2" * 40


@dataclass
class Remotes:
    """Repositories in memory; what they were asked is kept."""

    refs: dict[str, dict[str, str] | StagepinError] = field(default_factory=dict)
    asked: list[tuple[str, frozenset[str], str | None]] = field(default_factory=list)

    def list_refs(self, remote: GitRemote, refs: Collection[str] = ()) -> Mapping[str, str]:
        self.asked.append((remote.url, frozenset(refs), remote.user))
        answer = self.refs[remote.url]
        if isinstance(answer, StagepinError):
            raise answer
        return {ref: commit for ref, commit in answer.items() if not refs or ref in refs}


def use(url: str = URL, ref: str = MAIN, image: str = "app", line: int = 7, remote: GitRemote | None = None) -> GitReference:
    return GitReference(url, ref, remote or GitRemote(url, branch=ref.rpartition("/")[2]), image, Location("werf.yaml", line))


def pin(ref: str = MAIN, commit: str = ONE, url: str = URL) -> GitPin:
    return GitPin(url, ref, commit, NOW, (Origin("git", "app", "werf.yaml", 7),))


class TestResolving:
    def test_each_repository_is_asked_once_for_all_its_refs_and_gives_one_pin_for_each(self) -> None:
        remotes = Remotes({URL: {MAIN: ONE, TAG: TWO}, OTHER: {MAIN: TWO}})
        clock = FakeClock()
        found = resolve_git([use(), use(ref=TAG, line=9), use(OTHER), use(image="web", line=20), use()], remotes, clock)
        assert sorted(remotes.asked, key=str) == [(URL, frozenset({MAIN, TAG}), None), (OTHER, frozenset({MAIN}), None)]
        assert [(one.url, one.ref, one.commit) for one in found] == [(URL, MAIN, ONE), (URL, TAG, TWO), (OTHER, MAIN, TWO)]
        assert found[0].origin == (Origin("git", "app", "werf.yaml", 7), Origin("git", "web", "werf.yaml", 20))
        assert {one.resolved_at for one in found} == {clock.now()}

    def test_a_commit_is_written_down_and_nobody_is_asked(self) -> None:
        remotes = Remotes()
        (found,) = resolve_git([use(ref=ONE)], remotes, FakeClock())
        assert (found.ref, found.commit, found.is_commit, remotes.asked) == (ONE, ONE, True, [])

    def test_without_other_repositories_nothing_happens(self) -> None:
        assert resolve_git([], Remotes(), FakeClock()) == ()

    def test_two_logins_are_two_questions(self) -> None:
        remotes = Remotes({URL: {MAIN: ONE, TAG: TWO}})
        ann = GitRemote(URL, branch="main", user="ann", password=SecretValue(env="A"))
        bob = GitRemote(URL, tag="v1", user="bob", password=SecretValue(env="B"))
        resolve_git([use(remote=ann), use(ref=TAG, remote=bob)], remotes, FakeClock())
        assert sorted(remotes.asked, key=str) == [(URL, frozenset({MAIN}), "ann"), (URL, frozenset({TAG}), "bob")]

    @pytest.mark.parametrize(
        ("ref", "branches", "hint"),
        [
            (MAIN, ["maim", "develop"], "write `branch: maim`; it has: maim"),
            ("refs/heads/x", ["b", "a", "main"], "write `branch: main`; it has: main, a, b"),
            ("refs/tags/v1", ["main"], "it has no tag at all"),
        ],
    )
    def test_a_ref_that_is_not_there_is_told_with_near_ones(self, ref: str, branches: list[str], hint: str) -> None:
        remotes = Remotes({URL: {f"refs/heads/{name}": ONE for name in branches}})
        remote = GitRemote(URL, tag="v1") if "tags" in ref else GitRemote(URL, branch=ref[11:])
        with pytest.raises(ConfigError) as raised:
            resolve_git([use(ref=ref, remote=remote)], remotes, FakeClock())
        word = "tag" if "tags" in ref else "branch"
        assert raised.value.message == f"expected the {word} {ref.rpartition('/')[2]} in {URL}, found none of that name"
        assert (raised.value.hint, raised.value.where) == (hint, Location("werf.yaml", 7))

    def test_of_the_default_branch_it_is_said_why_it_was_asked_for(self) -> None:
        remotes = Remotes({URL: {MAIN: ONE}})
        with pytest.raises(ConfigError, match="the default, as the mapping names none") as raised:
            resolve_git([use(ref="refs/heads/master", remote=GitRemote(URL))], remotes, FakeClock())
        assert raised.value.hint == "write `branch: main`; it has: main"

    @pytest.mark.parametrize("failure", [AccessDenied("no"), Unavailable("late")])
    def test_what_a_repository_says_comes_out_with_the_line_that_names_it(self, failure: StagepinError) -> None:
        with pytest.raises(type(failure)) as raised:
            resolve_git([use()], Remotes({URL: failure}), FakeClock())
        assert raised.value.where == Location("werf.yaml", 7)


class TestDrifting:
    def test_each_ref_says_what_became_of_it(self) -> None:
        pins = replace(make_pins(), git=(pin(), pin(TAG), pin("refs/heads/old"), pin(ONE), pin(url=OTHER)))
        remotes = Remotes({URL: {MAIN: TWO, TAG: ONE}, OTHER: Unavailable("late")})
        found = find_git_drift(pins, [], remotes)
        states = [DriftState.MOVED, DriftState.UNCHANGED, DriftState.GONE, DriftState.UNCHANGED, DriftState.UNKNOWN]
        assert [drift.state for drift in found] == states
        assert [drift.current for drift in found] == [TWO, ONE, None, ONE, None]
        assert found[0].images == ("app",)
        assert len(remotes.asked) == 2

    def test_a_repository_is_asked_as_the_configuration_says(self) -> None:
        remotes = Remotes({URL: {MAIN: ONE}})
        remote = GitRemote(URL, branch="main", user="ann", password=SecretValue(env="A"))
        find_git_drift(replace(make_pins(), git=(pin(),)), [use(remote=remote)], remotes)
        assert remotes.asked == [(URL, frozenset({MAIN}), "ann")]


class TestPinOnce:
    def pin(
        self, asking: Asking, workspace: MemoryWorkspace, remotes: Remotes | None, *uses: GitReference, store: MemoryStore | None = None
    ) -> Adopted:
        return adopt_or_create(
            asking,
            [],
            images=["app"],
            tool="stagepin/0",
            workspace=workspace,
            store=store,
            registry=SilentRegistry(),
            clock=FakeClock(),
            git=uses,
            remotes=remotes,
        )

    def test_a_rival_s_commit_is_adopted_and_not_our_own(self) -> None:
        store = MemoryStore()
        ours = Remotes({URL: {MAIN: ONE}})

        def rival() -> None:
            store.before_create = None
            self.pin(ASKING, MemoryWorkspace(), Remotes({URL: {MAIN: TWO}}), use(), store=store)

        store.before_create = rival
        assert self.pin(ASKING, MemoryWorkspace(), ours, use(), store=store).pins.get_git(URL, MAIN).commit == TWO

    def test_adopted_pins_ask_no_repository(self) -> None:
        workspace = MemoryWorkspace()
        made = self.pin(ASKING, workspace, Remotes({URL: {MAIN: ONE}}), use())
        assert self.pin(ASKING, workspace, Remotes(), use()).document == made.document

    def test_pins_that_lack_a_repository_are_refused_where_it_is_named(self) -> None:
        workspace = MemoryWorkspace()
        self.pin(ASKING, workspace, Remotes({URL: {MAIN: ONE}}), use())
        with pytest.raises(
            InputError, match=f"expected {OTHER} refs/heads/main among the 1 pins of pipeline:1001, found it missing"
        ) as raised:
            self.pin(ASKING, workspace, Remotes({OTHER: {MAIN: ONE}}), use(), use(OTHER, line=12))
        assert raised.value.where == Location("werf.yaml", 12)

    def test_at_a_desk_pins_that_lack_a_repository_are_made_anew(self) -> None:
        workspace = MemoryWorkspace()
        self.pin(LOCAL, workspace, Remotes({URL: {MAIN: ONE}}), use())
        made = self.pin(LOCAL, workspace, Remotes({URL: {MAIN: TWO}, OTHER: {MAIN: ONE}}), use(), use(OTHER))
        assert [pin.commit for pin in made.pins.git] == [TWO, ONE]

    def test_repositories_that_nobody_can_ask_are_our_mistake(self) -> None:
        with pytest.raises(Bug):
            self.pin(ASKING, MemoryWorkspace(), None, use())
