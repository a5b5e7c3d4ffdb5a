"""Rebuilding from a log whose records go meanwhile."""

from types import SimpleNamespace

import pytest

from onhand.errors import OffsetOutOfRange
from onhand.ingest.verify import Rebuild
from onhand.log.base import Record
from onhand.settings import Settings

SALES = ("stock.sales", 0)


def rebuild_from(records, begin):
    log = SimpleNamespace(
        read=lambda _partition, _offset, _limit: records, begin_offsets=lambda _: {SALES: begin}
    )
    supply = SimpleNamespace(apply=lambda _: None, needs_checkpoint=lambda: False)
    return Rebuild(
        settings=Settings(),
        event_log=log,
        partitions=[SALES],
        supply=supply,
        starts=[0],
        refused=frozenset(),
    )


@pytest.mark.parametrize("offsets", [(), (7,)])
def test_records_that_retention_has_taken_are_no_gap(offsets):
    """Rebuilt without them, the table would differ from a live one that is right."""
    records = [Record(*SALES, offset, 1, None, b"{}", ()) for offset in offsets]
    with pytest.raises(OffsetOutOfRange, match=r"from offset 0, and begins at 7 by now"):
        rebuild_from(records, 7).advance([8], lambda _done, _total: None)
    kept = rebuild_from(records, 0)
    kept.advance([8], lambda _done, _total: None)
    assert kept.offsets == [8]
