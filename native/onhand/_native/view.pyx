"""Answers over all shards: point, batch and group reads, and JSON.

Read src/onhand/table/reader.py first. A View joins the tables of all shards with compiled scopes
and is never changed: when set-up, a generation or the list of locations changes, another View takes
its place, and this one stays valid for whoever still holds it.

The demand table belongs to all shards: a SKU is looked up in it by the hash that finds its shard,
its locations by columns that the scopes bring along.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.list cimport PyList_GET_ITEM
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from onhand._native.reader cimport (
    OH_DUE_COUNT, Table, oh_demand_any, oh_group_t, oh_item_t, oh_numbers, oh_numbers_t,
    oh_promise, oh_promised_find, oh_read_cell_available, oh_read_cells_available,
    oh_read_group_available, oh_read_groups_available, oh_render_item, oh_room_free, oh_room_t,
    oh_rows_done, oh_rows_read, oh_rows_t, oh_scope_t, oh_shard_t, oh_sku_limit, oh_special_t,
    oh_stamp, oh_stamp_t, oh_style_t, oh_text_free, oh_text_raw, oh_text_stamp, oh_text_string,
    oh_text_t,
)
from onhand._native.store cimport (
    OH_HASH_SEED_SKU,
    OH_NONE,
    OH_OK,
    OH_TEXT_BYTES_MAX,
    oh_hash_bytes,
    oh_shard_of,
    oh_sku_find,
    oh_sku_prefetch,
    oh_sku_prefetch_record,
)

import numpy as np

cdef enum:
    AHEAD = 12           # strings ahead that memory is asked for

cdef extern from *:
    """
    static inline void prefetch(const void *address) { __builtin_prefetch(address); }
    """
    void prefetch(const void *address) noexcept nogil

cdef extern from "onhand/store.h" nogil:
    void oh_row_prefetch(const void *store, uint32_t sku)


cdef bint utf8_of(object text, const uint8_t **utf8, uint32_t *length) except -1:
    """Point at the text's bytes; 0 for what cannot be a name: empty, too long, or no UTF-8."""
    cdef Py_ssize_t size = 0
    if not isinstance(text, str):
        raise TypeError(f"names are str, not {type(text).__name__}")
    try:
        utf8[0] = <const uint8_t *> PyUnicode_AsUTF8AndSize(text, &size)
    except UnicodeEncodeError:
        return 0
    length[0] = <uint32_t> size
    return 0 < size <= OH_TEXT_BYTES_MAX


@cython.final
cdef class View:
    """All shards of one cluster as of one compilation of scopes.

    Parameters
    ----------
    tables
        One Table a shard, in order.
    compiled
        One onhand.table.scopes.ShardScopes a shard, with the same groups in the same order.
    ordinals
        Number of every known location, the same for all shards.
    judge
        Called as judge(shard, sku, whoever) for SKUs that the shard's table does not know: the
        profile set-up gives it there, or None when set-up does not know it either. With whoever,
        set-up need not know it.
    low_stock
        Available units up to which a band is `low`.
    demand
        The table of what is promised, or None.
    """

    def __cinit__(self, tuple tables, tuple compiled, dict ordinals, judge, int32_t low_stock,
                  Table demand=None):
        self.shard_count = <uint32_t> len(tables)
        self.group_count = <uint32_t> len(compiled[0].labels)
        self.ordinals = ordinals
        self.judge = judge
        self.low_stock = low_stock
        self.kept = [tables, compiled, demand]
        self.shards = <oh_shard_t *> calloc(self.shard_count, sizeof(oh_shard_t))
        self.groups = <oh_group_t *> calloc(self.shard_count * self.group_count + 1,
                                            sizeof(oh_group_t))
        if self.shards == NULL or self.groups == NULL:
            raise MemoryError
        for at in range(self.shard_count):
            self.fill_shard(at, tables[at], compiled[at])
            self.fill_groups(at, compiled[at])
            if demand is not None:
                self.fill_demand(at, demand, compiled[at])

    def __dealloc__(self):
        free(self.shards)
        free(self.groups)

    cdef const int32_t *pin_i32(self, array) except? NULL:
        cdef const int32_t[::1] items = array
        self.kept.append(array)
        return &items[0] if items.shape[0] else NULL

    cdef const uint32_t *pin_u32(self, array) except? NULL:
        cdef const uint32_t[::1] items = array
        self.kept.append(array)
        return &items[0] if items.shape[0] else NULL

    cdef const int64_t *pin_i64(self, array) except? NULL:
        cdef const int64_t[::1] items = array
        self.kept.append(array)
        return &items[0] if items.shape[0] else NULL

    cdef const char *pin_bytes(self, bytes text) except NULL:
        self.kept.append(text)
        return <const char *> text

    cdef int fill_shard(self, uint32_t at, Table table, scopes) except -1:
        cdef oh_shard_t *shard = &self.shards[at]
        shard.store = &table.store
        shard.known_count = scopes.known_count
        shard.slot_count = scopes.slot_count
        shard.profile_count = scopes.safety.shape[0]
        shard.safety = self.pin_i32(scopes.safety.reshape(-1))
        shard.sku_count = OH_NONE
        if scopes.profile_of is not None:
            shard.profile_of = self.pin_u32(scopes.profile_of)
            shard.sku_count = scopes.sku_count
        shard.specials = <const oh_special_t *> self.pin_u32(scopes.specials.reshape(-1))
        shard.override_slot = self.pin_u32(scopes.override_slot)
        shard.override_quantity = self.pin_i32(scopes.override_quantity)
        shard.today = self.pin_i32(scopes.today)
        shard.names = self.pin_bytes(scopes.names)
        shard.name_at = self.pin_u32(scopes.name_at)
        shard.ordinal_count = scopes.slot_of.shape[0]
        shard.slot_of = self.pin_u32(scopes.slot_of)
        shard.groups = &self.groups[at * self.group_count]
        return 0

    cdef int fill_groups(self, uint32_t at, scopes) except -1:
        cdef oh_group_t *group
        cdef uint32_t index
        for index in range(self.group_count):
            group = &self.groups[at * self.group_count + index]
            group.member = self.pin_i32(scopes.member[index])
            group.threshold = self.pin_i32(scopes.threshold[index])
            group.safety_total = self.pin_i64(scopes.safety_total[index])
            group.negative_total = self.pin_i64(scopes.negative_total[index])
            group.slots = self.pin_u32(scopes.member_slots[index])
            group.place = self.pin_u32(scopes.member_place[index])
            group.member_count = <uint32_t> len(scopes.member_slots[index])
            group.today = scopes.today_utc
            group.label = self.pin_bytes(scopes.labels[index])
            group.label_len = <uint32_t> len(scopes.labels[index])
        return 0

    cdef int fill_demand(self, uint32_t at, Table demand, scopes) except -1:
        cdef oh_shard_t *shard = &self.shards[at]
        shard.demand.known_count = scopes.demand_slot_of.shape[0]
        shard.demand.slot_of = self.pin_u32(scopes.demand_slot_of)
        shard.demand.number_of = self.pin_u32(scopes.demand_number_of)
        shard.demand.store = &demand.store
        return 0

    def is_stale(self) -> bool:
        """Return whether a table has locations, or SKUs with rules to look up, that are new."""
        return self.stale()

    cdef bint stale(self) noexcept nogil:
        cdef uint32_t at
        cdef const oh_shard_t *shard = &self.shards[0]
        if (shard.demand.store != NULL
                and shard.demand.store.header.location_count != shard.demand.known_count):
            return True
        for at in range(self.shard_count):
            shard = &self.shards[at]
            if shard.store.header.location_count != shard.known_count:
                return True
            if shard.profile_of != NULL and shard.store.header.sku_count != shard.sku_count:
                return True
        return False

    # ---- finding ----

    cdef int find(self, object sku, oh_item_t *item, bint whoever=False) except -1:
        """Find a SKU; 0 when nobody knows it, which is nothing to callers that ask for whoever."""
        cdef uint32_t at
        cdef uint64_t hashed
        if not utf8_of(sku, &item.text, &item.text_len):
            return 0
        hashed = oh_hash_bytes(item.text, item.text_len, OH_HASH_SEED_SKU)
        at = oh_shard_of(hashed, self.shard_count)
        item.shard = &self.shards[at]
        if oh_demand_any(item.shard):
            oh_sku_prefetch(item.shard.demand.store, hashed)
        item.number = oh_sku_find(item.shard.store, hashed, item.text, item.text_len)
        item.promised = oh_promised_find(item.shard, hashed, item.text, item.text_len)
        return self.settle(at, sku, item, whoever)

    cdef int settle(self, uint32_t at, object sku, oh_item_t *item, bint whoever) except -1:
        """Look up the profile of a SKU, and what its table does not know in set-up."""
        if item.number < oh_sku_limit(item.shard):
            item.profile = 0
            if item.shard.profile_of != NULL:
                item.profile = item.shard.profile_of[item.number]
            return 1
        item.number = OH_NONE
        profile = self.judge(at, sku, whoever or item.promised != OH_NONE)
        if profile is None:
            return 0
        item.profile = profile
        return 1

    cdef int scope_check(self, oh_scope_t scope) except -1:
        if scope.index >= (self.group_count if scope.group else self.shards[0].ordinal_count):
            raise IndexError(scope.index)
        return 0

    def keys(self, list skus):
        """Return a key (uint64) a SKU for the reads that take keys; the largest when unknown.

        A key is good as long as this view is.
        """
        found = np.full(len(skus), 0xffffffffffffffff, np.uint64)
        cdef uint64_t[::1] out = found
        cdef oh_item_t item
        cdef Py_ssize_t at
        for at in range(len(skus)):
            if self.find(skus[at], &item) and item.number != OH_NONE:
                out[at] = <uint64_t> (item.shard - self.shards) << 32 | item.number
        return found

    # ---- available ----

    def available(self, sku, location, bint current=False) -> int:
        """Return the available units of a cell; -1 when a look at set-up is needed first.

        ``current`` says that this look was taken after the read began: names that are newer still
        need not be known to it.
        """
        cdef oh_item_t item
        cdef uint32_t ordinal
        if not current and self.stale():
            return -1
        found = self.ordinals.get(location)
        if found is None or not self.find(sku, &item):
            return -1
        ordinal = found
        return oh_read_cell_available(&item, item.shard.slot_of[ordinal])

    def group_available(self, sku, uint32_t group) -> int:
        """Return the available units of a group; -1 when nobody knows the SKU."""
        cdef oh_item_t item
        cdef oh_room_t room = [[NULL, 0], [NULL, 0], NULL, 0]
        cdef int64_t available = -1
        cdef int status
        self.scope_check([True, group])
        if not self.find(sku, &item):
            return -1
        status = oh_read_group_available(&item, &item.shard.groups[group], &room, &available)
        oh_room_free(&room)
        if status != OH_OK:
            raise MemoryError
        return available

    def available_many(self, list skus not None, list locations not None):
        """Return the available units (int64) of cells, pairwise; -1 where either is unknown."""
        cdef Py_ssize_t total = len(skus)
        if len(locations) != total:
            raise ValueError("Condition failed: as many skus as locations")
        ordinals = np.empty(total, np.uint32)
        available = np.empty(total, np.int64)
        cdef uint32_t[::1] ordinal = ordinals
        cdef int64_t[::1] out = available
        cdef batch_t batch
        cdef Py_ssize_t start
        cdef int count
        for start in range(0, total, CHUNK):
            count = <int> min(CHUNK, total - start)
            if len(skus) != total or len(locations) != total:
                raise RuntimeError("Condition failed: the lists stay as they are while being read")
            self.chunk_locations(locations, start, count, &ordinal[start])
            self.chunk_hash(skus, start, count, &batch)
            self.chunk_find(skus, start, count, &batch)
            self.chunk_read(skus, start, count, &batch, &ordinal[start], &out[start])
            with nogil:
                pass     # whoever waits for the interpreter gets a turn
        return available

    cdef int chunk_locations(self, list locations, Py_ssize_t start, int count,
                             uint32_t *ordinals) except -1:
        """Look up numbers; the same object again, as lists often hold, costs nothing."""
        cdef PyObject *last = NULL
        cdef uint32_t number = OH_NONE
        cdef int at
        for at in range(count):
            if PyList_GET_ITEM(locations, start + at) != last:
                last = PyList_GET_ITEM(locations, start + at)
                found = self.ordinals.get(<object> last)
                number = OH_NONE if found is None else found
            ordinals[at] = number
        return 0

    cdef int chunk_hash(self, list skus, Py_ssize_t start, int count, batch_t *batch) except -1:
        cdef bint promising = oh_demand_any(&self.shards[0])
        cdef int at
        for at in range(count):
            if at + AHEAD < count:
                prefetch(PyList_GET_ITEM(skus, start + at + AHEAD))
                prefetch(<const char *> PyList_GET_ITEM(skus, start + at + AHEAD) + 47)
            if not utf8_of(<object> PyList_GET_ITEM(skus, start + at), &batch.text[at],
                           &batch.length[at]):
                batch.length[at] = 0
                batch.shard[at] = 0
                continue
            batch.hash[at] = oh_hash_bytes(batch.text[at], batch.length[at], OH_HASH_SEED_SKU)
            batch.shard[at] = oh_shard_of(batch.hash[at], self.shard_count)
            oh_sku_prefetch(self.shards[batch.shard[at]].store, batch.hash[at])
            if promising:
                oh_sku_prefetch(self.shards[0].demand.store, batch.hash[at])
        return 0

    cdef int chunk_find(self, list skus, Py_ssize_t start, int count, batch_t *batch) except -1:
        """Each pass asks for the memory that the next one reads."""
        cdef int at
        cdef const oh_shard_t *shard
        cdef bint promising = oh_demand_any(&self.shards[0])
        for at in range(count):
            batch.promised[at] = OH_NONE
            if batch.length[at] != 0:
                oh_sku_prefetch_record(self.shards[batch.shard[at]].store, batch.hash[at])
                if promising:
                    oh_sku_prefetch_record(self.shards[0].demand.store, batch.hash[at])
        for at in range(count):
            shard = &self.shards[batch.shard[at]]
            batch.number[at] = OH_NONE
            if batch.length[at] != 0:
                batch.number[at] = oh_sku_find(shard.store, batch.hash[at], batch.text[at],
                                               batch.length[at])
            if batch.number[at] != OH_NONE:
                oh_row_prefetch(shard.store, batch.number[at])
            if promising and batch.length[at] != 0:
                batch.promised[at] = oh_promised_find(shard, batch.hash[at], batch.text[at],
                                                      batch.length[at])
                if batch.promised[at] != OH_NONE:
                    oh_row_prefetch(shard.demand.store, batch.promised[at])
        return 0

    cdef int chunk_read(self, list skus, Py_ssize_t start, int count, batch_t *batch,
                        const uint32_t *ordinals, int64_t *available) except -1:
        cdef int at
        cdef oh_item_t item
        for at in range(count):
            item.shard = &self.shards[batch.shard[at]]
            item.number = batch.number[at]
            item.promised = batch.promised[at]
            available[at] = -1
            if batch.length[at] == 0 or ordinals[at] == OH_NONE:
                continue
            if self.settle(batch.shard[at], <object> PyList_GET_ITEM(skus, start + at), &item,
                           False):
                available[at] = oh_read_cell_available(&item, item.shard.slot_of[ordinals[at]])
        return 0

    def available_numbers(self, uint32_t shard, const uint32_t[::1] skus,
                          const uint32_t[::1] ordinals):
        """Return the available units (int64) of cells by SKU number and location ordinal."""
        if shard >= self.shard_count or skus.shape[0] != ordinals.shape[0]:
            raise ValueError("Condition failed: a shard of ours, as many skus as locations")
        available = np.empty(skus.shape[0], np.int64)
        cdef int64_t[::1] out = available
        if skus.shape[0] != 0:
            with nogil:
                oh_read_cells_available(&self.shards[shard], &skus[0], &ordinals[0],
                                        skus.shape[0], &out[0])
        return available

    def group_available_numbers(self, uint32_t shard, const uint32_t[::1] skus, uint32_t group):
        """Return the available units (int64) of a group, by SKU number; -1 where there is none."""
        self.scope_check([True, group])
        if shard >= self.shard_count:
            raise ValueError("Condition failed: a shard of ours")
        available = np.empty(skus.shape[0], np.int64)
        cdef int64_t[::1] out = available
        cdef int status = OH_OK
        if skus.shape[0] != 0:
            with nogil:
                status = oh_read_groups_available(&self.shards[shard], &skus[0], skus.shape[0],
                                                  group, &out[0])
        if status != OH_OK:
            raise MemoryError
        return available

    # ---- every number ----

    def numbers(self, sku, bint group, uint32_t index):
        """Return the terms of one answer, or None when nobody knows the SKU.

        Returns
        -------
        tuple
            as_of_us, available, on_hand, held, in_transit, reserved, safety_stock, shortfall, and
            a list of (day, quantity) available to order.
        """
        cdef oh_scope_t scope = [group, index]
        cdef oh_item_t item
        cdef oh_numbers_t terms
        cdef int64_t as_of_us
        self.scope_check(scope)
        if not self.find(sku, &item):
            return None
        as_of_us = item.shard.store.header.as_of_us
        self.terms_of(&item, scope, &terms)
        return (as_of_us, terms.available, terms.on_hand, terms.held, terms.in_transit,
                terms.reserved, terms.safety_stock, terms.shortfall, days_of(&terms))

    cdef int terms_of(self, const oh_item_t *item, oh_scope_t scope,
                      oh_numbers_t *terms) except -1:
        cdef oh_room_t room = [[NULL, 0], [NULL, 0], NULL, 0]
        cdef oh_rows_t rows
        cdef int status = oh_rows_read(item, scope.group, &room, &rows)
        if status == OH_OK:
            oh_numbers(item, &rows, scope, terms)
        oh_rows_done(item, &room, &rows)
        oh_room_free(&room)
        if status != OH_OK:
            raise MemoryError
        return 0

    # ---- JSON ----

    def render(self, sku, bint group, uint32_t index, int64_t now_us, bint detail):
        """Return one answer as JSON, or None when nobody knows the SKU."""
        cdef oh_scope_t scope = [group, index]
        cdef oh_style_t style = [self.low_stock, detail]
        cdef oh_item_t item
        cdef oh_stamp_t stamp
        cdef oh_text_t text = [NULL, 0, 0, False]
        cdef oh_room_t room = [[NULL, 0], [NULL, 0], NULL, 0]
        cdef int status
        self.scope_check(scope)
        if not self.find(sku, &item):
            return None
        # Before the row: the numbers are at least as new as they say.
        oh_stamp(&stamp, item.shard.store.header.as_of_us, now_us)
        try:
            if detail:
                with nogil:     # a group may have thousands of cells
                    status = oh_render_item(&text, &item, scope, &stamp, style, &room)
            else:
                status = oh_render_item(&text, &item, scope, &stamp, style, &room)
            if status != OH_OK:
                raise MemoryError
            return PyBytes_FromStringAndSize(text.bytes, text.length)
        finally:
            oh_text_free(&text)
            oh_room_free(&room)

    def render_query(self, list skus not None, list scopes not None, int64_t now_us):
        """Return the answers about many SKUs at each of many scopes, as JSON.

        Parameters
        ----------
        scopes
            Pairs of (is a group, index of the group or ordinal of the location).
        """
        cdef _Query query = _Query(self, skus, scopes, now_us)
        with nogil:
            query.write()
        return query.take()


cdef list days_of(const oh_numbers_t *numbers):
    """List (day, quantity) available to order: today, and each day on which it changes."""
    cdef int64_t[91] promise
    cdef int day
    days = []
    oh_promise(numbers, promise)
    for day in range(OH_DUE_COUNT):
        if day == 0 or promise[day] != promise[day - 1]:
            days.append((numbers.today + day, promise[day]))
    return days


@cython.final
cdef class _Query:
    """One query on its way: what was found, and the text being written.

    It holds the SKUs' strings, so that their bytes stay while other threads run.
    """

    cdef View view
    cdef tuple skus
    cdef oh_item_t *items
    cdef bint *known
    cdef oh_scope_t *scopes
    cdef oh_stamp_t *stamps
    cdef oh_stamp_t oldest
    cdef Py_ssize_t sku_count
    cdef Py_ssize_t scope_count
    cdef oh_text_t text
    cdef oh_room_t room
    cdef int status

    def __cinit__(self, View view, list skus, list scopes, int64_t now_us):
        self.view = view
        self.skus = tuple(skus)
        self.sku_count = len(skus)
        self.scope_count = len(scopes)
        self.items = <oh_item_t *> calloc(self.sku_count + 1, sizeof(oh_item_t))
        self.known = <bint *> calloc(self.sku_count + 1, sizeof(bint))
        self.scopes = <oh_scope_t *> calloc(self.scope_count + 1, sizeof(oh_scope_t))
        self.stamps = <oh_stamp_t *> calloc(view.shard_count, sizeof(oh_stamp_t))
        if (self.items == NULL or self.known == NULL or self.scopes == NULL
                or self.stamps == NULL):
            raise MemoryError
        for at in range(self.scope_count):
            self.scopes[at].group, self.scopes[at].index = scopes[at]
            view.scope_check(self.scopes[at])
        self.stamp(now_us)
        for at in range(self.sku_count):
            self.known[at] = view.find(self.skus[at], &self.items[at])

    def __dealloc__(self):
        free(self.items)
        free(self.known)
        free(self.scopes)
        free(self.stamps)
        oh_room_free(&self.room)
        oh_text_free(&self.text)

    cdef void stamp(self, int64_t now_us) noexcept:
        """Before any row is read: the numbers are at least as new as they say."""
        cdef uint32_t at
        cdef int64_t as_of_us, oldest_us = self.view.shards[0].store.header.as_of_us
        for at in range(self.view.shard_count):
            as_of_us = self.view.shards[at].store.header.as_of_us
            oldest_us = min(oldest_us, as_of_us)
            oh_stamp(&self.stamps[at], as_of_us, now_us)
        oh_stamp(&self.oldest, oldest_us, now_us)

    cdef void write(self) noexcept nogil:
        oh_text_raw(&self.text, b'{"items":[', 10)
        self.write_items()
        oh_text_raw(&self.text, b'],"unknown":[', 13)
        self.write_unknown()
        oh_text_raw(&self.text, b"],", 2)
        oh_text_stamp(&self.text, &self.oldest)
        oh_text_raw(&self.text, b"}", 1)

    cdef void write_items(self) noexcept nogil:
        cdef oh_style_t style = [self.view.low_stock, False]
        cdef Py_ssize_t at, scope
        cdef bint first = True
        cdef const oh_item_t *item
        for at in range(self.sku_count):
            if at + 4 < self.sku_count and self.items[at + 4].number != OH_NONE:
                if self.known[at + 4]:
                    oh_row_prefetch(self.items[at + 4].shard.store, self.items[at + 4].number)
            item = &self.items[at]
            if not self.known[at]:
                continue
            for scope in range(self.scope_count):
                if not first:
                    oh_text_raw(&self.text, b",", 1)
                first = False
                self.status |= oh_render_item(
                    &self.text, item, self.scopes[scope],
                    &self.stamps[item.shard - self.view.shards], style, &self.room)

    cdef void write_unknown(self) noexcept nogil:
        cdef Py_ssize_t at
        cdef bint first = True
        for at in range(self.sku_count):
            if self.known[at]:
                continue
            if not first:
                oh_text_raw(&self.text, b",", 1)
            first = False
            oh_text_string(&self.text, self.items[at].text, self.items[at].text_len)

    cdef bytes take(self):
        if self.text.failed or self.status != OH_OK:
            raise MemoryError
        return PyBytes_FromStringAndSize(self.text.bytes, self.text.length)
