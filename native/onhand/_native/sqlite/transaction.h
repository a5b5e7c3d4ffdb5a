/* A whole transaction of a ledger in one call, which knows nothing of Python. */
#ifndef ONHAND_SQLITE_TRANSACTION_H
#define ONHAND_SQLITE_TRANSACTION_H

#include <stddef.h>

#include "libsqlite3.h"

typedef enum { OH_VALUE_NULL, OH_VALUE_INTEGER, OH_VALUE_TEXT, OH_VALUE_BLOB } oh_value_kind_t;

/* A parameter; its bytes belong to the caller and stay until the call ends. */
typedef struct {
    oh_value_kind_t kind;
    int length;
    union {
        int64_t integer;
        const char *bytes;
    };
} oh_value_t;

/* A statement with its parameters, in their order. */
typedef struct {
    sqlite3_stmt *statement;
    const oh_value_t *values;
    int count;
} oh_bound_t;

enum { OH_FENCE_COLUMNS = 8 };

typedef enum {
    OH_TRANSACTION_COMMITTED,
    OH_TRANSACTION_FENCED,      /* the fence returned no row; nothing is written */
    OH_TRANSACTION_UNDONE,      /* a statement failed; nothing is written */
    OH_TRANSACTION_NOT_ENDED,   /* COMMIT failed; the transaction may still be open */
} oh_transaction_end_t;

typedef struct {
    oh_transaction_end_t end;
    int code;  /* SQLite's extended one, of what failed */
    char message[256];
    int column_count;
    int64_t columns[OH_FENCE_COLUMNS];  /* the row that the fence returned */
} oh_transaction_t;

/* Begins, runs the fence, and commits the rest with it if that has returned a row.
 *
 * The fence is a statement that returns at most one row of integers; it comes first. Unless it is
 * committed, it is undone, so that no transaction is open at the end, but for a COMMIT that failed.
 */
void oh_transact(oh_transaction_t *done, const oh_sqlite_t *sqlite, sqlite3 *database,
                 const oh_bound_t *bound, size_t count);

/* Undoes the transaction, if one is open; SQLite's code. */
int oh_undo(const oh_sqlite_t *sqlite, sqlite3 *database);

#endif
