"""What building needs of the world, handed in once for a run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ci_plugin.errors import Bug
from ci_plugin.ports import Engine, OutputSink, SourceTree, StagesStorage
from ci_plugin.records.build_record import BuiltBy
from ci_plugin.services.election import Election
from ci_plugin.services.sharing import SharedStages
from ci_plugin.services.stage_work.files import Git, Listings, SourceTrees
from ci_plugin.services.stage_work.mounts import Surroundings
from ci_plugin.services.stage_work.pulling import Bases, Places, pinned_place_only
from ci_plugin.services.stage_work.sources import Rebuilding
from ci_plugin.values.finding import Finding
from ci_plugin.values.image_listing import OWN
from ci_plugin.values.reference import Reference, Repository


def _tell_nobody(*_facts: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Workshop:
    """What building needs. The engine is not asked for anything where there is nothing to build."""

    storage: StagesStorage
    election: Election
    engine: Engine
    source: SourceTree
    directory: Path
    built_by: BuiltBy
    output: Callable[[str, str], OutputSink]
    """Image and stage name → where the lines of its build go."""
    stage_built: Callable[[str, str, float], None]
    """Told image, stage and seconds after every stage."""
    places: Places = pinned_place_only
    copy_used: Callable[[Reference, Reference], None] = _tell_nobody
    """Told once of every base that only a copy still has: what was pinned, and the copy."""
    stage_begun: Callable[[str, str], None] = _tell_nobody
    """Told image and stage before every stage that is made."""
    stage_reused: Callable[[str, str], None] = _tell_nobody
    """Told image and stage where equal files of other images spared its build."""
    finding: Callable[[Finding], None] = _tell_nobody
    leftover_removed: Callable[[str], None] = _tell_nobody
    """Told the name of every container that an interrupted run had left behind."""
    sources: SourceTrees | None = None
    """Repositories by key; None: there is only the project's."""
    modified: Callable[[], int] = int
    """The time files of git get in an image, seconds since 1970: the commit's. Asked for where a file is written."""
    surroundings: Surroundings = field(default_factory=Surroundings)
    local_names: Repository | None = None
    """What stages are called where there is no registry repository."""
    bases: Bases = field(init=False, repr=False)
    listings: Listings = field(init=False, repr=False)
    rebuilding: Rebuilding = field(init=False, repr=False, default_factory=Rebuilding)
    shared: SharedStages = field(init=False, repr=False, default_factory=SharedStages)

    _beginning: threading.Lock = field(init=False, repr=False, default_factory=threading.Lock)
    _begun: list[bool] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bases", Bases(self.engine, self.places, self.copy_used))
        object.__setattr__(self, "listings", Listings(self.storage))

    def begin(self) -> None:
        """Before the first stage of a run is made: remove what runs that were interrupted left in the engine."""
        with self._beginning:
            if not self._begun:
                self._begun.append(True)
                for name in self.engine.remove_leftovers():
                    self.leftover_removed(name)

    @property
    def git(self) -> Git:
        """Where SYNC takes its files from."""
        return Git(self.sources or self._own, self.modified)

    @property
    def stage_names(self) -> Repository:
        """What other images are told a stage is called by."""
        names = self.storage.repository or self.local_names
        if names is None:
            raise Bug("expected names for stages that are in no registry repository, found none")
        return names

    def _own(self, key: str) -> SourceTree:
        if key != OWN:
            raise Bug(f"expected the project's own files, found those of {key} asked for")
        return self.source
