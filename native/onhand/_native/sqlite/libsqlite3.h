/* The part of SQLite's public interface that a writer needs, and where its functions are.
 *
 * SQLite comes with Python, as the library that its module sqlite3 is linked to. Two copies of it in
 * one process would not see each other's locks on a file (sqlite.org/howtocorrupt.html, section
 * 2.2.1), so functions are found at run time by way of that module. They are declared here as
 * sqlite3.h has them; SQLite keeps its interface compatible for good.
 */
#ifndef ONHAND_SQLITE_LIBSQLITE3_H
#define ONHAND_SQLITE_LIBSQLITE3_H

#include <stdint.h>

#include "library/library.h"

typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;
typedef void (*oh_sqlite_free_t)(void *);

enum {
    OH_SQLITE_OK = 0,
    OH_SQLITE_MISMATCH = 20,
    OH_SQLITE_INTEGER = 1,
    OH_SQLITE_ROW = 100,
    OH_SQLITE_DONE = 101,
    OH_SQLITE_OPEN_READWRITE = 2,
    OH_SQLITE_OPEN_NOMUTEX = 0x8000,
    OH_SQLITE_PREPARE_PERSISTENT = 1,
    /* 3.35 was the first with RETURNING. */
    OH_SQLITE_VERSION_MIN = 3035000,
};

/* Each function that is used: what it returns, its name without sqlite3_, what it takes. */
#define OH_SQLITE_FUNCTIONS(F)                                                                     \
    F(int, libversion_number, (void))                                                              \
    F(const char *, errstr, (int code))                                                            \
    F(int, open_v2, (const char *path, sqlite3 **database, int flags, const char *vfs))            \
    F(int, close_v2, (sqlite3 *database))                                                          \
    F(int, busy_timeout, (sqlite3 *database, int timeout_ms))                                      \
    F(int, extended_errcode, (sqlite3 *database))                                                  \
    F(const char *, errmsg, (sqlite3 *database))                                                   \
    F(int, get_autocommit, (sqlite3 *database))                                                    \
    F(int, exec,                                                                                   \
      (sqlite3 *database, const char *text, int (*row)(void *, int, char **, char **), void *mine, \
       char **message))                                                                            \
    F(int, prepare_v3,                                                                             \
      (sqlite3 *database, const char *text, int length, unsigned flags,                            \
       sqlite3_stmt **statement, const char **rest))                                               \
    F(int, bind_parameter_count, (sqlite3_stmt *statement))                                        \
    F(int, bind_null, (sqlite3_stmt *statement, int index))                                        \
    F(int, bind_int64, (sqlite3_stmt *statement, int index, int64_t value))                        \
    F(int, bind_text,                                                                              \
      (sqlite3_stmt *statement, int index, const char *text, int length, oh_sqlite_free_t free))   \
    F(int, bind_blob,                                                                              \
      (sqlite3_stmt *statement, int index, const void *data, int length, oh_sqlite_free_t free))   \
    F(int, clear_bindings, (sqlite3_stmt *statement))                                              \
    F(int, step, (sqlite3_stmt *statement))                                                        \
    F(int, reset, (sqlite3_stmt *statement))                                                       \
    F(int, finalize, (sqlite3_stmt *statement))                                                    \
    F(int, column_count, (sqlite3_stmt *statement))                                                \
    F(int, column_type, (sqlite3_stmt *statement, int column))                                     \
    F(int64_t, column_int64, (sqlite3_stmt *statement, int column))

/* Makes oh_sqlite_t and oh_sqlite_find. */
OH_LIBRARY(oh_sqlite, "sqlite3_", OH_SQLITE_FUNCTIONS)

#endif
