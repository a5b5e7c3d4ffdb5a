/* Functions of a shared library that Python or a package of it brings along: declared by us, as a
 * list, and found by name at run time. What is used of each library is in a header of its own; see
 * kafka/librdkafka.h and sqlite/libsqlite3.h.
 */
#ifndef ONHAND_LIBRARY_H
#define ONHAND_LIBRARY_H

#include <stddef.h>

/* For OH_LIBRARY. Fills a structure of nothing but pointers, to functions of these names in this
 * order; the prefix goes before each name. */
const char *oh_library_find(void *functions, const char *path, const char *prefix,
                            const char *const *names, size_t count);

#define OH_LIBRARY_MEMBER(returned, name, taken) returned(*name) taken;
#define OH_LIBRARY_NAME(returned, name, taken) #name,

/* From a list of F(what a function returns, its name without the prefix, what it takes): a
 * structure library_t with a pointer to each, and library_find, which finds every one in the library
 * of this path, or in one that it is linked to.
 *
 * NULL when all were found, else the name of the first that is not there, or why the library cannot
 * be opened: text that stays valid until the thread's next call. The library stays open. */
#define OH_LIBRARY(library, prefix, LIST)                                                          \
    typedef struct {                                                                               \
        LIST(OH_LIBRARY_MEMBER)                                                                    \
    } library##_t;                                                                                 \
    static inline const char *library##_find(library##_t *functions, const char *path)             \
    {                                                                                              \
        static const char *const names[] = {LIST(OH_LIBRARY_NAME)};                                \
        _Static_assert(sizeof *functions == sizeof names, "a pointer each, and nothing between");  \
        return oh_library_find(functions, path, prefix, names, sizeof names / sizeof *names);      \
    }

#endif
