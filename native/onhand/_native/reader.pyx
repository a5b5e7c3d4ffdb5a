"""One table as readers see it: a store, mapped read-only, and what can be asked of it alone.

Read src/onhand/table/reader.py first. Answers that need scopes or all shards are those of
onhand._native.view.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free

from onhand._native.store cimport (
    OH_CORRUPT,
    OH_COUNTER_MAX,
    OH_HASH_SEED_SKU,
    OH_NO_MEMORY,
    OH_NONE,
    OH_OK,
    OH_PARTITION_MAX,
    OH_TEXT_BYTES_MAX,
    oh_cell_get,
    oh_hash_bytes,
    oh_header_t,
    oh_location_find,
    oh_location_text,
    oh_sku_find,
    oh_sku_text,
    oh_store_close,
    oh_store_map,
)

import os

import numpy as np

from onhand.errors import TableUnavailable

cdef int check(int status, object path) except -1:
    """Turn a status into an exception; the only place that does."""
    if status == OH_OK:
        return 0
    if status == OH_NO_MEMORY:
        raise MemoryError(f"no address space or memory left to read the table {path}")
    if status == OH_CORRUPT:
        raise TableUnavailable(
            f"{path} is not a table of this version of onhand",
            "Stop onhand, remove the file and start again; the table is rebuilt",
        )
    raise OSError(errno, os.strerror(errno), os.fspath(path))


cdef extern from *:
    """
    #include <sys/stat.h>

    static int file_stamp(const char *path, long long *inode, long long *modified_ns)
    {
        struct stat status;
        if (stat(path, &status) != 0)
            return -1;
        *inode = (long long)status.st_ino;
        *modified_ns = status.st_mtim.tv_sec * 1000000000LL + status.st_mtim.tv_nsec;
        return 0;
    }
    """
    int file_stamp(const char *path, long long *inode, long long *modified_ns) nogil

cdef extern from *:
    """
    #include <fcntl.h>
    #include <sys/stat.h>
    #include <unistd.h>

    static int file_open(const char *path) { return open(path, O_RDONLY | O_CLOEXEC); }

    static int file_in_place(int fd)
    {
        struct stat status;
        return fd >= 0 && fstat(fd, &status) == 0 && status.st_nlink > 0;
    }
    """
    int file_open(const char *path) nogil
    bint file_in_place(int fd) nogil
    int close(int fd) nogil


def stamp(bytes path not None) -> tuple[int, int] | None:
    """Tell one version of a file from another, at half the cost of os.stat; None without a file."""
    cdef long long inode = 0, modified_ns = 0
    if file_stamp(path, &inode, &modified_ns) != 0:
        return None
    return inode, modified_ns


@cython.final
cdef class Watch:
    """A file held open, to learn at a third of the cost of its stamp that it was replaced.

    One that is missing is not in place.
    """

    cdef int fd

    def __cinit__(self, bytes path not None):
        self.fd = file_open(path)

    def __dealloc__(self):
        if self.fd >= 0:
            close(self.fd)

    def in_place(self) -> bool:
        """Return whether the file still has the name it was opened by."""
        return file_in_place(self.fd)


cdef inline str text_of(const uint8_t *text, uint32_t length):
    return PyUnicode_DecodeUTF8(<const char *> text, length, "replace")


cdef bint utf8_of(object text, const uint8_t **utf8, uint32_t *length) except? False:
    """False for what cannot be a name: too long, or no UTF-8."""
    cdef Py_ssize_t size = 0
    if not isinstance(text, str):
        raise TypeError(f"names are str, not {type(text).__name__}")
    try:
        utf8[0] = <const uint8_t *> PyUnicode_AsUTF8AndSize(text, &size)
    except UnicodeEncodeError:
        return False
    length[0] = <uint32_t> size
    return 0 < size <= OH_TEXT_BYTES_MAX


cdef uint32_t sku_number(const oh_store_t *store, object sku) except? 0xfffffffe:
    cdef const uint8_t *utf8 = NULL
    cdef uint32_t length = 0
    if not utf8_of(sku, &utf8, &length):
        return OH_NONE
    return oh_sku_find(store, oh_hash_bytes(utf8, length, OH_HASH_SEED_SKU), utf8, length)


@cython.final
cdef class Table:
    """One store, mapped read-only; the file may be unlinked while it is held.

    Parameters
    ----------
    path
        The store's file.

    Raises
    ------
    TableUnavailable
        The file is no store of this format.
    OSError
        It cannot be opened or mapped.
    """

    def __cinit__(self, path):
        self.store.fd = -1
        self.store.base = NULL
        self.path = path
        cdef bytes name = os.fsencode(path)
        check(oh_store_map(&self.store, name), path)

    def __dealloc__(self):
        oh_store_close(&self.store)

    @property
    def identity(self) -> tuple[bytes, int, int, int]:
        """Cluster id, shard, shard count and generation."""
        cdef oh_header_t *header = self.store.header
        cluster = PyBytes_FromStringAndSize(<char *> header.cluster_id, 16)
        return cluster, header.shard, header.shard_count, header.generation

    @property
    def sku_count(self) -> int:
        """SKUs known to the store."""
        return self.store.header.sku_count

    @property
    def location_count(self) -> int:
        """Locations known to the store."""
        return self.store.header.location_count

    @property
    def change_seq(self) -> int:
        """Sequence of the newest change."""
        return self.store.header.change_seq

    def statistics(self) -> dict[str, int]:
        """Return the header's gauges: sizes in bytes, counts and capacities."""
        cdef oh_header_t *header = self.store.header
        return {
            "capacity_bytes": header.capacity_bytes,
            "allocated_bytes": header.allocated_bytes,
            "used_bytes": header.used_bytes,
            "row_bytes": header.row_bytes,
            "skus": header.sku_count,
            "locations": header.location_count,
            "cells": header.cell_count,
            "history": header.history_head - header.history_tail,
            "history_max": header.history_ring_size,
            "changes_max": header.change_ring_size,
        }

    def progress(self) -> tuple[int, int, int, int, int, int]:
        """Return as_of_us, heartbeat_us, lag_events, ledger_sequence, ids_ and counts_since_us."""
        cdef oh_header_t *header = self.store.header
        return (header.as_of_us, header.heartbeat_us, header.lag_events, header.ledger_sequence,
                header.ids_since_us, header.counts_since_us)

    def applied_offsets(self, int partition_count) -> list[int]:
        """Return the next offset to apply per partition index."""
        if not 0 <= partition_count <= OH_PARTITION_MAX:
            raise ValueError("Condition failed: the store has so many partitions")
        cdef int at
        return [self.store.header.applied_offset[at] for at in range(partition_count)]

    def counters(self) -> list[int]:
        """Return the writer's counters, by index."""
        cdef int at
        return [self.store.header.counters[at] for at in range(OH_COUNTER_MAX)]

    def find_sku(self, sku) -> int | None:
        """Return a SKU's number."""
        cdef uint32_t number = sku_number(&self.store, sku)
        return None if number == OH_NONE else number

    def find_location(self, location) -> int | None:
        """Return a location's number."""
        cdef const uint8_t *utf8 = NULL
        cdef uint32_t length = 0
        if not utf8_of(location, &utf8, &length):
            return None
        cdef uint32_t number = oh_location_find(&self.store, utf8, length)
        return None if number == OH_NONE else number

    def sku_names(self, uint64_t start=0, stop=None) -> list[str]:
        """Return the SKUs with numbers from start to stop, all that there are by default."""
        cdef uint64_t count = self.store.header.sku_count
        cdef uint64_t end = count if stop is None else min(<uint64_t> stop, count)
        cdef uint64_t at
        cdef uint32_t length
        cdef const uint8_t *text
        names = []
        for at in range(start, end):
            text = oh_sku_text(&self.store, <uint32_t> at, &length)
            names.append(text_of(text, length))
        return names

    def location_names(self, uint64_t start=0) -> list[str]:
        """Return the locations with numbers from start on."""
        cdef uint64_t at
        cdef uint32_t length
        cdef const uint8_t *text
        names = []
        for at in range(start, self.store.header.location_count):
            text = oh_location_text(&self.store, <uint32_t> at, &length)
            names.append(text_of(text, length))
        return names

    def names_of(self, const uint32_t[::1] skus) -> list[str]:
        """Return the SKUs with these numbers.

        Raises
        ------
        IndexError
            A number is not the store's.
        """
        cdef uint64_t count = self.store.header.sku_count
        cdef Py_ssize_t at
        cdef uint32_t length
        cdef const uint8_t *text
        names = []
        for at in range(skus.shape[0]):
            if skus[at] >= count:
                raise IndexError(skus[at])
            text = oh_sku_text(&self.store, skus[at], &length)
            names.append(text_of(text, length))
        return names

    def row(self, uint32_t sku):
        """Return one row as it was at one moment.

        Returns
        -------
        tuple
            Columns location (uint32), then on_hand, held, in_transit, damaged (int64), then a list
            of (location, day, quantity) that is due. All are empty when there is no row.
        """
        if sku >= self.store.header.sku_count:
            raise IndexError(sku)
        cdef oh_scratch_t scratch = [NULL, 0]
        cdef oh_row_view_t view
        cdef int status = OH_OK
        try:
            if not oh_row_copy(&self.store, sku, &scratch, &view, &status):
                check(status, self.path)
                view.cell_count = view.incoming_count = 0
            columns = np.empty((5, view.cell_count), np.int64)
            copy_cells(&view, columns)
            due = [(view.incoming[at].location, view.incoming[at].day, view.incoming[at].quantity)
                   for at in range(view.incoming_count)]
        finally:
            free(scratch.bytes)
        return columns[0].astype(np.uint32), *columns[1:], due

    def cells(self, uint64_t start=0, stop=None):
        """Return every cell of SKU numbers from start to stop, each row as it was at one moment.

        Returns
        -------
        dict
            Columns sku and location (uint32), on_hand, held, in_transit, damaged (int64).
        """
        cdef uint64_t end = self.store.header.sku_count
        if stop is not None:
            end = min(end, <uint64_t> stop)
        cdef uint64_t sku = start
        cdef Py_ssize_t used = 0
        columns = np.empty((6, max(1024, min(self.store.header.cell_count, (end - start) * 16))),
                           np.int64)
        cdef oh_scratch_t scratch = [NULL, 0]
        try:
            while sku < end:
                sku = cells_fill(&self.store, columns, sku, end, &used, &scratch)
                if sku < end:
                    columns = np.concatenate((columns, np.empty_like(columns)), axis=1)
        finally:
            free(scratch.bytes)
        kept = columns[:, :used]
        return {"sku": kept[0].astype(np.uint32), "location": kept[1].astype(np.uint32),
                "on_hand": kept[2], "held": kept[3], "in_transit": kept[4], "damaged": kept[5]}

    def incoming(self, uint64_t start=0, stop=None):
        """Return what is due of SKU numbers from start to stop, each row as it was at one moment.

        Returns
        -------
        dict
            Columns sku and location (uint32), day (int32), quantity (int64).
        """
        cdef uint64_t end = self.store.header.sku_count
        if stop is not None:
            end = min(end, <uint64_t> stop)
        cdef uint64_t sku = start
        cdef Py_ssize_t used = 0
        columns = np.empty((4, 1024), np.int64)
        cdef oh_scratch_t scratch = [NULL, 0]
        try:
            while sku < end:
                sku = incoming_fill(&self.store, columns, sku, end, &used, &scratch)
                if sku < end:
                    columns = np.concatenate((columns, np.empty_like(columns)), axis=1)
        finally:
            free(scratch.bytes)
        kept = columns[:, :used]
        return {"sku": kept[0].astype(np.uint32), "location": kept[1].astype(np.uint32),
                "day": kept[2].astype(np.int32), "quantity": kept[3]}

    def changes(self, uint64_t since, uint32_t count_max):
        """Return SKU numbers and location numbers that changed after a sequence.

        Returns
        -------
        tuple
            Columns sku and location (uint32), the sequence reached, and whether that is all:
            False when the ring has lapped; use changed_skus then, from the sequence reached.
        """
        skus = np.empty(max(count_max, 1), np.uint32)
        locations = np.empty(max(count_max, 1), np.uint32)
        cdef uint32_t[::1] sku_out = skus
        cdef uint32_t[::1] location_out = locations
        cdef uint32_t count = 0
        cdef uint64_t last = 0
        cdef bint complete
        with nogil:
            complete = oh_changes_read(&self.store, since, &sku_out[0], &location_out[0],
                                       count_max, &count, &last)
        return skus[:count], locations[:count], last, bool(complete)

    def changed_skus(self, uint64_t since, uint64_t start, uint32_t count_max):
        """Return SKU numbers from start on whose row changed after a sequence, and where to go on.

        The scan is done when what to go on with is the SKU count.
        """
        skus = np.empty(max(count_max, 1), np.uint32)
        cdef uint32_t[::1] out = skus
        cdef uint64_t position = start
        cdef uint32_t count
        with nogil:
            count = oh_changed_skus(&self.store, since, &position, &out[0], count_max)
        return skus[:count], position

    def history(self, uint32_t sku, uint32_t location, uint64_t before, uint32_t count_max):
        """Return the newest movements of a cell with ring positions below `before`.

        Returns
        -------
        list
            (position, type, quantity, effect, occurred_us, append_us, partition, offset)
        """
        if sku >= self.store.header.sku_count:
            return []
        cdef oh_movement_t *movements = <oh_movement_t *> PyMem_Calloc(
            count_max + 1, sizeof(oh_movement_t))
        cdef uint64_t *positions = <uint64_t *> PyMem_Calloc(count_max + 1, sizeof(uint64_t))
        cdef uint32_t count, at
        try:
            if movements == NULL or positions == NULL:
                raise MemoryError
            count = oh_history_read(&self.store, sku, location, before, movements, positions,
                                    count_max)
            return [(positions[at], movements[at].type, movements[at].quantity,
                     movements[at].effect, movements[at].occurred_us, movements[at].append_us,
                     movements[at].partition, movements[at].offset) for at in range(count)]
        finally:
            PyMem_Free(movements)
            PyMem_Free(positions)


cdef copy_cells(const oh_row_view_t *view, int64_t[:, ::1] columns):
    cdef uint32_t cell
    for cell in range(view.cell_count):
        columns[0, cell] = view.location[cell]
        columns[1, cell] = oh_cell_get(view, view.on_hand, cell)
        columns[2, cell] = oh_cell_get(view, view.held, cell)
        columns[3, cell] = oh_cell_get(view, view.in_transit, cell)
        columns[4, cell] = oh_cell_get(view, view.damaged, cell)


cdef uint64_t cells_fill(const oh_store_t *store, int64_t[:, ::1] columns, uint64_t sku,
                         uint64_t end, Py_ssize_t *used, oh_scratch_t *scratch) except? 0:
    """Copy rows while there is room; return the SKU to go on with."""
    cdef oh_row_view_t view
    cdef int status = OH_OK
    cdef uint32_t cell
    cdef Py_ssize_t room = columns.shape[1]
    with nogil:
        while sku < end:
            if oh_row_copy(store, <uint32_t> sku, scratch, &view, &status):
                if used[0] + <Py_ssize_t> view.cell_count > room:
                    break
                for cell in range(view.cell_count):
                    columns[0, used[0]] = sku
                    columns[1, used[0]] = view.location[cell]
                    columns[2, used[0]] = oh_cell_get(&view, view.on_hand, cell)
                    columns[3, used[0]] = oh_cell_get(&view, view.held, cell)
                    columns[4, used[0]] = oh_cell_get(&view, view.in_transit, cell)
                    columns[5, used[0]] = oh_cell_get(&view, view.damaged, cell)
                    used[0] += 1
            elif status != OH_OK:
                break
            sku += 1
    check(status, "that is open")
    return sku


cdef uint64_t incoming_fill(const oh_store_t *store, int64_t[:, ::1] columns, uint64_t sku,
                            uint64_t end, Py_ssize_t *used, oh_scratch_t *scratch) except? 0:
    """Copy what is due while there is room; return the SKU to go on with."""
    cdef oh_row_view_t view
    cdef int status = OH_OK
    cdef uint32_t at
    cdef Py_ssize_t room = columns.shape[1]
    with nogil:
        while sku < end:
            if oh_row_copy(store, <uint32_t> sku, scratch, &view, &status):
                if used[0] + <Py_ssize_t> view.incoming_count > room:
                    break
                for at in range(view.incoming_count):
                    columns[0, used[0]] = sku
                    columns[1, used[0]] = view.incoming[at].location
                    columns[2, used[0]] = view.incoming[at].day
                    columns[3, used[0]] = view.incoming[at].quantity
                    used[0] += 1
            elif status != OH_OK:
                break
            sku += 1
    check(status, "that is open")
    return sku
