"""Find the build record of a scope: in the workspace, else in the store, from where the workspace gets it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ci_plugin.errors import DocumentError, InputError, Location
from ci_plugin.ports import Clock, PinStore, Workspace
from ci_plugin.records.build_record import BuildRecord
from ci_plugin.records.record_file import parse_record_file
from ci_plugin.services.pinning import Asking, find_after_lag, not_looked


@dataclass(frozen=True, slots=True)
class FoundRecord:
    """A build record and the place it was read from."""

    record: BuildRecord
    where: Location


@dataclass(frozen=True, slots=True)
class KeptWhereItCan:
    """A ``ports.Workspace`` for who only reads: what a store gave is written where that works, else ``tell`` hears why it is not."""

    workspace: Workspace
    tell: Callable[[str], None]

    @property
    def pins_path(self) -> Path:
        """Where the pin file is."""
        return self.workspace.pins_path

    @property
    def record_path(self) -> Path:
        """Where the build record is."""
        return self.workspace.record_path

    def read_pins(self) -> bytes | None:
        """The pin file's bytes, or None."""
        return self.workspace.read_pins()

    def read_record(self) -> bytes | None:
        """The build record's bytes, or None."""
        return self.workspace.read_record()

    def write_pins(self, data: bytes) -> None:
        """The pin file, where it can be written."""
        self._write(self.workspace.write_pins, data)

    def write_record(self, data: bytes) -> None:
        """The build record, where it can be written."""
        self._write(self.workspace.write_record, data)

    def _write(self, write: Callable[[bytes], None], data: bytes) -> None:
        try:
            write(data)
        except DocumentError:
            raise
        except InputError as error:
            self.tell(f"not kept in the workspace: {error.message}")


def find_record(asking: Asking, workspace: Workspace, store: PinStore | None, *, refresh: bool = False) -> FoundRecord | None:
    """The scope's record, or None; ``refresh`` passes over the workspace's. Raises DocumentError for a record of another job."""
    data = None if refresh else workspace.read_record()
    if data is not None:
        return _read(asking, data, str(workspace.record_path))
    data = store.find_record(asking.key) if store else None
    if data is None or store is None:
        return None
    found = _read(asking, data, store.name)
    workspace.write_record(data)
    return found


def get_record(asking: Asking, workspace: Workspace, store: PinStore | None, clock: Clock, *, whole: bool) -> FoundRecord:
    """As ``find_record``, but no record is a DocumentError with the fix.

    ``whole``: the partial record that a matrix leg left in the workspace gives way to a complete one in the store.
    """
    found = find_record(asking, workspace, store)
    if found is not None and whole and not found.record.complete:
        found = find_record(asking, workspace, store, refresh=True) or found
    found = found or find_after_lag(lambda: find_record(asking, workspace, store), store, clock)
    if found is None:
        looked = f"{workspace.record_path}" + (f" and {store.name}" if store else not_looked(asking))
        raise DocumentError(
            f"expected the build record of {asking.key.scope}, found none (looked in {looked})",
            hint="run `stagepin build` in this scope first; after a matrix of build jobs run `stagepin build --require-built`",
        )
    return found


def _read(asking: Asking, data: bytes, place: str) -> FoundRecord:
    where = Location(place)
    record = parse_record_file(data, place)
    record.check_ours(asking.key, by_name=asking.by_name, where=where)
    return FoundRecord(record, where)
