"""How commands come to pins: ``pin_once`` may resolve, ``need_pins`` never does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ci_plugin.cli.wiring import TOOL, ProjectSession, ScopedSession
from ci_plugin.config.model import DockerfileImage, ExternalBase, Image
from ci_plugin.config.references import list_references
from ci_plugin.config.platforms import choose_platforms
from ci_plugin.services.pinning import Adopted, Asking, PinPolicy, adopt_or_create, get_pins


@dataclass(frozen=True, slots=True)
class PinRequest:
    """What the command line asks of the pins; what it leaves open the settings say (``maxAge``, ``keep``)."""

    locked: bool = False
    max_age: timedelta | None = None
    keep: str | None = None


PLAIN_REQUEST = PinRequest()


def pin_once(session: ProjectSession, request: PinRequest = PLAIN_REQUEST) -> Adopted:
    """Adopt the scope's pins or make them, and say which, where they are kept and what that place promises."""
    configuration = session.configuration
    references = list_references(configuration, session.source, lambda image: choose_platforms(image, session.platforms))
    adopted = adopt_or_create(
        session.asking,
        references,
        images=[image.name for image in configuration],
        tool=TOOL,
        workspace=session.workspace,
        store=session.pin_store,
        registry=session.registry,
        clock=session.clock,
        policy=PinPolicy(locked=request.locked),
    )
    _tell(session, adopted)
    return adopted


def need_pins(session: ScopedSession, asking: Asking | None = None) -> Adopted:
    """The scope's pins, from the workspace or the stages storage. Raises DocumentError with the fix where there are none."""
    adopted = get_pins(asking or session.asking, session.workspace, session.pin_store, session.clock)
    session.console.event(f"pins of {adopted.pins.scope} from {adopted.source}", pins=len(adopted.pins.pins))
    return adopted


def describe_base(image: Image) -> str:
    """One line: whether a new base reaches the image by itself."""
    if isinstance(image, DockerfileImage):
        follows = image.from_latest
    elif isinstance(image.base, ExternalBase):
        follows = image.base.from_latest
    else:
        return f"{image.name}: base is not a registry's image"
    return f"{image.name}: base follows the registry" if follows else f"{image.name}: base frozen at first build (add fromLatest: true)"


def _tell(session: ProjectSession, adopted: Adopted) -> None:
    console, store = session.console, session.pin_store
    if adopted.source == "resolved":
        console.event(f"pinned for {adopted.pins.scope}, references: {len(adopted.pins.pins)}")
    else:
        console.event(f"pins of {adopted.pins.scope} adopted from {adopted.source}")
    for pin in adopted.pins.pins:
        if pin.digest is None:
            console.warning(f"{pin.reference} is not pinned (only a stage that must be built on it will stop): {pin.reason}")
    if store is not None and adopted.source == "workspace":
        # Nobody asked the store: a job that has the pin file makes no request.
        console.detail(f"whether the {store.name} holds them too was not asked")
    elif store is not None:
        console.event(f"kept in the workspace and in the {store.name}")
        console.detail(store.guarantee)
    elif not adopted.pins.scope.is_local:
        console.warning(
            "no repository is set, so the pins are kept in the workspace alone: hand .stagepin/pins.json on as a CI artifact; "
            "a job that lacks it stops, and a second pin job would pin anew"
        )
