/* Files: making, backing, mapping and checking a store. See onhand/store.h first. */
#include "onhand/store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC 0x31656c6261746e6fULL           /* "ontable1" as bytes */
#define CHUNK_BYTES (16ULL << 20)
#define CAPACITY_BYTES_MAX (64ULL << 30)      /* offsets are 32 bits, in units of 16 bytes */
#define BLOCK_BYTES_MIN 48ULL                 /* a row of two cells */
#define PAGE_BYTES 4096ULL
#define LINE_BYTES 64ULL

static uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

/* 1.25 apart and never less than 16 bytes apart: the classes of every format 1 store. */
static void size_classes(uint64_t block_bytes[64])
{
    uint64_t bytes = BLOCK_BYTES_MIN;
    for (int class = 0; class < 64; class++) {
        block_bytes[class] = bytes;
        bytes = round_up(bytes + bytes / 4, 16);
    }
}

/* Maps a file at a multiple of a huge page, without which the kernel could not use them for it. */
static void *file_map(int fd, uint64_t bytes, int protection)
{
    uint64_t reserved = bytes + OH_HUGE_BYTES;
    uint8_t *room = mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return MAP_FAILED;
    uint64_t lead = (0 - (uint64_t)(uintptr_t)room) & (OH_HUGE_BYTES - 1);
    void *base = mmap(room + lead, bytes, protection, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0);
    uint64_t end = (lead + bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    if (base == MAP_FAILED)
        lead = reserved;
    if (lead != 0)
        munmap(room, lead);
    if (base != MAP_FAILED && end < reserved)
        munmap(room + end, reserved - end);
    return base;
}

static int file_make(oh_store_t *store, const char *path, uint64_t capacity_bytes)
{
    memset(store, 0, sizeof *store);
    store->writable = true;
    store->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (store->fd < 0)
        return OH_IO;
    if (ftruncate(store->fd, (off_t)capacity_bytes) != 0)
        return OH_IO;
    void *base = file_map(store->fd, capacity_bytes, PROT_READ | PROT_WRITE);
    if (base == MAP_FAILED)
        return errno == ENOMEM ? OH_NO_MEMORY : OH_IO;
    store->base = base;
    store->mapped_bytes = capacity_bytes;
    store->header = base;
    size_classes(store->block_bytes);
    (void)madvise(base, capacity_bytes, MADV_HUGEPAGE); /* fewer TLB misses, where allowed */
    return OH_OK;
}

/* Backs [from, to) with space, so that touching it can never raise SIGBUS. */
static int file_back(const oh_store_t *store, uint64_t from, uint64_t to)
{
    int error;
    do {
        error = posix_fallocate(store->fd, (off_t)from, (off_t)(to - from));
    } while (error == EINTR);
    if (error == 0)
        return OH_OK;
    errno = error;
    return error == ENOSPC || error == EDQUOT || error == EFBIG ? OH_NO_SPACE : OH_IO;
}

static uint64_t capacity_clamp(uint64_t bytes)
{
    bytes = round_up(bytes, 4096);
    return bytes > CAPACITY_BYTES_MAX ? CAPACITY_BYTES_MAX : bytes;
}

static int create_fail(oh_store_t *store, const char *path, int status)
{
    int error = errno;
    bool made = store->fd >= 0;
    oh_store_close(store);
    if (made)
        unlink(path);
    errno = error;
    return status;
}

static int rings_make(oh_store_t *store, uint64_t change_ring_size, uint64_t history_ring_size)
{
    oh_header_t *header = store->header;
    int status = OH_OK;
    header->change_ring_size = change_ring_size;
    header->change_ring_off =
        oh_store_allocate(store, change_ring_size * sizeof(oh_change_t), &status);
    if (status != OH_OK)
        return status;
    header->history_ring_size = history_ring_size;
    header->history_ring_off =
        oh_store_allocate(store, history_ring_size * sizeof(oh_movement_t), &status);
    return status;
}

static bool power_of_two(uint64_t size)
{
    return size != 0 && (size & (size - 1)) == 0 && size <= 1ULL << 31;
}

int oh_store_create(oh_store_t *store, const char *path, uint64_t capacity_bytes,
                    uint64_t change_ring_size, uint64_t history_ring_size)
{
    capacity_bytes = capacity_clamp(capacity_bytes);
    if (!power_of_two(change_ring_size) || !power_of_two(history_ring_size)) {
        memset(store, 0, sizeof *store);
        store->fd = -1;
        errno = EINVAL;
        return OH_IO;
    }
    int status = file_make(store, path, capacity_bytes);
    if (status != OH_OK)
        return create_fail(store, path, status);
    if (capacity_bytes < OH_HEADER_BYTES)
        return create_fail(store, path, OH_TABLE_FULL);
    uint64_t backed = capacity_bytes < CHUNK_BYTES ? capacity_bytes : CHUNK_BYTES;
    status = file_back(store, 0, backed);
    if (status != OH_OK)
        return create_fail(store, path, status);
    oh_header_t *header = store->header;
    header->format_version = OH_FORMAT_VERSION;
    header->capacity_bytes = capacity_bytes;
    atomic_init(&header->allocated_bytes, backed);
    atomic_init(&header->used_bytes, OH_HEADER_BYTES);
    status = rings_make(store, change_ring_size, history_ring_size);
    if (status != OH_OK)
        return create_fail(store, path, status);
    atomic_thread_fence(memory_order_release);
    header->magic = MAGIC;
    return OH_OK;
}

int oh_store_adopt(oh_store_t *store, const char *path, uint64_t capacity_bytes,
                   uint64_t image_bytes)
{
    capacity_bytes = capacity_clamp(capacity_bytes);
    int status = file_make(store, path, capacity_bytes);
    if (status != OH_OK)
        return create_fail(store, path, status);
    if (image_bytes > capacity_bytes || image_bytes < OH_HEADER_BYTES)
        return create_fail(store, path, OH_TABLE_FULL);
    uint64_t backed = round_up(image_bytes, CHUNK_BYTES);
    backed = backed > capacity_bytes ? capacity_bytes : backed;
    status = file_back(store, 0, backed);
    return status == OH_OK ? OH_OK : create_fail(store, path, status);
}

/* What can be told from the header alone; rows are checked as they are read. */
static bool header_sound(const oh_header_t *header, uint64_t mapped_bytes)
{
    uint64_t used = atomic_load_explicit(&header->used_bytes, memory_order_relaxed);
    uint64_t change_end = header->change_ring_off + header->change_ring_size * sizeof(oh_change_t);
    uint64_t history_end =
        header->history_ring_off + header->history_ring_size * sizeof(oh_movement_t);
    return header->magic == MAGIC && header->format_version == OH_FORMAT_VERSION
        && power_of_two(header->change_ring_size) && power_of_two(header->history_ring_size)
        && used >= OH_HEADER_BYTES && used <= mapped_bytes
        && change_end <= used && history_end <= used;
}

int oh_store_adopted(oh_store_t *store, uint64_t image_bytes)
{
    oh_header_t *header = store->header;
    if (!header_sound(header, store->mapped_bytes)
        || atomic_load_explicit(&header->used_bytes, memory_order_relaxed) > image_bytes)
        return OH_CORRUPT;
    uint64_t backed = round_up(image_bytes, CHUNK_BYTES);
    header->capacity_bytes = store->mapped_bytes;
    atomic_store_explicit(&header->allocated_bytes,
                          backed > store->mapped_bytes ? store->mapped_bytes : backed,
                          memory_order_relaxed);
    return OH_OK;
}

static int map_fail(oh_store_t *store, int status)
{
    int error = errno;
    oh_store_close(store);
    errno = error;
    return status;
}

int oh_store_map(oh_store_t *store, const char *path)
{
    struct stat file;
    memset(store, 0, sizeof *store);
    store->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (store->fd < 0 || fstat(store->fd, &file) != 0)
        return map_fail(store, OH_IO);
    if ((uint64_t)file.st_size < OH_HEADER_BYTES)
        return map_fail(store, OH_CORRUPT);
    void *base = file_map(store->fd, (uint64_t)file.st_size, PROT_READ);
    if (base == MAP_FAILED)
        return map_fail(store, errno == ENOMEM ? OH_NO_MEMORY : OH_IO);
    store->base = base;
    store->mapped_bytes = (uint64_t)file.st_size;
    store->header = base;
    close(store->fd);
    store->fd = -1;
    if (!header_sound(store->header, store->mapped_bytes)
        || store->header->capacity_bytes > store->mapped_bytes)
        return map_fail(store, OH_CORRUPT);
    size_classes(store->block_bytes);
    (void)madvise(base, store->mapped_bytes, MADV_HUGEPAGE);
    return OH_OK;
}

void oh_store_close(oh_store_t *store)
{
    if (store->base != NULL)
        munmap(store->base, store->mapped_bytes);
    if (store->fd >= 0)
        close(store->fd);
    store->fd = -1;
    store->base = NULL;
    store->header = NULL;
}

int oh_store_reserve(oh_store_t *store, uint64_t bytes)
{
    oh_header_t *header = store->header;
    uint64_t backed = atomic_load_explicit(&header->allocated_bytes, memory_order_relaxed);
    if (bytes <= backed)
        return OH_OK;
    if (bytes > header->capacity_bytes)
        return OH_TABLE_FULL;
    uint64_t wanted = round_up(bytes, CHUNK_BYTES);
    wanted = wanted > header->capacity_bytes ? header->capacity_bytes : wanted;
    int status = file_back(store, backed, wanted);
    if (status == OH_OK)
        atomic_store_explicit(&header->allocated_bytes, wanted, memory_order_release);
    return status;
}

/* New space is zero. Anything of a cache line or more starts on one, so that a SKU is one miss. */
uint64_t oh_store_allocate(oh_store_t *store, uint64_t bytes, int *status)
{
    oh_header_t *header = store->header;
    uint64_t used = atomic_load_explicit(&header->used_bytes, memory_order_relaxed);
    uint64_t start = round_up(used, bytes >= 4096 ? LINE_BYTES : 16);
    if (bytes > header->capacity_bytes) {
        *status = OH_TABLE_FULL;
        return 0;
    }
    *status = oh_store_reserve(store, start + bytes);
    if (*status != OH_OK)
        return 0;
    atomic_store_explicit(&header->used_bytes, start + bytes, memory_order_release);
    return start;
}
