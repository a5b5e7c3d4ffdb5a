/* One writer and several readers of one store, as threads, for ThreadSanitizer.
 *
 *     store_race FILE MILLISECONDS READERS
 *
 * In life they are processes with mappings of their own, which no race detector sees through; here
 * all use the writer's mapping. The writer keeps these of every cell, whatever it does in between:
 *
 *   on_hand + in_transit == 0      both move in one change, so a half of it is a torn read
 *   damaged never falls            one counter, one store
 *   what is due is 1 or more       an entry is written whole before anybody sees it
 *
 * and each reader checks them of every row that it could confirm. Exits with 1 on the first breach;
 * the sanitizer says and counts its own. The last line tells how much was done.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "onhand/store.h"

#define SKUS 48u
#define LOCATIONS 96u
#define CAPACITY (256ULL << 20)
#define CHANGES 1024u
#define NAMES 20000u

static oh_store_t store;
static _Atomic bool ending;
static _Atomic uint64_t reads_confirmed, reads_again, changes_followed, names_found;

static uint32_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 32);
}

static void breach(const char *what, uint32_t sku, int64_t found)
{
    fprintf(stderr, "breach: %s, sku %u, %lld\n", what, sku, (long long)found);
    exit(1);
}

static uint32_t name_of(uint32_t number, char text[80])
{
    /* Every third is too long to stand in its record. */
    return (uint32_t)snprintf(text, 80, number % 3 ? "sku-%u" : "sku-%u-%060u", number, number);
}

static uint64_t hash_of(const char *text, uint32_t length)
{
    return oh_hash_bytes((const uint8_t *)text, length, OH_HASH_SEED_SKU);
}

/* ---- the writer ---- */

static void must(int status)
{
    if (status != OH_OK)
        breach("the writer was refused", 0, status);
}

static void write_name(uint32_t number)
{
    char text[80];
    uint32_t length = name_of(number, text), found;
    must(oh_sku_resolve(&store, hash_of(text, length), (const uint8_t *)text, length, &found));
    length = (uint32_t)snprintf(text, sizeof text, "place-%u", number % LOCATIONS);
    must(oh_location_resolve(&store, (const uint8_t *)text, length, &found));
}

static void write_once(uint64_t *state, uint64_t step)
{
    uint32_t sku = draw(state) % SKUS, location = draw(state) % (1 + (uint32_t)(step / 64) % LOCATIONS);
    int64_t units = 1 + draw(state) % 1000;
    if (step % 512 == 0)
        units <<= 31; /* wider than 32 bits: the row is laid out anew */
    const int64_t move[4] = {units, 0, -units, 0}, loss[4] = {0, 0, 0, 1};
    switch (draw(state) % 8) {
    case 0: case 1: case 2:
        must(oh_cell_add(&store, sku, location, move));
        break;
    case 3: case 4: case 5: case 6:
        must(oh_cell_add(&store, sku, location, loss));
        break;
    default:
        must(oh_incoming_add(&store, sku, location, (int32_t)(draw(state) % 20), 1 + units % 9));
        write_name((uint32_t)atomic_load_explicit(&store.header->sku_count, memory_order_relaxed) % NAMES);
    }
    oh_change_push(&store, sku, location);
}

static void *write_on(void *unused)
{
    uint64_t state = 88172645463325252ULL, step = 0;
    while (!atomic_load_explicit(&ending, memory_order_relaxed))
        write_once(&state, step++);
    (void)unused;
    return (void *)(uintptr_t)step;
}

/* ---- a reader ---- */

typedef struct {
    uint64_t state;
    int64_t damaged[SKUS][LOCATIONS];
    int64_t cells[SKUS];
} reader_t;

typedef struct {
    uint32_t cells, incoming;
    uint32_t location[LOCATIONS];
    int64_t total[LOCATIONS], damaged[LOCATIONS];
    int64_t quantity_least;
} seen_t;

/* Takes what it wants of the row first: it may be judged only once the word is seen to stand. */
static void row_take(const oh_row_view_t *view, seen_t *seen)
{
    seen->cells = view->cell_count < LOCATIONS ? view->cell_count : LOCATIONS;
    for (uint32_t cell = 0; cell < seen->cells; cell++) {
        seen->location[cell] = oh_race_load_u32(&view->location[cell]);
        seen->damaged[cell] = oh_cell_get(view, view->damaged, cell);
        seen->total[cell] = oh_cell_get(view, view->on_hand, cell)
                          + oh_cell_get(view, view->in_transit, cell);
    }
    seen->quantity_least = 1;
    for (seen->incoming = 0; seen->incoming < view->incoming_count; seen->incoming++) {
        int64_t quantity = oh_race_load_i64(&view->incoming[seen->incoming].quantity);
        seen->quantity_least = quantity < seen->quantity_least ? quantity : seen->quantity_least;
    }
}

static void row_judge(reader_t *reader, uint32_t sku, const seen_t *seen)
{
    if (seen->cells < reader->cells[sku])
        breach("a row lost cells", sku, seen->cells);
    reader->cells[sku] = seen->cells;
    if (seen->quantity_least < 1)
        breach("incoming that nobody wrote", sku, seen->quantity_least);
    for (uint32_t cell = 0; cell < seen->cells; cell++) {
        uint32_t location = seen->location[cell];
        if (location >= LOCATIONS)
            breach("a location that nobody wrote", sku, location);
        if (seen->total[cell] != 0)
            breach("on_hand + in_transit != 0", sku, seen->total[cell]);
        if (seen->damaged[cell] < reader->damaged[sku][location])
            breach("damaged fell", sku, seen->damaged[cell]);
        reader->damaged[sku][location] = seen->damaged[cell];
    }
}

static void read_row(reader_t *reader, uint32_t sku)
{
    oh_row_view_t view;
    seen_t seen;
    if (!oh_row_view(&store, sku, &view))
        return;
    row_take(&view, &seen);
    if (!oh_row_confirm(&store, sku, &view)) {
        atomic_fetch_add_explicit(&reads_again, 1, memory_order_relaxed);
        return;
    }
    row_judge(reader, sku, &seen);
    atomic_fetch_add_explicit(&reads_confirmed, 1, memory_order_relaxed);
}

static void read_changes(void)
{
    uint64_t last = atomic_load_explicit(&store.header->change_seq, memory_order_acquire);
    const oh_change_t *ring = (const oh_change_t *)(store.base + store.header->change_ring_off);
    for (uint64_t seq = last > 8 ? last - 8 : 1; seq <= last; seq++) {
        const oh_change_t *change = &ring[seq & (store.header->change_ring_size - 1)];
        if (atomic_load_explicit(&change->seq, memory_order_acquire) != seq)
            continue;
        uint32_t sku = oh_race_load_u32(&change->sku), location = oh_race_load_u32(&change->location);
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&change->seq, memory_order_relaxed) != seq)
            continue;
        if (sku >= SKUS || location >= LOCATIONS)
            breach("a change that nobody wrote", sku, location);
        atomic_fetch_add_explicit(&changes_followed, 1, memory_order_relaxed);
    }
}

static void read_name(uint32_t number)
{
    char text[80];
    uint32_t length = name_of(number, text), found_length;
    uint32_t found = oh_sku_find(&store, hash_of(text, length), (const uint8_t *)text, length);
    if (found == OH_NONE)
        return;
    const uint8_t *name = oh_sku_text(&store, found, &found_length);
    if (found_length != length || memcmp(name, text, length) != 0)
        breach("another name was found", found, number);
    atomic_fetch_add_explicit(&names_found, 1, memory_order_relaxed);
    length = (uint32_t)snprintf(text, sizeof text, "place-%u", number % LOCATIONS);
    found = oh_location_find(&store, (const uint8_t *)text, length);
    if (found != OH_NONE && found >= LOCATIONS)
        breach("a place that nobody named", 0, found);
}

static void *read_on(void *reader_seed)
{
    reader_t *reader = calloc(1, sizeof *reader);
    reader->state = 1 + (uint64_t)(uintptr_t)reader_seed * 7919;
    while (!atomic_load_explicit(&ending, memory_order_relaxed)) {
        for (int turn = 0; turn < 64; turn++)
            read_row(reader, draw(&reader->state) % SKUS);
        read_changes();
        for (int turn = 0; turn < 16; turn++) {
            /* Mostly the newest names; and known by their index alone, not by their count. */
            uint64_t newest = atomic_load_explicit(&store.header->sku_count, memory_order_relaxed);
            read_name((uint32_t)(turn == 0 ? draw(&reader->state) % newest : newest - turn % 4));
        }
    }
    free(reader);
    return NULL;
}

int main(int count, char **arguments)
{
    if (count != 4)
        return 2;
    long milliseconds = atol(arguments[2]), readers = atol(arguments[3]);
    must(oh_store_create(&store, arguments[1], CAPACITY, CHANGES, 1024));
    for (uint32_t number = 0; number < SKUS; number++)
        write_name(number);
    pthread_t threads[9];
    void *steps;
    readers = readers < 8 ? readers : 8;
    for (long reader = 0; reader < readers; reader++)
        pthread_create(&threads[reader], NULL, read_on, (void *)(uintptr_t)(reader + 1));
    pthread_create(&threads[readers], NULL, write_on, NULL);
    struct timespec rest = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&rest, NULL);
    atomic_store_explicit(&ending, true, memory_order_relaxed);
    for (long reader = 0; reader < readers; reader++)
        pthread_join(threads[reader], NULL);
    pthread_join(threads[readers], &steps);
    printf("{\"writes\": %llu, \"reads\": %llu, \"again\": %llu, \"changes\": %llu, \"names\": %llu}\n",
           (unsigned long long)(uintptr_t)steps, (unsigned long long)reads_confirmed,
           (unsigned long long)reads_again, (unsigned long long)changes_followed,
           (unsigned long long)names_found);
    return 0;
}
