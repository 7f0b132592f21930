"""What every PinStore with documents of any bytes keeps to, written once: inherit the suite and give it a ``new_store``.

::

    class TestPackageStore(PinStoreSuite):
        @pytest.fixture
        def new_store(self, gitlab: FakeGitLab) -> NewStore:
            return lambda: PackageStore(...)

``new_store`` makes another job's view of one and the same store, which is empty when a test begins.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ci_plugin.errors import DocumentError
from ci_plugin.ports import PinStore
from ci_plugin.values.document import LARGEST_DOCUMENT
from ci_plugin.values.pipeline import PipelineId, Scope, ScopeKey

PIPELINE = PipelineId("gitlab", "gitlab.example.com", "4711", "group/app", "1001")
KEY = ScopeKey(PIPELINE, Scope("pipeline:1001"))
OTHER = ScopeKey(PIPELINE, Scope("pipeline:1002"))

NewStore = Callable[[], PinStore]


class PinStoreSuite:
    """The port's contract for jobs that come one after the other."""

    def test_a_fresh_store_has_neither_pins_nor_record(self, new_store: NewStore) -> None:
        store = new_store()
        assert store.find_pins(KEY) is None
        assert store.find_record(KEY) is None

    def test_pins_come_back_byte_for_byte(self, new_store: NewStore) -> None:
        assert new_store().create_pins(KEY, b'{"pins": 1}\n') == b'{"pins": 1}\n'
        assert new_store().find_pins(KEY) == b'{"pins": 1}\n'

    def test_the_first_pins_stay_and_a_later_creator_gets_them(self, new_store: NewStore) -> None:
        new_store().create_pins(KEY, b'"first"')
        assert new_store().create_pins(KEY, b'"second"') == b'"first"'
        assert new_store().find_pins(KEY) == b'"first"'

    def test_scopes_do_not_meet(self, new_store: NewStore) -> None:
        store = new_store()
        store.create_pins(KEY, b'"one"')
        assert store.find_pins(OTHER) is None
        store.create_pins(OTHER, b'"two"')
        assert (store.find_pins(KEY), store.find_pins(OTHER)) == (b'"one"', b'"two"')

    def test_a_record_is_filed_beside_the_pins_and_may_be_replaced(self, new_store: NewStore) -> None:
        store = new_store()
        store.create_pins(KEY, b'"pins"')
        assert store.find_record(KEY) is None
        for record in (b'"partial"', b'"whole"', b'"whole"'):
            assert store.put_record(KEY, record, b'"pins"')
        later = new_store()
        assert (later.find_pins(KEY), later.find_record(KEY)) == (b'"pins"', b'"whole"')

    def test_a_record_brings_its_pins_where_there_are_none(self, new_store: NewStore) -> None:
        assert new_store().put_record(KEY, b'"record"', b'"pins"')
        later = new_store()
        assert (later.find_pins(KEY), later.find_record(KEY)) == (b'"pins"', b'"record"')

    def test_a_record_is_not_filed_beside_other_pins(self, new_store: NewStore) -> None:
        store = new_store()
        store.create_pins(KEY, b'"pins"')
        assert not store.put_record(KEY, b'"record"', b'"others"')
        assert (store.find_pins(KEY), store.find_record(KEY)) == (b'"pins"', None)

    def test_a_document_too_large_is_not_sent(self, new_store: NewStore) -> None:
        with pytest.raises(DocumentError, match=f"expected a [a-z.]+ of at most {LARGEST_DOCUMENT} bytes"):
            new_store().create_pins(KEY, b" " * (LARGEST_DOCUMENT + 1))
        assert new_store().find_pins(KEY) is None

    def test_the_store_says_what_it_is_and_what_it_promises(self, new_store: NewStore) -> None:
        store = new_store()
        assert store.name
        assert store.guarantee
        assert store.lag >= 0
