"""What the order writer asks of a View before it promises: cells as they are, whoever the SKU is.

Read src/onhand/table/reader.py first. These reads never refuse a SKU: one that nobody knows has no
stock, and the safety stock that set-up would give it.
"""

from libc.stdint cimport int64_t, uint32_t

from onhand._native.reader cimport (
    OH_DUE_COUNT,
    oh_item_t,
    oh_numbers,
    oh_numbers_t,
    oh_read_cell,
    oh_read_group_cells,
    oh_room_free,
    oh_room_t,
    oh_rows_done,
    oh_rows_read,
    oh_rows_t,
    oh_scope_t,
    oh_terms_t,
)
from onhand._native.store cimport OH_NONE, OH_OK
from onhand._native.view cimport View, days_of

import numpy as np

cdef enum:
    AHEAD = 16           # SKUs that are found before their rows are read

cdef extern from "onhand/store.h" nogil:
    void oh_row_prefetch(const void *store, uint32_t sku)


def cell(View view not None, sku, uint32_t ordinal) -> tuple[int, int, int]:
    """Return on_hand, reserved and safety_stock of a cell, whoever the SKU is."""
    cdef oh_terms_t terms = cell_terms(view, sku, ordinal)
    return terms.on_hand, terms.reserved, terms.safety_stock


def promisable(View view not None, sku, location):
    """Return on_hand - reserved - safety_stock of a cell, whoever the SKU is.

    None when a look at set-up is needed first: the location is new, or the view no longer is.
    """
    cdef oh_terms_t terms
    if view.stale():
        return None
    found = view.ordinals.get(location)
    if found is None:
        return None
    terms = cell_terms(view, sku, found)
    return terms.on_hand - terms.reserved - terms.safety_stock


cdef oh_terms_t cell_terms(View view, object sku, uint32_t ordinal) except *:
    cdef oh_item_t item
    cdef oh_terms_t nothing = [0, 0, 0]
    view.scope_check([False, ordinal])
    if not view.find(sku, &item, True):
        return nothing
    return oh_read_cell(&item, item.shard.slot_of[ordinal])


def ledger_sequence_of(View view not None, sku) -> int:
    """Return the last sequence of stock.ledger applied by the shard that owns a SKU."""
    cdef oh_item_t item
    if not view.find(sku, &item, True):
        raise ValueError("Condition failed: a SKU has 1 to 256 bytes of UTF-8")
    return item.shard.store.header.ledger_sequence


def group_cells(View view not None, list skus not None, uint32_t group):
    """Return the available units (int64) of SKUs at every member of a group.

    Returns
    -------
    ndarray of shape (len(skus), members)
        Members in the order of the group's ordinals; SKUs that nobody knows have no stock.
    """
    view.scope_check([True, group])
    cdef Py_ssize_t members = view.shards[0].groups[group].member_count
    available = np.zeros((len(skus), members), np.int64)
    cdef int64_t[:, ::1] out = available
    cdef oh_room_t room = [[NULL, 0], [NULL, 0], NULL, 0]
    cdef oh_item_t items[AHEAD]
    cdef bint known[AHEAD]
    cdef Py_ssize_t first, at, count
    cdef int status = OH_OK
    if members == 0:
        return available
    try:
        for first in range(0, out.shape[0], AHEAD):
            count = min(AHEAD, out.shape[0] - first)
            # All are found before any is read: their rows come from memory meanwhile.
            for at in range(count):
                known[at] = view.find(skus[first + at], &items[at], True)
                if known[at]:
                    rows_prefetch(&items[at])
            for at in range(count):
                if known[at]:
                    status = oh_read_group_cells(&items[at], &items[at].shard.groups[group], &room,
                                                 &out[first + at, 0])
                if status != OH_OK:
                    raise MemoryError
    finally:
        oh_room_free(&room)
    return available


cdef void rows_prefetch(const oh_item_t *item) noexcept:
    if item.promised != OH_NONE:
        oh_row_prefetch(item.shard.demand.store, item.promised)
    if item.number != OH_NONE:
        oh_row_prefetch(item.shard.store, item.number)


def to_order(
    View view not None, sku, const uint32_t[::1] ordinals, int64_t freed=0, dict waived=None
) -> list[list[tuple[int, int]]]:
    """Return what is available to order of a SKU's cells: today, and each day it changes.

    Parameters
    ----------
    freed
        Units of each cell that count as not reserved.
    waived
        Units of each cell by day that the demand table has as owed, and that count as not.

    Returns
    -------
    list
        For each location a list of (day, quantity); whoever the SKU is.
    """
    cdef oh_item_t item
    cdef oh_room_t room = [[NULL, 0], [NULL, 0], NULL, 0]
    cdef oh_rows_t rows
    cdef oh_numbers_t numbers
    cdef oh_scope_t scope = [False, 0]
    cdef Py_ssize_t at
    if not view.find(sku, &item, True):
        raise ValueError("Condition failed: a SKU has 1 to 256 bytes of UTF-8")
    for at in range(ordinals.shape[0]):
        scope.index = ordinals[at]
        view.scope_check(scope)
    found = []
    cdef int status = oh_rows_read(&item, False, &room, &rows)
    try:
        if status != OH_OK:
            raise MemoryError
        for at in range(ordinals.shape[0]):
            scope.index = ordinals[at]
            oh_numbers(&item, &rows, scope, &numbers)
            numbers.promise_base += freed
            if waived:
                waive(&numbers, waived)
            found.append(days_of(&numbers))
    finally:
        oh_rows_done(&item, &room, &rows)
        oh_room_free(&room)
    return found


cdef int waive(oh_numbers_t *numbers, dict waived) except -1:
    """Owe less: what is overdue is owed today, as the table has it."""
    cdef int64_t day, units
    for day, units in waived.items():
        day = max(day - numbers.today, 0)
        if day < OH_DUE_COUNT:
            numbers.due[day] += units
    return 0
