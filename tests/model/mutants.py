"""Known mistakes, each a small change to the product: what the model is worth is that it finds every one of them.

Every mutant names the worlds in which it is wrong; elsewhere it may be as good as the product.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import cast

from ci_plugin.errors import DocumentError, Unavailable
from ci_plugin.forge.artifact_store import ArtifactStore
from ci_plugin.forge.package_store import PackageFile, PackageStore
from ci_plugin.forge.ref_store import PINS_FILE, RECORD_FILE, GitRefStore
from ci_plugin.ports import PinStore
from ci_plugin.registry.pin_store import ARTIFACT_TYPE, PINS_TYPE, RegistryPinStore
from ci_plugin.services.pinning import Adopted
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import OCI_MANIFEST
from ci_plugin.values.pipeline import ScopeKey
from tests.model.gate import Gate
from tests.model.jobs import Bench, Product, need, pin
from tests.model.worlds import (
    REPOSITORY,
    WORLDS,
    ArtifactHandle,
    ArtifactWorld,
    GitHandle,
    GitWorld,
    PackageHandle,
    PackageWorld,
    RegistryHandle,
    RegistryWorld,
    World,
    retry,
)

_GIT = ("git ref",)
_PACKAGE = ("generic package",)
_ONE_WRITER = ("stages storage, one pin job at a time",)
_RACING = ("stages storage, racing pin jobs", "stages storage that keeps tags")
_ARTIFACTS = ("CI artifacts",)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mistake in words, the worlds it must be caught in, and the product with it."""

    mistake: str
    worlds: tuple[str, ...]
    product: Product


def _git(store: type[GitRefStore]) -> Product:
    return Product(store=lambda world, gate: store(GitHandle(cast(GitWorld, world).state, gate), retry()))


def _package(store: type[PackageStore]) -> Product:
    return Product(store=lambda world, gate: store(PackageHandle(cast(PackageWorld, world).state, gate), retry()))


def _registry(store: type[RegistryPinStore]) -> Product:
    return Product(store=lambda world, gate: store(REPOSITORY, RegistryHandle(cast(RegistryWorld, world).state, gate)))


class NoReadBackRef(GitRefStore):
    """Believes that what it made is what is there."""

    def create_pins(self, key: ScopeKey, document: bytes) -> bytes:
        found = self.find_pins(key)
        if found is not None:
            return found

        def write() -> None:
            commit = self._write({PINS_FILE: self._git.write_blob(document)}, (), "pins")
            self._git.create_ref(f"stagepin/{key.short_hash}", commit)

        self._retry.run(write)
        return document


class NoReadBackPackage(PackageStore):
    """Believes that what it uploaded is what is there."""

    def create_pins(self, key: ScopeKey, document: bytes) -> bytes:
        found = self.find_pins(key)
        if found is None:
            self._retry.run(lambda: self._upload(key, "pins-", document))
        return found or document


class NoReadBackTag(RegistryPinStore):
    """Believes that what it put, or would have put, is what is there."""

    def create_pins(self, key: ScopeKey, document: bytes) -> bytes:
        self._create(key, document)
        return document


class ForcedRef(GitRefStore):
    """The newest wins: a ref in the way is moved."""

    def create_pins(self, key: ScopeKey, document: bytes) -> bytes:
        def write() -> None:
            commit = self._write({PINS_FILE: self._git.write_blob(document)}, (), "pins")
            if not self._git.create_ref(f"stagepin/{key.short_hash}", commit):
                cast(GitHandle, self._git).force_ref(f"stagepin/{key.short_hash}", commit)

        self._retry.run(write)
        return self.find_pins(key) or document


class NewestFile(PackageStore):
    """The newest wins: the highest id."""

    def _pins(self, key: ScopeKey) -> bytes | None:
        files = [file for file in self._packages.list_files(key.short_hash) if file.name.startswith("pins-")]
        return self._read(key, max(files, key=lambda file: file.id)) if files else None


class FirstListed(PackageStore):
    """Takes the order of a listing for the order of time."""

    def _pins(self, key: ScopeKey) -> bytes | None:
        files: list[PackageFile] = [file for file in self._packages.list_files(key.short_hash) if file.name.startswith("pins-")]
        return self._read(key, files[0]) if files else None


class OneName(PackageStore):
    """The name is re-used: every pin file is called the same."""

    def _upload(self, key: ScopeKey, prefix: str, document: bytes) -> str:
        name = f"{prefix}file.json"
        self._packages.upload(key.short_hash, name, document)
        return name


class NameOfContent(PackageStore):
    """The name is re-used: equal pin files are called the same, and the clean-up of duplicates takes the older of them."""

    def _upload(self, key: ScopeKey, prefix: str, document: bytes) -> str:
        name = f"{prefix}{Digest.of(document).hex[:12]}.json"
        self._packages.upload(key.short_hash, name, document)
        return name


class SentTwice(PackageStore):
    """An upload whose reply was lost is sent again as it was."""

    def _upload(self, key: ScopeKey, prefix: str, document: bytes) -> str:
        name = f"{prefix}{secrets.token_hex(8)}.json"
        self._retry.run(lambda: self._packages.upload(key.short_hash, name, document))
        return name


class AbsentMeansOurs(GitRefStore):
    """After "exists" a 404 is taken for absence, and the job goes on with what it resolved."""

    def create_pins(self, key: ScopeKey, document: bytes) -> bytes:
        self._retry.run(lambda: self._make(key, document))
        found = self._retry.run(lambda: self._git.find_ref(f"stagepin/{key.short_hash}"))
        data = None if found is None else self._retry.run(lambda: self._read_or_none(found))
        return document if data is None else data

    def _make(self, key: ScopeKey, document: bytes) -> None:
        commit = self._write({PINS_FILE: self._git.write_blob(document)}, (), "pins")
        self._git.create_ref(f"stagepin/{key.short_hash}", commit)

    def _read_or_none(self, commit: str) -> bytes | None:
        files = self._files(commit)
        return None if files is None else self._git.find_blob(files[PINS_FILE])


class ListingTrusted(PackageStore):
    """A listing that does not show the upload is taken as it is."""

    def create_pins(self, key: ScopeKey, document: bytes) -> bytes:
        found = self.find_pins(key)
        if found is None:
            self._retry.run(lambda: self._upload(key, "pins-", document))
            found = self.find_pins(key)
        return found or document


class RefusalIgnored(GitRefStore):
    """A fast-forward that was refused counts as done."""

    def _advance(self, key: ScopeKey, document: bytes) -> None:
        tip = self._git.find_ref(f"stagepin/{key.short_hash}")
        files = None if tip is None else self._files(tip)
        if tip is None or files is None:
            raise self._lagging(key)
        record = {PINS_FILE: files[PINS_FILE], RECORD_FILE: self._git.write_blob(document)}
        self._git.advance_ref(f"stagepin/{key.short_hash}", self._write(record, (tip,), "record"))


class AnyPins(RegistryPinStore):
    """A record is filed beside whatever pins are there."""

    def put_record(self, key: ScopeKey, document: bytes, pins: bytes) -> bool:
        return super().put_record(key, document, self.find_pins(key) or pins)


class ForgetfulArtifacts(ArtifactStore):
    """A retried pin job does not look at what its earlier try handed on."""

    def find_pins(self, key: ScopeKey) -> bytes | None:
        return None


class Overwriting(RegistryPinStore):
    """Neither looks nor finds: it writes the tag."""

    def find_pins(self, key: ScopeKey) -> bytes | None:
        return None

    def create_pins(self, key: ScopeKey, document: bytes) -> bytes:
        layer = self._upload(document, PINS_TYPE, "pins.json")
        config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": str(Digest.of(b"{}")), "size": 2}
        self._registry.put_blob(self._repository, b"{}")
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": ARTIFACT_TYPE, "config": config, "layers": [layer]}
        self._put(self._reference(key), manifest, document)
        return document


def pin_over_lost_reply(bench: Bench) -> Adopted:
    """After a lost reply: resolve anew, and write the tag whatever it holds."""
    try:
        return pin(bench)
    except Unavailable:
        blind = Overwriting(REPOSITORY, RegistryHandle(cast(RegistryWorld, bench.world).state, bench.gate))
        return pin(replace(bench, store=blind))


class WrittenEarly:
    """A store that hands the pins on in the workspace before it knows the winner."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def __getattr__(self, name: str) -> object:
        return getattr(self._bench.store, name)

    def create_pins(self, key: ScopeKey, document: bytes) -> bytes:
        self._bench.desk.write_pins(document)
        return self._bench.store.create_pins(key, document)


def pin_written_early(bench: Bench) -> Adopted:
    """The workspace gets the pins before the store's winner is known."""
    return pin(replace(bench, store=cast(PinStore, WrittenEarly(bench))))


def need_or_resolve(bench: Bench) -> Adopted:
    """A job that needs pins and sees a 404 makes some."""
    try:
        return need(bench)
    except (DocumentError, Unavailable):
        return pin(bench)


def need_untold(bench: Bench) -> Adopted:
    """The checksum that came by another way is not compared."""
    return need(replace(bench, asking=replace(bench.asking, checksum=None)))


def _artifacts(world: World, gate: Gate) -> PinStore:
    """The store with ``ForgetfulArtifacts`` for pin jobs; readers have the product's."""
    store = ForgetfulArtifacts if gate.role == "pin" else ArtifactStore
    return store(ArtifactHandle(cast(ArtifactWorld, world).state, gate), retry())


MUTANTS = (
    Mutant("no read-back", _GIT, _git(NoReadBackRef)),
    Mutant("no read-back", _PACKAGE, _package(NoReadBackPackage)),
    Mutant("no read-back", _RACING, _registry(NoReadBackTag)),
    Mutant("newest wins", _GIT, _git(ForcedRef)),
    Mutant("newest wins", _PACKAGE, _package(NewestFile)),
    Mutant("the order of a listing is taken for the order of time", _PACKAGE, _package(FirstListed)),
    Mutant("one file name for all pins", _PACKAGE, _package(OneName)),
    Mutant("equal pins have one file name", _PACKAGE, _package(NameOfContent)),
    Mutant("an upload is sent twice", _PACKAGE, _package(SentTwice)),
    Mutant("a listing without the upload is trusted", _PACKAGE, _package(ListingTrusted)),
    Mutant("a 404 after exists is absence", _GIT, _git(AbsentMeansOurs)),
    Mutant("a refused fast-forward counts as done", _GIT, _git(RefusalIgnored)),
    Mutant("a record is filed beside other pins", _RACING[:1], _registry(AnyPins)),
    Mutant("after a lost reply the tag is overwritten", _ONE_WRITER, Product(pin=pin_over_lost_reply)),
    Mutant("a retried pin job does not look", _ARTIFACTS, Product(store=_artifacts)),
    Mutant("a job that needs pins makes some", tuple(WORLDS), Product(need=need_or_resolve)),
    Mutant("the workspace is written before the winner is known", (*_GIT, *_PACKAGE, *_ONE_WRITER), Product(pin=pin_written_early)),
    Mutant("the checksum is not compared", tuple(WORLDS), Product(need=need_untold)),
)
