/* What is due: entries of a row by location and day. Every change makes a new block. */
#include "store/rows.h"

#define INCOMING_MAX 65535u

static bool incoming_before(const oh_incoming_t *entry, uint32_t location, int32_t day)
{
    return entry->location != location ? entry->location < location : entry->day < day;
}

/* Where (location, day) is, or where it belongs. */
static uint16_t incoming_place(const oh_row_view_t *view, uint32_t location, int32_t day)
{
    uint16_t low = 0, high = view->incoming_count;
    while (low < high) {
        uint16_t middle = (uint16_t)((low + high) / 2);
        if (incoming_before(&view->incoming[middle], location, day))
            low = (uint16_t)(middle + 1);
        else
            high = middle;
    }
    return low;
}

static void incoming_insert(oh_row_view_t *view, uint16_t place, const oh_incoming_t *entry)
{
    for (uint16_t at = view->incoming_count; at > place; at--)
        oh_incoming_store(&view->incoming[at], &view->incoming[at - 1]);
    oh_incoming_store(&view->incoming[place], entry);
    view->incoming_count++;
}

static void incoming_remove(oh_row_view_t *view, uint16_t place)
{
    view->incoming_count--;
    for (uint16_t at = place; at < view->incoming_count; at++)
        oh_incoming_store(&view->incoming[at], &view->incoming[at + 1]);
}

static void incoming_apply(oh_row_view_t *view, uint32_t location, int32_t day, int64_t delta)
{
    uint16_t place = incoming_place(view, location, day);
    oh_incoming_t entry = {location, day, delta};
    bool found = place < view->incoming_count && view->incoming[place].location == location
              && view->incoming[place].day == day;
    if (!found) {
        incoming_insert(view, place, &entry);
        return;
    }
    entry.quantity = oh_sum_of(view->incoming[place].quantity, delta);
    if (entry.quantity == 0)
        incoming_remove(view, place);
    else
        oh_incoming_store(&view->incoming[place], &entry);
}

int oh_incoming_add(oh_store_t *store, uint32_t sku, uint32_t location, int32_t day, int64_t delta)
{
    if (delta == 0)
        return OH_OK;
    oh_rebuild_t rebuild;
    oh_row_view_t now;
    bool exists = oh_row_view(store, sku, &now);
    uint32_t count = exists ? now.incoming_count : 0;
    uint32_t capacity = exists ? now.row->incoming_capacity : 0;
    if (count == capacity)
        capacity = count + 1 + count / 2 > INCOMING_MAX ? INCOMING_MAX : count + 1 + count / 2;
    if (count == capacity)
        return OH_TABLE_FULL;
    int status = oh_rebuild_begin(store, sku, &rebuild, 0, exists ? now.cell_count : 0, capacity);
    if (status != OH_OK)
        return status;
    incoming_apply(&rebuild.new, location, day, delta);
    oh_rebuild_publish(store, sku, &rebuild);
    return OH_OK;
}
