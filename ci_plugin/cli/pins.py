"""How commands come to pins: ``pin_once`` may resolve, ``need_pins`` never does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from ci_plugin.cli.project import ProjectSession
from ci_plugin.cli.wiring import TOOL, ScopedSession
from ci_plugin.config.git_references import list_git_references
from ci_plugin.config.model import DockerfileImage, ExternalBase, Image
from ci_plugin.config.platforms import choose_platforms
from ci_plugin.config.references import list_references
from ci_plugin.config.registries import check_allowed
from ci_plugin.config.settings import parse_keep
from ci_plugin.errors import InputError, Location
from ci_plugin.forge.environment import is_later_attempt
from ci_plugin.services.pinning import Adopted, Asking, PinPolicy, adopt_or_create, get_pins
from ci_plugin.services.resolving import Patience
from ci_plugin.values.reference import Reference, Repository

if TYPE_CHECKING:
    from ci_plugin.pins.pin_set import PinSet
    from ci_plugin.ports import Registry, Workspace


@dataclass(frozen=True, slots=True)
class PinRequest:
    """What the command line asks of the pins; what it leaves open the settings say (``maxAge``, ``keep``)."""

    locked: bool = False
    max_age: timedelta | None = None
    keep: str | None = None


PLAIN_REQUEST = PinRequest()


def pin_once(session: ProjectSession, request: PinRequest = PLAIN_REQUEST) -> Adopted:
    """Adopt the scope's pins or make them, and say which, where they are kept and what that place promises."""
    configuration, settings = session.configuration, session.settings
    references = list_references(configuration, session.source, lambda image: choose_platforms(image, session.platforms))
    git = list_git_references(configuration)
    keep = _keep(session, request)
    check_registries(session, ((use.reference, use.location) for use in references), keep)
    policy = PinPolicy(
        locked=request.locked,
        max_age=request.max_age or settings.max_age,
        publish=session.may_publish,
        assure=True,
        keep=keep,
        copy=lambda pins, target, registry: _keep_bases(session, pins, target, registry),
        patience=Patience(settings.platform_wait_seconds, session.console.event),
    )
    adopted = adopt_or_create(
        session.asking,
        references,
        images=[image.name for image in configuration],
        tool=TOOL,
        workspace=session.workspace,
        store=session.pin_store,
        registry=session.registry,
        clock=session.clock,
        policy=policy,
        git=git,
        remotes=session.repositories if git else None,
    )
    _tell(session, adopted, locked=request.locked)
    _tell_keep(session, adopted, keep)
    return adopted


def need_pins(session: ScopedSession, asking: Asking | None = None) -> Adopted:
    """The scope's pins, from the workspace or the stages storage. Raises DocumentError with the fix where there are none.

    Raises ConfigError for pins of a registry the settings do not allow; who asks no upstream registry (``verify``) uses ``read_pins``.
    """
    adopted = read_pins(session, asking)
    check_registries(session, ((pin.reference, pin.place) for pin in adopted.pins.pins), adopted.pins.keep)
    return adopted


def read_pins(session: ScopedSession, asking: Asking | None = None, workspace: Workspace | None = None) -> Adopted:
    """As ``need_pins``, whatever registries the pins name; ``workspace``: another than the session's own."""
    adopted = get_pins(asking or session.asking, workspace or session.workspace, session.pin_store, session.clock)
    session.console.event(f"pins of {adopted.pins.scope} from {adopted.source}", pins=len(adopted.pins.pins))
    _tell_fork(session, adopted)
    return adopted


def check_registries(session: ScopedSession, places: Iterable[tuple[Reference, Location | None]], keep: Repository | None = None) -> None:
    """Raise ConfigError for references outside the registries the settings allow; our own repositories need no entry."""
    if session.settings.allowed is not None:
        own = (session.repository if session.has_repository else None, keep)
        check_allowed(places, session.settings.allowed, [repository for repository in own if repository])


def _keep_bases(session: ProjectSession, pins: PinSet, target: Repository, registry: Registry) -> None:
    from ci_plugin.services.keeping import keep_bases

    copies = keep_bases(pins, target, registry)
    session.console.event(f"copies of the pinned bases kept in {target}: {len(copies)}")


def _keep(session: ScopedSession, request: PinRequest) -> Repository | None:
    if request.keep is not None:
        try:
            return parse_keep(request.keep)
        except ValueError as error:
            raise InputError(str(error), hint="correct --keep, such as registry.example.com/group/bases") from None
    keep = session.settings.keep
    if keep is None or not session.context.fork:
        return keep
    session.console.event(f"no copies are made in {keep}: this job runs the code of the fork {session.context.fork}")
    return None


def describe_base(image: Image) -> str:
    """One line: whether a new base reaches the image by itself."""
    if isinstance(image, DockerfileImage):
        follows = image.from_latest
    elif isinstance(image.base, ExternalBase):
        follows = image.base.from_latest
    else:
        return f"{image.name}: base is not a registry's image"
    return f"{image.name}: base follows the registry" if follows else f"{image.name}: base frozen at first build (add fromLatest: true)"


def _tell(session: ProjectSession, adopted: Adopted, *, locked: bool) -> None:
    console, store = session.console, session.pin_store
    if adopted.source == "resolved":
        others = f", git repositories: {len({pin.url for pin in adopted.pins.git})}" if adopted.pins.git else ""
        console.event(f"pinned for {adopted.pins.scope}, references: {len(adopted.pins.pins)}{others}")
        if is_later_attempt(session.environ) and adopted.pins.scope.is_one_commit:
            console.warning(
                "this re-run pins anew: no pins of an earlier attempt were found, so what that one built may stand on other bases"
            )
    else:
        console.event(f"pins of {adopted.pins.scope} adopted from {adopted.source}")
    for pin in adopted.pins.pins:
        if pin.digest is None:
            console.warning(f"{pin.reference} is not pinned (only a stage that must be built on it will stop): {pin.reason}")
    _tell_fork(session, adopted)
    is_unasked = locked or session.asking.by_name or not session.may_publish
    if store is not None and adopted.source == "workspace" and is_unasked:
        # A job that has the pin file and makes no pins asks for nothing.
        console.detail(f"whether the {store.name} holds them too was not asked")
    elif store is not None and adopted.source == "resolved" and not session.may_publish:
        console.warning(
            f"this job runs the code of the fork {session.context.fork}, which reads the {store.name} and writes nothing there: the pins "
            "are kept in the workspace alone; hand .stagepin/pins.json on as a CI artifact, or name a repository of the fork's own with "
            "--repo on the command line (variables and settings may name the project's)"
        )
    elif store is not None:
        handed = "kept in the workspace: hand .stagepin/ on as a CI artifact, on GitHub under a name that begins with stagepin-"
        console.event(handed if session.store_name == "ci-artifact" else f"kept in the workspace and in the {store.name}")
        console.detail(store.guarantee)
    elif not adopted.pins.scope.is_local:
        reason = "the store is the workspace" if session.store_name == "workspace" else "no repository is set"
        console.warning(
            f"{reason}, so the pins are kept in the workspace alone: hand .stagepin/pins.json on as a CI artifact; "
            "a job that lacks it stops, and a second pin job would pin anew"
        )
    elif session.is_repository_named:
        console.event("pins of the scope local stay in the workspace, whatever repository is set; --scope SCOPE makes pins for others too")


def _tell_fork(session: ScopedSession, adopted: Adopted) -> None:
    if adopted.pins.fork:
        session.console.warning(f"these pins were made by the code of the fork {adopted.pins.fork}: nothing of them may be deployed")


def _tell_keep(session: ScopedSession, adopted: Adopted, asked: Repository | None) -> None:
    if asked is not None and adopted.pins.keep != asked:
        holds = f"their copies are in {adopted.pins.keep}" if adopted.pins.keep else "no copies are made of them"
        session.console.warning(f"the pins of {adopted.pins.scope} were made without --keep {asked}, and stay as they are: {holds}")
