# cython: autotestdict=False
"""Whole transactions on an SQLite file; read ``src/onhand/ledger/link.py`` first.

Python's driver gives the interpreter lock away for every statement, and takes it back: beside a
busy thread a commit of seven statements waits longer for that than for the disk. Here it is given
away once, for all of a transaction.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_GET_SIZE
from cpython.long cimport PyLong_Check
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.unicode cimport PyUnicode_Check

from onhand._native.libsqlite3 cimport (
    OH_SQLITE_OK, OH_SQLITE_OPEN_NOMUTEX, OH_SQLITE_OPEN_READWRITE, OH_SQLITE_PREPARE_PERSISTENT,
    OH_SQLITE_VERSION_MIN, OH_TRANSACTION_COMMITTED, OH_TRANSACTION_FENCED, OH_TRANSACTION_UNDONE,
    OH_VALUE_BLOB, OH_VALUE_INTEGER, OH_VALUE_NULL, OH_VALUE_TEXT, oh_bound_t, oh_sqlite_find,
    oh_sqlite_t, oh_transact, oh_transaction_t, oh_undo, oh_value_t, sqlite3, sqlite3_stmt,
)

import os
import sqlite3 as driver

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL

cdef enum:
    BYTES_MAX = 1_000_000_000
    # Each may take some ten kilobytes; a ledger has fewer.
    PREPARED_MAX = 512

cdef oh_sqlite_t sqlite
cdef bint is_found = False


class CommitError(driver.OperationalError):
    pass


def find_library(str path not None):
    global sqlite, is_found
    cdef oh_sqlite_t found
    if oh_sqlite_find(&found, os.fsencode(path)) != NULL:
        return False
    if found.libversion_number() < OH_SQLITE_VERSION_MIN:
        return False
    sqlite = found
    is_found = True
    return True


cdef object error_of(kind, int code, str text):
    error = kind(text)
    error.sqlite_errorcode = code
    return error


cdef class Prepared:
    """A statement of one text; finalized with the object."""

    cdef sqlite3_stmt *statement
    cdef int count

    def __dealloc__(self):
        if self.statement != NULL:
            sqlite.finalize(self.statement)


cdef class Room:
    """Where statements and parameters stand together; it grows and never shrinks."""

    cdef oh_value_t *values
    cdef oh_bound_t *bound
    cdef Py_ssize_t value_room, bound_room

    cdef int make(self, Py_ssize_t value_count, Py_ssize_t bound_count) except -1:
        if value_count > self.value_room:
            values = PyMem_Realloc(self.values, value_count * sizeof(oh_value_t))
            if values == NULL:
                raise MemoryError
            self.values, self.value_room = <oh_value_t *>values, value_count
        if bound_count > self.bound_room:
            bound = PyMem_Realloc(self.bound, bound_count * sizeof(oh_bound_t))
            if bound == NULL:
                raise MemoryError
            self.bound, self.bound_room = <oh_bound_t *>bound, bound_count
        return 0

    def __dealloc__(self):
        PyMem_Free(self.values)
        PyMem_Free(self.bound)


cdef int set_value(oh_value_t *value, object given) except -1:
    cdef Py_ssize_t length = 0
    if PyUnicode_Check(given):
        value.kind = OH_VALUE_TEXT
        value.bytes = PyUnicode_AsUTF8AndSize(given, &length)
    elif PyLong_Check(given):
        value.kind = OH_VALUE_INTEGER
        value.integer = given
    elif PyBytes_Check(given):
        value.kind = OH_VALUE_BLOB
        value.bytes = PyBytes_AS_STRING(given)
        length = PyBytes_GET_SIZE(given)
    elif given is None:
        value.kind = OH_VALUE_NULL
    else:
        raise TypeError(f"it is str, int, bytes or None, not {type(given).__name__}")
    if length > BYTES_MAX:
        raise OverflowError(f"it has at most {BYTES_MAX} bytes")
    value.length = <int>length
    return 0


cdef class Connection:
    cdef sqlite3 *database
    cdef dict prepared
    cdef Room room

    def __init__(self, str path not None, int busy_timeout_ms):
        if not is_found or self.database != NULL:
            raise AssertionError("Invariant: the library is found, and opened once")
        self.prepared = {}
        self.room = Room()
        encoded = os.fsencode(path)
        cdef const char *name = encoded
        cdef int code
        cdef int flags = OH_SQLITE_OPEN_READWRITE | OH_SQLITE_OPEN_NOMUTEX
        with nogil:
            code = sqlite.open_v2(name, &self.database, flags, NULL)
        self.check(code)
        sqlite.busy_timeout(self.database, busy_timeout_ms)

    def __dealloc__(self):
        self.close()

    cdef int check(self, int code) except -1:
        if code == OH_SQLITE_OK:
            return 0
        if self.database == NULL:
            raise error_of(driver.OperationalError, code, sqlite.errstr(code).decode())
        extended = sqlite.extended_errcode(self.database)
        text = sqlite.errmsg(self.database).decode(errors="replace")
        raise error_of(driver.OperationalError, extended, text)

    cdef int must_be_open(self) except -1:
        if self.database == NULL:
            raise driver.ProgrammingError("the connection is closed")
        return 0

    def execute(self, str text not None):
        self.must_be_open()
        encoded = text.encode()
        cdef const char *statement = encoded
        cdef int code
        with nogil:
            code = sqlite.execute(self.database, statement, NULL, NULL, NULL)
        self.check(code)

    def transact(self, tuple fence not None, list statements not None):
        self.must_be_open()
        cdef Py_ssize_t value_count = 0
        cdef Py_ssize_t bound_count = 1 + len(statements)
        for _, parameters in (fence, *statements):
            value_count += len(parameters)
        self.room.make(value_count, bound_count)
        if len(self.prepared) > PREPARED_MAX:
            self.prepared.clear()
        value_count = self.bind(0, fence, 0)
        cdef Py_ssize_t at = 1
        for text_and_parameters in statements:
            value_count = self.bind(at, text_and_parameters, value_count)
            at += 1
        return self.run(bound_count)

    cdef Py_ssize_t bind(self, Py_ssize_t at, tuple text_and_parameters,
                         Py_ssize_t value_at) except -1:
        """Put a statement and its parameters in their places; where the next ones begin."""
        cdef str text
        cdef tuple parameters
        text, parameters = text_and_parameters
        cdef Prepared prepared = self.prepare(text)
        cdef oh_bound_t *bound = self.room.bound + at
        if prepared.count != len(parameters):
            raise driver.ProgrammingError(
                f"the statement takes {prepared.count} parameters, not {len(parameters)}"
            )
        bound.statement = prepared.statement
        bound.values = self.room.values + value_at
        bound.count = prepared.count
        for given in parameters:
            try:
                set_value(self.room.values + value_at, given)
            except (TypeError, OverflowError, ValueError) as error:
                raise driver.ProgrammingError(f"a parameter cannot be bound: {error}") from error
            value_at += 1
        return value_at

    cdef Prepared prepare(self, str text):
        cdef Prepared prepared = self.prepared.get(text)
        if prepared is not None:
            return prepared
        prepared = Prepared()
        cdef Py_ssize_t length = 0
        cdef const char *encoded = PyUnicode_AsUTF8AndSize(text, &length)
        cdef const char *rest = NULL
        cdef int code
        with nogil:
            code = sqlite.prepare_v3(
                self.database, encoded, <int>length, OH_SQLITE_PREPARE_PERSISTENT,
                &prepared.statement, &rest,
            )
        self.check(code)
        if prepared.statement == NULL or rest != encoded + length:
            raise driver.ProgrammingError("a text has one statement, and nothing behind it")
        prepared.count = sqlite.bind_parameter_count(prepared.statement)
        self.prepared[text] = prepared
        return prepared

    cdef list run(self, Py_ssize_t count):
        cdef oh_transaction_t done
        cdef oh_bound_t *bound = self.room.bound
        with nogil:
            oh_transact(&done, &sqlite, self.database, bound, <size_t>count)
        if done.end == OH_TRANSACTION_COMMITTED:
            return [tuple([done.columns[column] for column in range(done.column_count)])]
        if done.end == OH_TRANSACTION_FENCED:
            return []
        text = (<bytes>done.message).decode(errors="replace")
        kind = driver.OperationalError if done.end == OH_TRANSACTION_UNDONE else CommitError
        raise error_of(kind, done.code, text)

    def rollback(self):
        self.must_be_open()
        cdef int code
        with nogil:
            code = oh_undo(&sqlite, self.database)
        self.check(code)

    def close(self):
        if self.prepared is not None:
            self.prepared.clear()
        cdef sqlite3 *database = self.database
        self.database = NULL
        if database != NULL:
            with nogil:
                sqlite.close_v2(database)
