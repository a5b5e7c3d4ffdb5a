# The store's C interface, for the extensions that open one; read native/include/onhand/store.h.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "onhand/hash.h" nogil:
    const uint64_t OH_HASH_SEED_SKU
    uint64_t oh_hash_bytes(const uint8_t *bytes, size_t length, uint64_t seed)
    uint32_t oh_shard_of(uint64_t sku_hash, uint32_t shard_count)

cdef extern from "onhand/store.h" nogil:
    const uint32_t OH_NONE
    const uint32_t OH_TEXT_BYTES_MAX
    const uint16_t OH_ROW_WIDE
    const uint16_t OH_ROW_RARE
    const uint16_t OH_ROW_COUNTED
    enum: OH_PARTITION_MAX, OH_COUNTER_MAX
    enum: OH_OK, OH_NO_SPACE, OH_TABLE_FULL, OH_NO_MEMORY, OH_CORRUPT, OH_IO

    # Fields that are _Atomic in C: a plain mention of one is a sequentially consistent access.
    ctypedef struct oh_header_t:
        uint32_t format_version
        uint32_t shard
        uint32_t shard_count
        uint8_t cluster_id[16]
        uint64_t generation
        uint64_t capacity_bytes
        uint64_t allocated_bytes
        uint64_t used_bytes
        uint64_t sku_count
        uint64_t location_count
        uint64_t cell_count
        uint64_t row_bytes
        uint64_t change_ring_off
        uint64_t change_ring_size
        uint64_t change_seq
        uint64_t history_ring_off
        uint64_t history_ring_size
        uint64_t history_head
        uint64_t history_tail
        int64_t heartbeat_us
        int64_t as_of_us
        int64_t lag_events
        int64_t ledger_sequence
        int64_t ids_since_us
        int64_t counts_since_us
        int64_t applied_offset[1024]
        uint64_t counters[256]

    ctypedef struct oh_store_t:
        int fd
        uint8_t *base
        uint64_t mapped_bytes
        oh_header_t *header

    ctypedef struct oh_incoming_t:
        uint32_t location
        int32_t day
        int64_t quantity

    ctypedef struct oh_movement_t:
        uint32_t position
        uint32_t older
        uint32_t sku
        uint32_t location
        int64_t occurred_us
        int64_t append_us
        int64_t offset
        int32_t quantity
        uint16_t partition
        uint8_t type
        uint8_t effect

    ctypedef struct oh_row_view_t:
        uint64_t word
        uint32_t cell_count
        uint16_t flags
        uint16_t incoming_count
        uint32_t *location
        uint32_t *history
        uint32_t *count
        void *on_hand
        void *held
        void *in_transit
        void *damaged
        oh_incoming_t *incoming

    int oh_store_create(oh_store_t *store, const char *path, uint64_t capacity_bytes,
                        uint64_t change_ring_size, uint64_t history_ring_size)
    int oh_store_adopt(oh_store_t *store, const char *path, uint64_t capacity_bytes,
                       uint64_t image_bytes)
    int oh_store_adopted(oh_store_t *store, uint64_t image_bytes)
    int oh_store_map(oh_store_t *store, const char *path)
    void oh_store_close(oh_store_t *store)

    uint32_t oh_sku_find(const oh_store_t *store, uint64_t hash, const uint8_t *text,
                         uint32_t text_len)
    int oh_sku_resolve(oh_store_t *store, uint64_t hash, const uint8_t *text, uint32_t text_len,
                       uint32_t *number)
    uint32_t oh_location_find(const oh_store_t *store, const uint8_t *text, uint32_t text_len)
    int oh_location_resolve(oh_store_t *store, const uint8_t *text, uint32_t text_len,
                            uint32_t *number)
    void oh_sku_prefetch(const oh_store_t *store, uint64_t hash)
    void oh_sku_prefetch_record(const oh_store_t *store, uint64_t hash)
    const uint8_t *oh_sku_text(const oh_store_t *store, uint32_t number, uint32_t *text_len)
    const uint8_t *oh_location_text(const oh_store_t *store, uint32_t number, uint32_t *text_len)

    bint oh_row_view(const oh_store_t *store, uint32_t sku, oh_row_view_t *view)
    uint32_t oh_row_find(const oh_row_view_t *view, uint32_t location)
    int64_t oh_cell_get(const oh_row_view_t *view, const void *column, uint32_t cell)
    int oh_cell_resolve(oh_store_t *store, uint32_t sku, uint32_t location, uint16_t needs,
                        oh_row_view_t *view, uint32_t *cell)
    int oh_cell_add(oh_store_t *store, uint32_t sku, uint32_t location, const int64_t *delta)
    int oh_cell_add_on_hand(oh_store_t *store, uint32_t sku, oh_row_view_t *view, uint32_t cell,
                            int64_t delta)
    int oh_incoming_add(oh_store_t *store, uint32_t sku, uint32_t location, int32_t day,
                        int64_t delta)
    void oh_change_push(oh_store_t *store, uint32_t sku, uint32_t location)
