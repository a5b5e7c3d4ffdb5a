# What the C side of the reader offers; native/onhand/_native/reader/reader.h explains it.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from onhand._native.store cimport oh_movement_t, oh_row_view_t, oh_store_t

cdef extern from "reader/reader.h" nogil:
    enum: OH_DUE_COUNT

    ctypedef struct oh_special_t:
        uint32_t profile
        uint32_t first
        uint32_t count

    ctypedef struct oh_group_t:
        const int32_t *member
        const int32_t *threshold
        const int64_t *safety_total
        const int64_t *negative_total
        const uint32_t *slots
        const uint32_t *place
        uint32_t member_count
        int32_t today
        uint32_t label_len
        const char *label

    ctypedef struct oh_demand_t:
        const oh_store_t *store
        uint32_t known_count
        const uint32_t *slot_of
        const uint32_t *number_of

    ctypedef struct oh_shard_t:
        const oh_store_t *store
        uint32_t known_count
        uint32_t slot_count
        uint32_t sku_count
        uint32_t profile_count
        const int32_t *safety
        const uint32_t *profile_of
        const oh_special_t *specials
        const uint32_t *override_slot
        const int32_t *override_quantity
        const int32_t *today
        const char *names
        const uint32_t *name_at
        uint32_t ordinal_count
        const uint32_t *slot_of
        const oh_group_t *groups
        oh_demand_t demand

    ctypedef struct oh_item_t:
        const oh_shard_t *shard
        uint32_t number
        uint32_t profile
        uint32_t promised
        const uint8_t *text
        uint32_t text_len

    ctypedef struct oh_scope_t:
        bint group
        uint32_t index

    ctypedef struct oh_numbers_t:
        int64_t available
        int64_t on_hand
        int64_t held
        int64_t in_transit
        int64_t reserved
        int64_t safety_stock
        int64_t shortfall
        int64_t promise_base
        int32_t today
        int64_t due[91]

    ctypedef struct oh_scratch_t:
        uint8_t *bytes
        uint64_t capacity

    ctypedef struct oh_room_t:
        oh_scratch_t supply
        oh_scratch_t demand
        int64_t *by_slot
        uint32_t slot_count

    ctypedef struct oh_rows_t:
        const oh_row_view_t *supply
        const oh_row_view_t *demand

    ctypedef struct oh_terms_t:
        int64_t on_hand
        int64_t reserved
        int64_t safety_stock

    ctypedef struct oh_text_t:
        char *bytes
        size_t length
        size_t capacity
        bint failed

    ctypedef struct oh_stamp_t:
        int64_t age_ms

    ctypedef struct oh_style_t:
        int32_t low_stock
        bint detail

    uint32_t oh_sku_limit(const oh_shard_t *shard)
    bint oh_demand_any(const oh_shard_t *shard)
    uint32_t oh_promised_find(const oh_shard_t *shard, uint64_t hash, const uint8_t *text,
                              uint32_t text_len)
    void oh_room_free(oh_room_t *room)
    int oh_rows_read(const oh_item_t *item, bint by_slot, oh_room_t *room, oh_rows_t *rows)
    void oh_rows_done(const oh_item_t *item, oh_room_t *room, const oh_rows_t *rows)
    oh_terms_t oh_read_cell(const oh_item_t *item, uint32_t slot)
    int64_t oh_read_cell_available(const oh_item_t *item, uint32_t slot)
    int oh_read_group_available(const oh_item_t *item, const oh_group_t *group, oh_room_t *room,
                                int64_t *available)
    int oh_read_group_cells(const oh_item_t *item, const oh_group_t *group, oh_room_t *room,
                            int64_t *available)
    int oh_read_groups_available(const oh_shard_t *shard, const uint32_t *skus, uint64_t count,
                                 uint32_t group, int64_t *available)
    void oh_read_cells_available(const oh_shard_t *shard, const uint32_t *skus,
                                 const uint32_t *ordinals, uint64_t count, int64_t *available)
    bint oh_row_copy(const oh_store_t *store, uint32_t sku, oh_scratch_t *scratch,
                     oh_row_view_t *view, int *status)
    void oh_numbers(const oh_item_t *item, const oh_rows_t *rows, oh_scope_t scope,
                    oh_numbers_t *numbers)
    void oh_promise(const oh_numbers_t *numbers, int64_t *promise)
    void oh_text_free(oh_text_t *text)
    void oh_text_raw(oh_text_t *text, const char *bytes, size_t length)
    void oh_text_string(oh_text_t *text, const uint8_t *utf8, size_t length)
    void oh_stamp(oh_stamp_t *stamp, int64_t as_of_us, int64_t now_us)
    void oh_text_stamp(oh_text_t *text, const oh_stamp_t *stamp)
    int oh_render_item(oh_text_t *text, const oh_item_t *item, oh_scope_t scope,
                       const oh_stamp_t *stamp, oh_style_t style, oh_room_t *room)
    uint32_t oh_history_read(const oh_store_t *store, uint32_t sku, uint32_t location,
                             uint64_t before, oh_movement_t *movements, uint64_t *positions,
                             uint32_t count_max)
    bint oh_changes_read(const oh_store_t *store, uint64_t since, uint32_t *skus,
                         uint32_t *locations, uint32_t count_max, uint32_t *count,
                         uint64_t *last_seq)
    uint32_t oh_changed_skus(const oh_store_t *store, uint64_t since, uint64_t *next,
                             uint32_t *skus, uint32_t count_max)


cdef class Table:
    cdef oh_store_t store
    cdef readonly object path
