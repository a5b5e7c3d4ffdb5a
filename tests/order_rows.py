"""Rows of the order ledger for tests, made from a number."""

import hashlib

from onhand.ledger.rows import (
    AnswerRow,
    Commit,
    EventRow,
    HoldRow,
    LedgerEventRow,
    OrderRow,
    ReturnRow,
    TaskRow,
)


def hold(number, status="active", expires_us=None):
    expires_us = number if expires_us is None else expires_us
    return HoldRow(f"h{number:06d}", status, expires_us, b'{"hold":%d}' % number)


def order(number, *, status="open", customer=None, created_us=None, is_open=True):
    created_us = number if created_us is None else created_us
    document = b'{"order":%d}' % number
    return OrderRow(f"o{number:06d}", status, customer, created_us, created_us, is_open, document)


def task(number, order_number, *, location="store", status="open", due_us=None):
    due_us = number if due_us is None else due_us
    order_id = f"o{order_number:06d}"
    return TaskRow(f"t{number:06d}", order_id, location, status, due_us, created_us=number)


def return_(number, *, status="authorised", order_id=None, receipt=None, is_open=True):
    document = b'{"return":%d}' % number
    return ReturnRow(f"r{number:06d}", status, order_id, receipt, number, is_open, document)


def answer(number, *, refused=False, created_us=0):
    document = b'{"answer":%d}' % number
    return AnswerRow(key(number), b"s" * 32, refused, document, created_us)


def key(number):
    return hashlib.sha256(b"%d" % number).digest()[:20]


def ledger_event(sequence, created_us=0):
    return LedgerEventRow(sequence, b'{"sequence":%d}' % sequence, b'[["a","b",1]]', created_us)


def event(number):
    return EventRow(f"o{number}", b'{"id":"%d"}' % number)


def batch(number, size=3):
    """Make a commit of every kind of row; ``number`` counts from 1."""
    numbers = range(number * size, (number + 1) * size)
    return Commit(
        holds=[hold(each) for each in numbers],
        orders=[order(each) for each in numbers],
        tasks=[task(each, each) for each in numbers],
        returns=[return_(each, order_id=f"o{each:06d}") for each in numbers],
        answers=[answer(each) for each in numbers],
        ledger_events=[ledger_event(number)],
        events=[event(each) for each in numbers],
        claim_offsets={0: number},
    )
