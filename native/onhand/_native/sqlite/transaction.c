#include "transaction.h"

#include <stdio.h>

static int bind_value(const oh_sqlite_t *sqlite, sqlite3_stmt *statement, int index,
                      const oh_value_t *value)
{
    switch (value->kind) {
    case OH_VALUE_INTEGER: return sqlite->bind_int64(statement, index, value->integer);
    case OH_VALUE_TEXT:
        return sqlite->bind_text(statement, index, value->bytes, value->length, NULL);
    case OH_VALUE_BLOB:
        return sqlite->bind_blob(statement, index, value->bytes, value->length, NULL);
    default: return sqlite->bind_null(statement, index);
    }
}

static int bind_values(const oh_sqlite_t *sqlite, const oh_bound_t *bound)
{
    int code = OH_SQLITE_OK;
    for (int index = 0; index < bound->count && code == OH_SQLITE_OK; index++)
        code = bind_value(sqlite, bound->statement, index + 1, &bound->values[index]);
    return code;
}

/* Keeps the row that a fence has returned; false when it is not one of integers. */
static int keep_row(const oh_sqlite_t *sqlite, sqlite3_stmt *statement, oh_transaction_t *done)
{
    int count = sqlite->column_count(statement);
    if (count > OH_FENCE_COLUMNS) return 0;
    for (int column = 0; column < count; column++) {
        if (sqlite->column_type(statement, column) != OH_SQLITE_INTEGER) return 0;
        done->columns[column] = sqlite->column_int64(statement, column);
    }
    done->column_count = count;
    return 1;
}

/* Runs one statement to its end; whatever is bound is let go of, whatever happens. */
static int run(const oh_sqlite_t *sqlite, const oh_bound_t *bound, oh_transaction_t *row)
{
    int code = bind_values(sqlite, bound);
    if (code == OH_SQLITE_OK) {
        while ((code = sqlite->step(bound->statement)) == OH_SQLITE_ROW) {
            if (row != NULL && !keep_row(sqlite, bound->statement, row)) {
                code = OH_SQLITE_MISMATCH;
                break;
            }
        }
        int failed = sqlite->reset(bound->statement);
        if (code == OH_SQLITE_DONE) code = failed;
    }
    sqlite->clear_bindings(bound->statement);
    return code;
}

static void note_failure(oh_transaction_t *done, oh_transaction_end_t end,
                         const oh_sqlite_t *sqlite, sqlite3 *database, int code)
{
    int extended = sqlite->extended_errcode(database);
    int is_latest = (extended & 0xff) == (code & 0xff);
    done->end = end;
    done->code = is_latest ? extended : code;
    snprintf(done->message, sizeof done->message, "%s",
             is_latest ? sqlite->errmsg(database) : sqlite->errstr(code));
}

int oh_undo(const oh_sqlite_t *sqlite, sqlite3 *database)
{
    if (sqlite->get_autocommit(database)) return OH_SQLITE_OK;
    return sqlite->exec(database, "ROLLBACK", NULL, NULL, NULL);
}

static int run_all(const oh_sqlite_t *sqlite, const oh_bound_t *bound, size_t count)
{
    int code = OH_SQLITE_OK;
    for (size_t index = 0; index < count && code == OH_SQLITE_OK; index++)
        code = run(sqlite, &bound[index], NULL);
    return code;
}

void oh_transact(oh_transaction_t *done, const oh_sqlite_t *sqlite, sqlite3 *database,
                 const oh_bound_t *bound, size_t count)
{
    *done = (oh_transaction_t){.end = OH_TRANSACTION_COMMITTED};
    int code = sqlite->exec(database, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (code == OH_SQLITE_OK) code = run(sqlite, &bound[0], done);
    if (code == OH_SQLITE_OK && done->column_count == 0) {
        done->end = OH_TRANSACTION_FENCED;
        oh_undo(sqlite, database);
        return;
    }
    if (code == OH_SQLITE_OK) code = run_all(sqlite, bound + 1, count - 1);
    if (code != OH_SQLITE_OK) {
        note_failure(done, OH_TRANSACTION_UNDONE, sqlite, database, code);
        oh_undo(sqlite, database);
        return;
    }
    code = sqlite->exec(database, "COMMIT", NULL, NULL, NULL);
    if (code != OH_SQLITE_OK)
        note_failure(done, OH_TRANSACTION_NOT_ENDED, sqlite, database, code);
}
