"""A registry's image in the conveyor: what of its reference and its pin enters a stage signature, and what is pulled."""

from __future__ import annotations

from ci_plugin.conveyor.inputs import visible
from ci_plugin.conveyor.stage import BASE_DIGEST, FromExternal, Input, Unpinned
from ci_plugin.errors import Location
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Reference


def open_reference(
    reference: Reference, where: Location, platform: Platform, pins: PinSet, *, from_latest: bool
) -> tuple[tuple[Input, ...], FromExternal | Unpinned]:
    """Without ``fromLatest`` the digest is no input, as the directive's documentation promises; the image is still taken by digest.

    Raises InputError where it was not pinned, or not for this platform.
    """
    pin = pins.get(reference, where)
    inputs = [visible("base.reference", str(reference))]
    if pin.digest is None and not from_latest:
        return tuple(inputs), Unpinned(pin.refusal)
    digest = pin.digest_for(platform)
    if from_latest:
        inputs.append(visible(BASE_DIGEST, str(digest)))
    return tuple(inputs), FromExternal(reference, reference.at(digest), platform)
