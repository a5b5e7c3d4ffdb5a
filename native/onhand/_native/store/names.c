/* Names to numbers and back: the SKU and location directories and their indexes.
 *
 * Both indexes are open addressing over 8-byte slots, {tag : 32 | number + 1 : 32}, 0 when empty.
 * A slot's place comes from its tag, so growing reads the old slots and nothing else. A reader in
 * an index that has just been replaced misses the newest names only: it looks at the root again
 * before it says that a name is unknown.
 */
#include "onhand/store.h"

#include <string.h>

#define INDEX_LOG2_MIN 10u
#define INLINE_TEXT_BYTES 40u

typedef struct {
    _Atomic uint64_t *slots;
    uint64_t mask;
    uint64_t root;
} index_t;

typedef bool (*same_name_t)(const oh_store_t *store, uint32_t number, uint32_t tag,
                            const uint8_t *text, uint32_t text_len);

static index_t index_open(const oh_store_t *store, const _Atomic uint64_t *root_at)
{
    uint64_t root = atomic_load_explicit(root_at, memory_order_acquire);
    uint64_t offset = root >> 8 << 4;
    index_t index = {(_Atomic uint64_t *)(store->base + offset), 0, root};
    uint64_t slot_count = 1ULL << (root & 63);
    if (root != 0 && slot_count <= (store->mapped_bytes - offset) / 8)
        index.mask = slot_count - 1;
    return index;
}

static inline __attribute__((always_inline)) uint32_t
index_find(const oh_store_t *store, const _Atomic uint64_t *root_at, same_name_t same_name,
           uint32_t tag, const uint8_t *text, uint32_t text_len)
{
    for (;;) {
        index_t index = index_open(store, root_at);
        for (uint64_t step = 0; index.mask != 0 && step <= index.mask; step++) {
            uint64_t slot = atomic_load_explicit(&index.slots[(tag + step) & index.mask],
                                                 memory_order_acquire);
            if (slot == 0)
                break;
            if (slot >> 32 == tag && same_name(store, (uint32_t)slot - 1, tag, text, text_len))
                return (uint32_t)slot - 1;
        }
        if (atomic_load_explicit(root_at, memory_order_acquire) == index.root)
            return OH_NONE;
    }
}

static void index_put(index_t index, uint64_t slot)
{
    uint64_t at = (slot >> 32) & index.mask;
    while (atomic_load_explicit(&index.slots[at], memory_order_relaxed) != 0)
        at = (at + 1) & index.mask;
    atomic_store_explicit(&index.slots[at], slot, memory_order_release);
}

/* Room for one name more, at three quarters full at most. The new slots are complete before the one
 * store of the root that shows them. */
static int index_grow(oh_store_t *store, _Atomic uint64_t *root_at, uint64_t name_count)
{
    index_t old = index_open(store, root_at);
    uint64_t slot_count = old.root == 0 ? 0 : old.mask + 1;
    if ((name_count + 1) * 4 <= slot_count * 3)
        return OH_OK;
    uint32_t log2 = old.root == 0 ? INDEX_LOG2_MIN : (uint32_t)(old.root & 63) + 1;
    int status;
    uint64_t offset = oh_store_allocate(store, 8ULL << log2, &status);
    if (status != OH_OK)
        return status;
    index_t grown = {(_Atomic uint64_t *)(store->base + offset), (1ULL << log2) - 1, 0};
    for (uint64_t at = 0; at < slot_count; at++) {
        uint64_t slot = atomic_load_explicit(&old.slots[at], memory_order_relaxed);
        if (slot != 0)
            index_put(grown, slot);
    }
    atomic_store_explicit(root_at, offset >> 4 << 8 | log2, memory_order_release);
    return OH_OK;
}

static int chunk_make(oh_store_t *store, _Atomic uint64_t *chunk, uint64_t bytes)
{
    if (atomic_load_explicit(chunk, memory_order_relaxed) != 0)
        return OH_OK;
    int status;
    uint64_t offset = oh_store_allocate(store, bytes, &status);
    if (status == OH_OK)
        atomic_store_explicit(chunk, offset, memory_order_release);
    return status;
}

/* ---- SKUs ---- */

const uint8_t *oh_sku_text(const oh_store_t *store, uint32_t number, uint32_t *text_len)
{
    const oh_sku_t *sku = oh_sku_at(store, number);
    *text_len = sku->text_len;
    if (sku->text_len <= INLINE_TEXT_BYTES)
        return sku->text;
    if (sku->text_len > OH_TEXT_BYTES_MAX
        || sku->text_off > store->mapped_bytes - OH_TEXT_BYTES_MAX) {
        OH_INVARIANT(false, "the text of a sku lies inside the store");
        *text_len = 0;
    }
    return *text_len == 0 ? sku->text : store->base + sku->text_off;
}

static inline bool sku_same(const oh_store_t *store, uint32_t number, uint32_t tag,
                            const uint8_t *text, uint32_t text_len)
{
    if (number >= atomic_load_explicit(&store->header->sku_count, memory_order_relaxed))
        return false;
    const oh_sku_t *sku = oh_sku_at(store, number);
    if (sku->tag != tag || sku->text_len != text_len)
        return false;
    uint32_t found_len;
    const uint8_t *found = oh_sku_text(store, number, &found_len);
    return found_len == text_len && memcmp(found, text, text_len) == 0;
}

uint32_t oh_sku_find(const oh_store_t *store, uint64_t hash, const uint8_t *text,
                     uint32_t text_len)
{
    return index_find(store, &store->header->sku_index, sku_same, (uint32_t)hash, text, text_len);
}

void oh_sku_prefetch(const oh_store_t *store, uint64_t hash)
{
    index_t index = index_open(store, &store->header->sku_index);
    __builtin_prefetch(&index.slots[(uint32_t)hash & index.mask]);
}

/* The slot is at hand by now; the tag alone decides, and a wrong guess costs a cache line. */
void oh_sku_prefetch_record(const oh_store_t *store, uint64_t hash)
{
    index_t index = index_open(store, &store->header->sku_index);
    uint64_t sku_count = atomic_load_explicit(&store->header->sku_count, memory_order_acquire);
    for (uint64_t step = 0; index.mask != 0 && step < 8; step++) {
        uint64_t slot = atomic_load_explicit(
            &index.slots[((uint32_t)hash + step) & index.mask], memory_order_relaxed);
        if (slot >> 32 == (uint32_t)hash && (uint32_t)slot - 1 < sku_count) {
            __builtin_prefetch(oh_sku_at(store, (uint32_t)slot - 1));
            return;
        }
        if (slot == 0)
            return;
    }
}

static int sku_write(oh_store_t *store, oh_sku_t *sku, uint64_t hash, const uint8_t *text,
                     uint32_t text_len)
{
    sku->tag = (uint32_t)hash;
    sku->text_len = (uint16_t)text_len;
    if (text_len <= INLINE_TEXT_BYTES) {
        memcpy(sku->text, text, text_len);
        return OH_OK;
    }
    int status;
    uint64_t offset = oh_store_allocate(store, OH_TEXT_BYTES_MAX, &status);
    if (status != OH_OK)
        return status;
    memcpy(store->base + offset, text, text_len);
    sku->text_off = offset;
    return OH_OK;
}

int oh_sku_resolve(oh_store_t *store, uint64_t hash, const uint8_t *text, uint32_t text_len,
                   uint32_t *number)
{
    *number = oh_sku_find(store, hash, text, text_len);
    if (*number != OH_NONE)
        return OH_OK;
    OH_INVARIANT(text_len > 0 && text_len <= OH_TEXT_BYTES_MAX, "a name has 1 to 256 bytes");
    oh_header_t *header = store->header;
    uint64_t count = atomic_load_explicit(&header->sku_count, memory_order_relaxed);
    if (count >= (uint64_t)OH_SKU_CHUNK * OH_SKU_CHUNK_MAX)
        return OH_TABLE_FULL;
    int status = index_grow(store, &header->sku_index, count);
    if (status == OH_OK)
        status = chunk_make(store, &header->sku_chunk[count / OH_SKU_CHUNK],
                            (uint64_t)OH_SKU_CHUNK * sizeof(oh_sku_t));
    if (status == OH_OK)
        status = sku_write(store, oh_sku_at(store, (uint32_t)count), hash, text, text_len);
    if (status != OH_OK)
        return status;
    atomic_store_explicit(&header->sku_count, count + 1, memory_order_release);
    index_put(index_open(store, &header->sku_index), hash << 32 | (count + 1));
    *number = (uint32_t)count;
    return OH_OK;
}

/* ---- locations ---- */

static oh_location_t *location_at(const oh_store_t *store, uint32_t number)
{
    uint64_t chunk = atomic_load_explicit(
        &store->header->location_chunk[number / OH_LOCATION_CHUNK], memory_order_acquire);
    return (oh_location_t *)(store->base + chunk) + number % OH_LOCATION_CHUNK;
}

static uint64_t location_hash(const uint8_t *text, uint32_t text_len)
{
    return oh_hash_bytes(text, text_len, OH_HASH_SEED_SKU);
}

const uint8_t *oh_location_text(const oh_store_t *store, uint32_t number, uint32_t *text_len)
{
    oh_location_t *location = location_at(store, number);
    uint32_t length = atomic_load_explicit(&location->text_len, memory_order_acquire);
    *text_len = length <= OH_TEXT_BYTES_MAX ? length : 0;
    return location->text;
}

static inline bool location_same(const oh_store_t *store, uint32_t number, uint32_t tag,
                                 const uint8_t *text, uint32_t text_len)
{
    if (number >= atomic_load_explicit(&store->header->location_count, memory_order_relaxed))
        return false;
    uint32_t found_len;
    const uint8_t *found = oh_location_text(store, number, &found_len);
    return (uint32_t)location_at(store, number)->hash == tag && found_len == text_len
        && memcmp(found, text, text_len) == 0;
}

uint32_t oh_location_find(const oh_store_t *store, const uint8_t *text, uint32_t text_len)
{
    uint32_t tag = (uint32_t)location_hash(text, text_len);
    return index_find(store, &store->header->location_index, location_same, tag, text, text_len);
}

int oh_location_resolve(oh_store_t *store, const uint8_t *text, uint32_t text_len,
                        uint32_t *number)
{
    *number = oh_location_find(store, text, text_len);
    if (*number != OH_NONE)
        return OH_OK;
    OH_INVARIANT(text_len > 0 && text_len <= OH_TEXT_BYTES_MAX, "a name has 1 to 256 bytes");
    oh_header_t *header = store->header;
    uint64_t count = atomic_load_explicit(&header->location_count, memory_order_relaxed);
    if (count >= (uint64_t)OH_LOCATION_CHUNK * OH_LOCATION_CHUNK_MAX)
        return OH_TABLE_FULL;
    int status = index_grow(store, &header->location_index, count);
    if (status == OH_OK)
        status = chunk_make(store, &header->location_chunk[count / OH_LOCATION_CHUNK],
                            (uint64_t)OH_LOCATION_CHUNK * sizeof(oh_location_t));
    if (status != OH_OK)
        return status;
    oh_location_t *location = location_at(store, (uint32_t)count);
    location->hash = location_hash(text, text_len);
    memcpy(location->text, text, text_len);
    atomic_store_explicit(&location->text_len, text_len, memory_order_release);
    atomic_store_explicit(&header->location_count, count + 1, memory_order_release);
    index_put(index_open(store, &header->location_index), location->hash << 32 | (count + 1));
    *number = (uint32_t)count;
    return OH_OK;
}
