"""A registry client for tests: real HTTP, nobody waits, no proxy; and how a test pushes an image through it."""

from __future__ import annotations

from collections.abc import Collection

from ci_plugin.limits import LIMITS, Limits
from ci_plugin.ports import CredentialSource
from ci_plugin.registry.client import RegistryClient
from ci_plugin.registry.transport import Proxies
from ci_plugin.values.digest import Digest
from ci_plugin.values.reference import Reference
from tests.fakes.clock import FakeClock
from tests.fakes.registry import ImageBytes

NO_PROXY = Proxies({})


def no_credentials(registry: str) -> None:
    """A credential source that has none."""


def make_client(
    credentials: CredentialSource = no_credentials,
    *,
    clock: FakeClock | None = None,
    insecure: Collection[str] = (),
    deadline: float = 60.0,
    ca_file: str | None = None,
    proxies: Proxies = NO_PROXY,
    limits: Limits = LIMITS,
) -> RegistryClient:
    """A client that does not wait and knows no proxy but the given one."""
    return RegistryClient(
        credentials, clock=clock or FakeClock(), insecure=insecure, deadline=deadline, ca_file=ca_file, proxies=proxies, limits=limits
    )


def push_image(client: RegistryClient, reference: Reference, image: ImageBytes) -> Digest:
    """Blobs, then the manifest under the reference's tag; its digest."""
    for blob in image.blobs:
        client.put_blob(reference.repository, blob)
    return client.put_manifest(reference, image.manifest, image.media_type)
