/* Every number of an answer, from copies of the rows, each as it was at one moment. */
#include "reader/reader.h"

#include <stdlib.h>
#include <string.h>

static inline int64_t positive(int64_t value)
{
    return value > 0 ? value : 0;
}

/* ---- safety stock ---- */

static bool override_find(const oh_shard_t *shard, const oh_special_t *special, uint32_t slot,
                          int32_t *quantity)
{
    uint32_t low = special->first, high = special->first + special->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (shard->override_slot[middle] < slot)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == special->first + special->count || shard->override_slot[low] != slot)
        return false;
    *quantity = shard->override_quantity[low];
    return true;
}

static inline int32_t profile_safety(const oh_shard_t *shard, uint32_t profile, uint32_t slot)
{
    return shard->safety[(uint64_t)profile * shard->slot_count + slot];
}

int32_t oh_safety_stock(const oh_item_t *item, uint32_t slot)
{
    const oh_shard_t *shard = item->shard;
    if (item->profile < shard->profile_count)
        return profile_safety(shard, item->profile, slot);
    const oh_special_t *special = &shard->specials[item->profile - shard->profile_count];
    int32_t quantity;
    if (override_find(shard, special, slot, &quantity))
        return quantity;
    return profile_safety(shard, special->profile, slot);
}

/* Over all members, whether they have a cell or not. */
static void safety_totals(const oh_item_t *item, const oh_group_t *group, int64_t *safety,
                          int64_t *negative)
{
    const oh_shard_t *shard = item->shard;
    bool plain = item->profile < shard->profile_count;
    const oh_special_t *special =
        plain ? NULL : &shard->specials[item->profile - shard->profile_count];
    uint32_t profile = plain ? item->profile : special->profile;
    *safety = group->safety_total[profile];
    *negative = group->negative_total[profile];
    for (uint32_t at = 0; special != NULL && at < special->count; at++) {
        uint32_t slot = shard->override_slot[special->first + at];
        if (group->member[slot] == 0)
            continue;
        int64_t quantity = shard->override_quantity[special->first + at];
        int64_t instead_of = profile_safety(shard, profile, slot);
        *safety += quantity - instead_of;
        *negative += positive(-quantity) - positive(-instead_of);
    }
}

/* ---- a row at one moment ---- */

static int scratch_grow(oh_scratch_t *scratch, uint64_t bytes)
{
    if (scratch->capacity >= bytes)
        return OH_OK;
    uint8_t *grown = realloc(scratch->bytes, bytes);
    if (grown == NULL)
        return OH_NO_MEMORY;
    scratch->bytes = grown;
    scratch->capacity = bytes;
    return OH_OK;
}

/* By words of 8 aligned bytes: no counter is ever copied in two halves. */
static void block_copy(uint8_t *to, const uint8_t *from, uint64_t bytes)
{
    oh_word_t *words = (oh_word_t *)to;
    for (uint64_t at = 0; at < bytes / 8; at++)
        words[at] = __atomic_load_n((const oh_word_t *)from + at, __ATOMIC_RELAXED);
}

static void *moved(const void *column, int64_t distance)
{
    return column == NULL ? NULL : (uint8_t *)(uintptr_t)column + distance;
}

static void view_move(oh_row_view_t *view, uint8_t *to)
{
    int64_t distance = to - (uint8_t *)view->row;
    view->row = moved(view->row, distance);
    view->location = moved(view->location, distance);
    view->history = moved(view->history, distance);
    view->count = moved(view->count, distance);
    view->on_hand = moved(view->on_hand, distance);
    view->held = moved(view->held, distance);
    view->in_transit = moved(view->in_transit, distance);
    view->damaged = moved(view->damaged, distance);
    view->incoming = moved(view->incoming, distance);
}

/* Only what is used: the end of the last column that the view names. */
static uint64_t view_bytes(const oh_row_view_t *view)
{
    uint64_t incoming = (uint64_t)((uint8_t *)view->incoming - (uint8_t *)view->row);
    return incoming + view->incoming_count * sizeof(oh_incoming_t);
}

bool oh_row_copy(const oh_store_t *store, uint32_t sku, oh_scratch_t *scratch, oh_row_view_t *view,
                 int *status)
{
    *status = OH_OK;
    for (;;) {
        if (!oh_row_view(store, sku, view))
            return false;
        uint64_t bytes = view_bytes(view);
        *status = scratch_grow(scratch, bytes);
        if (*status != OH_OK)
            return false;
        block_copy(scratch->bytes, (uint8_t *)view->row, bytes);
        if (!oh_row_confirm(store, sku, view))
            continue;
        /* In-place appends raise cell_count before the word: trust the view's, not the copy's. */
        view_move(view, scratch->bytes);
        return true;
    }
}

/* ---- numbers ---- */

static void numbers_clear(oh_numbers_t *numbers, int32_t today)
{
    memset(numbers, 0, offsetof(oh_numbers_t, due));
    numbers->today = today;
}

static void due_add(oh_numbers_t *numbers, int64_t days, int64_t quantity)
{
    if (days < 0 || days >= OH_DUE_COUNT)
        return; /* later than the horizon is not looked at */
    if (!numbers->any_due)
        memset(numbers->due, 0, sizeof numbers->due);
    numbers->any_due = true;
    numbers->due[days] += quantity;
}

/* Overdue incoming counts 0: nobody knows whether it will come. */
static void incoming_add(oh_numbers_t *numbers, const oh_incoming_t *entry)
{
    due_add(numbers, (int64_t)entry->day - numbers->today, entry->quantity);
}

/* An overdue backorder is still owed, and takes the first units that there are. */
static void backorder_add(oh_numbers_t *numbers, const oh_incoming_t *entry)
{
    due_add(numbers, positive((int64_t)entry->day - numbers->today), -entry->quantity);
}

static int64_t shortfall_of(int64_t on_hand, int64_t reserved, int64_t safety)
{
    return positive(reserved + (safety < 0 ? safety : 0) - on_hand);
}

/* ---- a cell ---- */

static int64_t cell_reserved(const oh_item_t *item, const oh_rows_t *rows, uint32_t slot)
{
    if (rows->demand == NULL)
        return 0;
    if (rows->reserved != NULL)
        return rows->reserved[slot];
    uint32_t location = item->shard->demand.number_of[slot];
    uint32_t cell = location == OH_NONE ? OH_NONE : oh_row_find(rows->demand, location);
    return cell == OH_NONE ? 0 : oh_cell_get(rows->demand, rows->demand->on_hand, cell);
}

static void cell_due(const oh_item_t *item, const oh_rows_t *rows, uint32_t slot,
                     oh_numbers_t *numbers)
{
    const oh_row_view_t *supply = rows->supply, *demand = rows->demand;
    bool stored = supply != NULL && slot < item->shard->known_count;
    for (uint32_t at = 0; stored && at < supply->incoming_count; at++) {
        if (supply->incoming[at].location == slot)
            incoming_add(numbers, &supply->incoming[at]);
    }
    for (uint32_t at = 0; demand != NULL && at < demand->incoming_count; at++) {
        if (oh_demand_slot(item->shard, demand->incoming[at].location) == slot)
            backorder_add(numbers, &demand->incoming[at]);
    }
}

void oh_cell_numbers(const oh_item_t *item, const oh_rows_t *rows, uint32_t slot,
                     oh_numbers_t *numbers)
{
    const oh_shard_t *shard = item->shard;
    const oh_row_view_t *row = rows->supply;
    numbers_clear(numbers, shard->today[slot]);
    bool stored = row != NULL && slot < shard->known_count;
    uint32_t cell = stored ? oh_row_find(row, slot) : OH_NONE;
    if (cell != OH_NONE) {
        numbers->on_hand = oh_cell_get(row, row->on_hand, cell);
        numbers->held = oh_cell_get(row, row->held, cell);
        numbers->in_transit = oh_cell_get(row, row->in_transit, cell);
    }
    int64_t safety = oh_safety_stock(item, slot);
    numbers->reserved = cell_reserved(item, rows, slot);
    numbers->safety_stock = safety;
    numbers->promise_base = numbers->on_hand - numbers->reserved - safety;
    numbers->available = positive(numbers->promise_base);
    numbers->shortfall = shortfall_of(numbers->on_hand, numbers->reserved, safety);
    cell_due(item, rows, slot, numbers);
}

/* ---- a group ---- */

static inline uint32_t supply_slot(const oh_shard_t *shard, uint32_t location)
{
    return location < shard->known_count ? location : shard->known_count;
}

static void group_due(const oh_item_t *item, const oh_rows_t *rows, const oh_group_t *group,
                      oh_numbers_t *numbers)
{
    const oh_row_view_t *supply = rows->supply, *demand = rows->demand;
    for (uint32_t at = 0; supply != NULL && at < supply->incoming_count; at++) {
        if (group->member[supply_slot(item->shard, supply->incoming[at].location)] != 0)
            incoming_add(numbers, &supply->incoming[at]);
    }
    for (uint32_t at = 0; demand != NULL && at < demand->incoming_count; at++) {
        if (group->member[oh_demand_slot(item->shard, demand->incoming[at].location)] != 0)
            backorder_add(numbers, &demand->incoming[at]);
    }
}

/* Takes every member for one that has no stock; those that have some are put right afterwards. */
static void group_demand(const oh_item_t *item, const oh_row_view_t *row, const oh_group_t *group,
                         oh_numbers_t *numbers)
{
    for (uint32_t cell = 0; row != NULL && cell < row->cell_count; cell++) {
        uint32_t slot = oh_demand_slot(item->shard, row->location[cell]);
        int64_t reserved = oh_cell_get(row, row->on_hand, cell);
        if (group->member[slot] == 0 || reserved == 0)
            continue;
        int64_t safety = oh_safety_stock(item, slot);
        numbers->reserved += reserved;
        numbers->available += positive(-reserved - safety) - positive(-safety);
        numbers->shortfall += shortfall_of(0, reserved, safety);
    }
}

static void group_supply(const oh_item_t *item, const oh_rows_t *rows, const oh_group_t *group,
                         oh_numbers_t *numbers)
{
    const oh_row_view_t *row = rows->supply;
    for (uint32_t cell = 0; row != NULL && cell < row->cell_count; cell++) {
        uint32_t slot = supply_slot(item->shard, row->location[cell]);
        if (group->member[slot] == 0)
            continue;
        int64_t safety = oh_safety_stock(item, slot);
        int64_t on_hand = oh_cell_get(row, row->on_hand, cell);
        int64_t reserved = rows->reserved == NULL ? 0 : rows->reserved[slot];
        int64_t taken = reserved + safety;
        numbers->on_hand += on_hand;
        numbers->held += oh_cell_get(row, row->held, cell);
        numbers->in_transit += oh_cell_get(row, row->in_transit, cell);
        numbers->available += positive(on_hand - taken) - positive(-taken);
        numbers->shortfall += shortfall_of(on_hand, reserved, safety)
                            - shortfall_of(0, reserved, safety);
    }
}

void oh_group_numbers(const oh_item_t *item, const oh_rows_t *rows, const oh_group_t *group,
                      oh_numbers_t *numbers)
{
    numbers_clear(numbers, group->today);
    safety_totals(item, group, &numbers->safety_stock, &numbers->available);
    group_demand(item, rows->demand, group, numbers);
    group_supply(item, rows, group, numbers);
    numbers->promise_base = numbers->available;
    group_due(item, rows, group, numbers);
}

void oh_numbers(const oh_item_t *item, const oh_rows_t *rows, oh_scope_t scope,
                oh_numbers_t *numbers)
{
    if (scope.group)
        oh_group_numbers(item, rows, &item->shard->groups[scope.index], numbers);
    else
        oh_cell_numbers(item, rows, item->shard->slot_of[scope.index], numbers);
}

void oh_promise(const oh_numbers_t *numbers, int64_t promise[OH_DUE_COUNT])
{
    int64_t running = numbers->promise_base;
    for (int day = 0; day < OH_DUE_COUNT; day++) {
        running += numbers->any_due ? numbers->due[day] : 0;
        promise[day] = running;
    }
    for (int day = OH_HORIZON_DAYS; day-- > 0;) {
        if (promise[day] > promise[day + 1])
            promise[day] = promise[day + 1];
    }
    for (int day = 0; day < OH_DUE_COUNT; day++)
        promise[day] = positive(promise[day]);
}
