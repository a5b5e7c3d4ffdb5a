#include "librdkafka.h"

#include <dlfcn.h>
#include <string.h>

const char *oh_rdkafka_find(oh_rdkafka_t *functions, const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return dlerror();
    /* Copied as bytes: C has no cast from what dlsym returns to a function. */
#define OH_RDKAFKA_FIND(returned, name, taken)                                                     \
    {                                                                                              \
        void *found = dlsym(library, "rd_kafka_" #name);                                           \
        if (found == NULL) return "rd_kafka_" #name;                                               \
        memcpy(&functions->name, &found, sizeof found);                                            \
    }
    OH_RDKAFKA_FUNCTIONS(OH_RDKAFKA_FIND)
#undef OH_RDKAFKA_FIND
    return NULL;
}
