# The view and what other extensions ask of it; see view.pyx.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from onhand._native.reader cimport (
    Table, oh_group_t, oh_item_t, oh_numbers_t, oh_scope_t, oh_shard_t,
)

cdef list days_of(const oh_numbers_t *numbers)

cdef enum:
    CHUNK = 512          # reads between two chances for other threads

cdef struct batch_t:     # one chunk of a batch read, on its way through the caches
    uint64_t hash[CHUNK]
    const uint8_t *text[CHUNK]
    uint32_t length[CHUNK]
    uint32_t shard[CHUNK]
    uint32_t number[CHUNK]
    uint32_t promised[CHUNK]


cdef class View:
    cdef oh_shard_t *shards      # [shard_count]
    cdef oh_group_t *groups      # [shard_count][group_count]
    cdef uint32_t shard_count
    cdef uint32_t group_count
    cdef int32_t low_stock
    cdef dict ordinals           # number of every location that set-up or a table knows
    cdef object judge
    cdef list kept               # what the pointers above lead into

    cdef const int32_t *pin_i32(self, array) except? NULL
    cdef const uint32_t *pin_u32(self, array) except? NULL
    cdef const int64_t *pin_i64(self, array) except? NULL
    cdef const char *pin_bytes(self, bytes text) except NULL
    cdef int fill_shard(self, uint32_t at, Table table, scopes) except -1
    cdef int fill_groups(self, uint32_t at, scopes) except -1
    cdef int fill_demand(self, uint32_t at, Table demand, scopes) except -1
    # Whether names are new that it does not know.
    cdef bint stale(self) noexcept nogil
    # Finds a SKU; 0 when nobody knows it, and unless `whoever` when set-up does not either.
    cdef int find(self, object sku, oh_item_t *item, bint whoever=*) except -1
    cdef int settle(self, uint32_t at, object sku, oh_item_t *item, bint whoever) except -1
    cdef int scope_check(self, oh_scope_t scope) except -1
    cdef int chunk_locations(self, list locations, Py_ssize_t start, int count,
                             uint32_t *ordinals) except -1
    cdef int chunk_hash(self, list skus, Py_ssize_t start, int count, batch_t *batch) except -1
    cdef int chunk_find(self, list skus, Py_ssize_t start, int count, batch_t *batch) except -1
    cdef int chunk_read(self, list skus, Py_ssize_t start, int count, batch_t *batch,
                        const uint32_t *ordinals, int64_t *available) except -1
    cdef int terms_of(self, const oh_item_t *item, oh_scope_t scope,
                      oh_numbers_t *terms) except -1
