/* A request to its best options: keys, single places, and what is handed to the search. */
#include "sourcing/sourcing.h"

#include <string.h>

typedef struct {
    const oh_request_t *request;
    oh_arena_t *arena;
    oh_answer_t *answer;
    uint32_t words;               /* of a bit set of places */
    const int64_t *field[OH_KEY_FIELDS]; /* [places] */
    int64_t *target;              /* [items] */
    uint64_t *whole;              /* places that have all of the target */
    uint64_t *scratch;
    uint32_t *number;             /* [places] 0, 1, 2...: where options of one place point */
    uint32_t room;                /* options to find, one more than asked for */
} source_t;

size_t oh_source_bytes(const oh_request_t *request)
{
    size_t items = request->items, places = request->places, words = oh_words(request->places);
    size_t matrix = items * (places + 64 + OH_SOURCE_APART) * 8;
    size_t rows = places * (5 * 8 + 6 * 8 + 8 * 4) + 6 * words * 8;
    size_t chosen = places * 4 + (OH_SOURCE_OPTIONS_MAX + 1) * (OH_SOURCE_EXACT_PACKAGES * 4 + 64);
    return 2 * matrix + rows + items * 28 + chosen + oh_cover_bytes(request->items, request->places) +
           64 * 64;
}

/* ------------------------------------------------------------------ keys */

static int fill_keys(source_t *source)
{
    const oh_request_t *request = source->request;
    for (uint32_t item = 0; item < request->items; item++)
        if (request->quantity[item] < 1 || request->quantity[item] > OH_SOURCE_QUANTITY_MAX)
            return OH_SOURCE_BAD_QUANTITY;
    int64_t *field[OH_KEY_FIELDS] = {NULL};
    for (int at = 0; at < OH_KEY_FIELDS; at++)
        field[at] = oh_take(source->arena, request->places * sizeof(int64_t));
    int status = OH_SOURCE_OK;
    if (request->ranks == NULL) {
        status = oh_fill_distance(request, field[OH_KEY_DISTANCE]);
        if (status == OH_SOURCE_OK)
            status = oh_fill_cost(request, field[OH_KEY_COST]);
    }
    if (status == OH_SOURCE_OK)
        status = oh_fill_priority(request, field[OH_KEY_PRIORITY]);
    if (status == OH_SOURCE_OK)
        status = oh_fill_load(request, field[OH_KEY_LOAD]);
    for (int at = 0; at < OH_KEY_FIELDS; at++)
        source->field[at] = field[at];
    if (request->ranks != NULL) {
        source->field[OH_KEY_COST] = request->ranks->cost;
        source->field[OH_KEY_DISTANCE] = request->ranks->metres;
    }
    return status;
}

static inline oh_key_t key_of(const source_t *source, uint32_t place)
{
    oh_key_t key;
    for (int at = 0; at < OH_KEY_FIELDS; at++)
        key.field[at] = source->field[at][place];
    return key;
}

/* ------------------------------------------------------------------ one place */

static inline int64_t clipped(int64_t units, int64_t most)
{
    return units < 0 ? 0 : units < most ? units : most;
}

/* Finds the places that have all of the target. */
static void find_whole(source_t *source)
{
    const oh_request_t *request = source->request;
    memset(source->whole, 0xff, source->words * sizeof(uint64_t));
    for (uint32_t item = 0; item < request->items; item++) {
        if (source->target[item] == 0)
            continue;
        oh_bits_at_least(request->available + (size_t)item * request->places, request->places,
                         source->target[item], source->scratch);
        for (uint32_t word = 0; word < source->words; word++)
            source->whole[word] &= source->scratch[word];
    }
    source->answer->whole_count = 0;
    for (uint32_t word = 0; word < source->words; word++)
        source->answer->whole_count += (uint32_t)__builtin_popcountll(source->whole[word]);
}

/* Enters a place on its own, by key; equal ones stay in order of number. */
static void enter(source_t *source, uint32_t place, int64_t units)
{
    oh_answer_t *answer = source->answer;
    oh_option_t option = {.key = key_of(source, place), .units = units, .packages = 1};
    uint32_t at = answer->count;
    while (at > 0 && oh_key_compare(&answer->option[at - 1].key, &option.key) > 0)
        at--;
    if (at >= source->room)
        return;
    uint32_t last = answer->count < source->room ? answer->count++ : source->room - 1;
    memmove(answer->option + at + 1, answer->option + at, (last - at) * sizeof option);
    option.place = &source->number[place];
    answer->option[at] = option;
}

static int64_t sum_of(const int64_t *quantities, uint32_t count)
{
    int64_t sum = 0;
    for (uint32_t at = 0; at < count; at++)
        sum += quantities[at];
    return sum;
}

static void enter_whole(source_t *source)
{
    oh_answer_t *answer = source->answer;
    int64_t units = sum_of(source->target, source->request->items);
    int64_t nearest = INT64_MAX;
    const int64_t *metres = source->field[OH_KEY_DISTANCE];
    for (uint32_t word = 0; word < source->words; word++)
        for (uint64_t bits = source->whole[word]; bits != 0; bits &= bits - 1) {
            uint32_t place = 64 * word + (uint32_t)__builtin_ctzll(bits);
            enter(source, place, units);
            if (metres[place] == nearest)
                answer->whole_nearest = -1;
            if (metres[place] < nearest)
                nearest = answer->whole_nearest = metres[place];
        }
}

/* Enters the places that give most of the target, when none has all of it. */
static void enter_most(source_t *source)
{
    const oh_request_t *request = source->request;
    int64_t *given = oh_take(source->arena, request->places * sizeof(int64_t));
    int64_t most = 1;
    memset(given, 0, request->places * sizeof(int64_t));
    for (uint32_t item = 0; item < request->items; item++) {
        const int64_t *row = request->available + (size_t)item * request->places;
        for (uint32_t place = 0; place < request->places; place++)
            given[place] += clipped(row[place], source->target[item]);
    }
    for (uint32_t place = 0; place < request->places; place++)
        most = given[place] > most ? given[place] : most;
    for (uint32_t place = 0; place < request->places; place++)
        if (given[place] == most)
            enter(source, place, most);
}

/* ------------------------------------------------------------------ several places */

/* Lowers the target to what there is. Returns false when that is less than was wanted. */
static bool limit_target(source_t *source)
{
    const oh_request_t *request = source->request;
    bool enough = true;
    for (uint32_t item = 0; item < request->items; item++) {
        const int64_t *row = request->available + (size_t)item * request->places;
        int64_t wanted = source->target[item], total = 0;
        for (uint32_t place = 0; place < request->places && total < wanted; place++)
            total += clipped(row[place], wanted);
        enough &= total >= wanted;
        source->target[item] = clipped(total, wanted);
    }
    return enough;
}

/* The places that have anything, but not everything. */
static uint64_t *find_useful(source_t *source)
{
    const oh_request_t *request = source->request;
    uint64_t *useful = oh_take(source->arena, source->words * sizeof(uint64_t));
    memset(useful, 0, source->words * sizeof(uint64_t));
    for (uint32_t item = 0; item < request->items; item++) {
        if (source->target[item] == 0)
            continue;
        oh_bits_at_least(request->available + (size_t)item * request->places, request->places, 1,
                         source->scratch);
        for (uint32_t word = 0; word < source->words; word++)
            useful[word] |= source->scratch[word];
    }
    for (uint32_t word = 0; word < source->words; word++)
        useful[word] &= ~source->whole[word];
    return useful;
}

/* Lists useful places by rank: sorts them, or picks them out of those that were sorted before. */
static void list_useful(source_t *source, oh_shared_t *shared)
{
    const oh_request_t *request = source->request;
    const oh_ranks_t *ranks = request->ranks;
    uint32_t *places = oh_take(source->arena, request->places * sizeof(uint32_t));
    uint32_t *spare = oh_take(source->arena, request->places * sizeof(uint32_t));
    const uint64_t *useful = find_useful(source);
    bool ranked = ranks != NULL && !ranks->tied;
    const uint32_t *number = ranked ? ranks->order : source->number;
    uint32_t count = 0;
    for (uint32_t at = 0; at < request->places; at++) {
        places[count] = number[at];
        count += (uint32_t)(useful[number[at] / 64] >> number[at] % 64 & 1);
    }
    shared->count = count;
    shared->place = ranked ? places : oh_sort_places(source->field, places, spare, count);
}

/* What one place has of each item, and what that comes to. */
static void copy_place(const source_t *source, oh_shared_t *shared, const uint32_t *row,
                       uint32_t position)
{
    uint32_t places = source->request->places, items = shared->items;
    const int64_t *units = source->request->available + shared->place[position];
    int64_t *by_place = shared->by_place + (size_t)position * items;
    bool exact = items <= OH_SOURCE_EXACT_ITEMS;
    uint64_t full = 0;
    double gain = 0;
    for (uint32_t item = 0; item < items; item++) {
        int64_t want = shared->want[item];
        int64_t here = clipped(units[(size_t)row[item] * places], want);
        by_place[item] = here;
        shared->by_item[(size_t)item * shared->stride + position] = here;
        gain += (double)here * shared->one_unit[item];
        if (exact)
            full |= (uint64_t)(here == want) << item;
    }
    shared->full[position] = full;
    shared->gain[position] = gain;
    shared->key[position] = key_of(source, shared->place[position]);
}

static void copy_units(const source_t *source, oh_shared_t *shared)
{
    uint32_t *row = oh_take(source->arena, shared->items * sizeof(uint32_t));
    for (uint32_t from = 0, item = 0; from < source->request->items; from++) {
        if (source->target[from] == 0)
            continue;
        row[item] = from;
        shared->want[item] = source->target[from];
        shared->one_unit[item++] = 1.0 / (double)source->target[from];
    }
    for (uint32_t position = 0; position < shared->count; position++)
        copy_place(source, shared, row, position);
    for (uint32_t item = 0; item < shared->items; item++)
        memset(shared->by_item + (size_t)item * shared->stride + shared->count, 0,
               (shared->stride - shared->count) * sizeof(int64_t));
}

static void share(source_t *source, oh_shared_t *shared)
{
    const oh_request_t *request = source->request;
    oh_arena_t *arena = source->arena;
    list_useful(source, shared);
    uint32_t count = shared->count;
    shared->words = oh_words(count);
    shared->stride = 64 * shared->words + OH_SOURCE_APART;
    shared->items = 0;
    for (uint32_t row = 0; row < request->items; row++)
        shared->items += source->target[row] > 0;
    shared->want = oh_take(arena, shared->items * sizeof(int64_t));
    shared->one_unit = oh_take(arena, shared->items * sizeof(double));
    shared->by_item = oh_take(arena, (size_t)shared->items * shared->stride * sizeof(int64_t));
    shared->by_place = oh_take(arena, (size_t)shared->items * count * sizeof(int64_t));
    shared->full = oh_take(arena, count * sizeof(uint64_t));
    shared->gain = oh_take(arena, count * sizeof(double));
    shared->key = oh_take(arena, count * sizeof(oh_key_t));
    copy_units(source, shared);
}

/* Adds an option of several positions to the answer. */
static void enter_shared(source_t *source, const oh_shared_t *shared, const uint32_t *position,
                         uint32_t count)
{
    oh_answer_t *answer = source->answer;
    if (answer->count == source->room)
        return;
    uint32_t *place = oh_take(source->arena, count * sizeof(uint32_t));
    oh_option_t option = {.packages = count, .place = place};
    option.units = sum_of(source->target, source->request->items);
    for (uint32_t at = 0; at < count; at++) {
        place[at] = shared->place[position[at]];
        option.key = oh_key_add(option.key, &shared->key[position[at]], 1);
    }
    answer->option[answer->count++] = option;
}

/* Looks for sets of places: of the least size there is, and of one more when that fills the list.
 * Returns a number of packages below which there are none, known by bounds and by searching. */
static uint32_t find_covers(source_t *source, const oh_shared_t *shared, oh_covers_t *covers)
{
    oh_answer_t *answer = source->answer;
    uint32_t wanted = source->request->options_max;
    bool whole = answer->whole_count > 0;
    uint32_t least = whole ? 1 : oh_cover_least(shared);
    uint32_t last = whole ? 2 : OH_SOURCE_EXACT_PACKAGES;
    covers->packages_first = whole ? 1 : 0;
    if (whole)
        oh_covers_found(covers);
    if (shared->items > OH_SOURCE_EXACT_ITEMS)
        return least;
    for (uint32_t packages = whole ? 2 : least; packages <= last && packages <= shared->count;
         packages++) {
        oh_cover_search(shared, packages, source->arena, covers);
        if (covers->count > 0 && covers->packages_first == 0) {
            covers->packages_first = packages;
            last = packages < last ? packages + 1 : last;
        }
        if (covers->gave_up || answer->count + covers->count >= wanted)
            break;
        if (covers->packages_first == 0)
            least = packages + 1;
    }
    return least;
}

static void find_shared(source_t *source)
{
    oh_answer_t *answer = source->answer;
    oh_shared_t shared;
    share(source, &shared);
    if (shared.count < 2)
        return;
    oh_covers_t covers = {.room = source->room - answer->count,
                          .work_limit = source->request->work_max,
                          .work_order = source->request->work_max / 10};
    uint32_t least = find_covers(source, &shared, &covers);
    for (uint32_t at = 0; at < covers.count; at++)
        enter_shared(source, &shared, covers.cover[at].position, covers.cover[at].packages);
    answer->work = covers.work;
    if (answer->count > 0)
        return;
    uint32_t *chosen = oh_take(source->arena, shared.count * sizeof(uint32_t));
    uint32_t count = oh_cover_greedy(&shared, source->arena, chosen);
    enter_shared(source, &shared, chosen, count);
    answer->fewest = count <= least;
}

/* ------------------------------------------------------------------ the whole */

static void begin(source_t *source)
{
    const oh_request_t *request = source->request;
    oh_arena_t *arena = source->arena;
    source->words = oh_words(request->places);
    source->room = request->options_max + 1;
    source->target = oh_take(arena, request->items * sizeof(int64_t));
    source->whole = oh_take(arena, source->words * sizeof(uint64_t));
    source->scratch = oh_take(arena, source->words * sizeof(uint64_t));
    source->number = oh_take(arena, request->places * sizeof(uint32_t));
    memcpy(source->target, request->quantity, request->items * sizeof(int64_t));
    for (uint32_t place = 0; place < request->places; place++)
        source->number[place] = place;
    *source->answer = (oh_answer_t){.target = source->target, .whole_nearest = -1, .fewest = true};
}

/* Lowers the target to what all places have together. Returns false when nothing can be placed. */
static bool settle_target(source_t *source)
{
    const oh_request_t *request = source->request;
    if (limit_target(source))
        return true;
    if (!request->allow_partial || sum_of(source->target, request->items) == 0)
        return false;
    find_whole(source);
    return true;
}

int oh_source(const oh_request_t *request, oh_arena_t *arena, oh_answer_t *answer)
{
    source_t source = {.request = request, .arena = arena, .answer = answer};
    begin(&source);
    int status = fill_keys(&source);
    if (status != OH_SOURCE_OK)
        return status;
    find_whole(&source);
    if (answer->whole_count == 0 && !request->allow_split) {
        if (request->allow_partial)
            enter_most(&source);
        return OH_SOURCE_OK;
    }
    if (answer->whole_count == 0 && !settle_target(&source))
        return OH_SOURCE_OK;
    enter_whole(&source);
    if (request->allow_split && answer->count < request->options_max)
        find_shared(&source);
    return OH_SOURCE_OK;
}

/* An item comes from as few of the option's places as can give it: from the best rank that has all
 * that is missing, and while none has, from the one that has most. */
static void give_item(const int64_t *row, int64_t rest, const oh_option_t *option, int64_t *give,
                      uint32_t step)
{
    while (rest > 0) {
        uint32_t most = 0;
        int64_t given = -1;
        for (uint32_t at = 0; at < option->packages && given < rest; at++) {
            int64_t here = give[(size_t)at * step] == 0 ? clipped(row[option->place[at]], rest) : 0;
            if (here > given)
                most = at, given = here;
        }
        if (given <= 0)
            return;
        give[(size_t)most * step] = given;
        rest -= given;
    }
}

void oh_source_parts(const oh_request_t *request, const int64_t *target, const oh_option_t *option,
                     int64_t *give)
{
    memset(give, 0, (size_t)option->packages * request->items * sizeof(int64_t));
    for (uint32_t item = 0; item < request->items; item++)
        give_item(request->available + (size_t)item * request->places, target[item], option,
                  give + item, request->items);
}
