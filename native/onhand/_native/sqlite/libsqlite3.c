#include "libsqlite3.h"

#include <dlfcn.h>
#include <string.h>

const char *oh_sqlite_find(oh_sqlite_t *functions, const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return dlerror();
    /* Copied as bytes: C has no cast from what dlsym returns to a function. */
#define OH_SQLITE_FIND(returned, name, taken)                                                      \
    {                                                                                              \
        void *found = dlsym(library, "sqlite3_" #name);                                            \
        if (found == NULL) return "sqlite3_" #name;                                                \
        memcpy(&functions->name, &found, sizeof found);                                            \
    }
    OH_SQLITE_FUNCTIONS(OH_SQLITE_FIND)
#undef OH_SQLITE_FIND
    return NULL;
}
