"""What of SQLite is used; see sqlite/libsqlite3.h and sqlite/transaction.h."""

from libc.stdint cimport int64_t

cdef extern from "sqlite/transaction.h" nogil:
    enum:
        OH_SQLITE_OK
        OH_SQLITE_OPEN_READWRITE
        OH_SQLITE_OPEN_NOMUTEX
        OH_SQLITE_PREPARE_PERSISTENT
        OH_SQLITE_VERSION_MIN
        OH_FENCE_COLUMNS

    ctypedef struct sqlite3:
        pass
    ctypedef struct sqlite3_stmt:
        pass

    ctypedef struct oh_sqlite_t:
        int (*libversion_number)() noexcept nogil
        const char *(*errstr)(int) noexcept nogil
        int (*open_v2)(const char *, sqlite3 **, int, const char *) noexcept nogil
        int (*close_v2)(sqlite3 *) noexcept nogil
        int (*busy_timeout)(sqlite3 *, int) noexcept nogil
        int (*extended_errcode)(sqlite3 *) noexcept nogil
        const char *(*errmsg)(sqlite3 *) noexcept nogil
        int (*execute "exec")(sqlite3 *, const char *, void *, void *, char **) noexcept nogil
        int (*prepare_v3)(
            sqlite3 *, const char *, int, unsigned, sqlite3_stmt **, const char **) noexcept nogil
        int (*bind_parameter_count)(sqlite3_stmt *) noexcept nogil
        int (*finalize)(sqlite3_stmt *) noexcept nogil

    const char *oh_sqlite_find(oh_sqlite_t *, const char *)

    ctypedef enum oh_value_kind_t:
        OH_VALUE_NULL
        OH_VALUE_INTEGER
        OH_VALUE_TEXT
        OH_VALUE_BLOB

    ctypedef struct oh_value_t:
        oh_value_kind_t kind
        int length
        int64_t integer
        const char *bytes

    ctypedef struct oh_bound_t:
        sqlite3_stmt *statement
        const oh_value_t *values
        int count

    ctypedef enum oh_transaction_end_t:
        OH_TRANSACTION_COMMITTED
        OH_TRANSACTION_FENCED
        OH_TRANSACTION_UNDONE
        OH_TRANSACTION_NOT_ENDED

    ctypedef struct oh_transaction_t:
        oh_transaction_end_t end
        int code
        const char *message
        int column_count
        int64_t *columns

    void oh_transact(
        oh_transaction_t *, const oh_sqlite_t *, sqlite3 *, const oh_bound_t *, size_t)
    int oh_undo(const oh_sqlite_t *, sqlite3 *)
