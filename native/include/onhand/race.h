/* Loads and stores of plain fields that a writer and its readers touch at the same time.
 *
 * They are relaxed: order comes from the words, fences and counts around them. Writing them this way
 * keeps the compiler from splitting, repeating or inventing one of them.
 */
#ifndef ONHAND_RACE_H
#define ONHAND_RACE_H

#include <stdint.h>

#define OH_RACE(name, type)                                                                        \
    static inline type oh_race_load_##name(const type *from)                                       \
    {                                                                                              \
        return __atomic_load_n(from, __ATOMIC_RELAXED);                                            \
    }                                                                                              \
    static inline void oh_race_store_##name(type *to, type value)                                  \
    {                                                                                              \
        __atomic_store_n(to, value, __ATOMIC_RELAXED);                                             \
    }

OH_RACE(u16, uint16_t)
OH_RACE(u32, uint32_t)
OH_RACE(u64, uint64_t)
OH_RACE(i32, int32_t)
OH_RACE(i64, int64_t)

#undef OH_RACE

/* Broken invariants stop a debug build at the place where they break. */
#ifdef ONHAND_DEBUG
#include <stdio.h>
#include <stdlib.h>
#define OH_INVARIANT(holds, says)                                                                  \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            fprintf(stderr, "Invariant: %s (%s:%d)\n", says, __FILE__, __LINE__);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)
#else
#define OH_INVARIANT(holds, says) ((void)0)
#endif

#endif
