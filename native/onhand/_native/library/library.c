#include "library/library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

enum { NAME_BYTES_MAX = 128 };

const char *oh_library_find(void *functions, const char *path, const char *prefix,
                            const char *const *names, size_t count)
{
    /* Kept, because the one that is missing is returned. */
    static _Thread_local char name[NAME_BYTES_MAX];
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return dlerror();
    for (size_t index = 0; index < count; index++) {
        snprintf(name, sizeof name, "%s%s", prefix, names[index]);
        void *found = dlsym(library, name);
        if (found == NULL) return name;
        /* Copied as bytes: C has no cast from what dlsym returns to a function. */
        memcpy((char *)functions + index * sizeof found, &found, sizeof found);
    }
    return NULL;
}
