"""How a transaction of the order writer ends that has not simply been made."""

from __future__ import annotations

import sqlite3
from typing import Final

import psycopg
from sqlalchemy import exc

from onhand.errors import CommitFailed, CommitUnknown
from onhand.ledger.engine import unavailable

DriverErrors: Final = (sqlite3.Error, psycopg.Error, exc.DBAPIError, exc.TimeoutError)


def not_made(place: str, error: Exception) -> CommitFailed:
    """Word why a commit was not made."""
    worded = unavailable(place, error)
    return CommitFailed(worded.what, worded.advice)


def unknown(place: str, error: Exception) -> CommitUnknown:
    """Word why nobody knows whether a commit was made."""
    worded = unavailable(place, error)
    return CommitUnknown(worded.what, worded.advice)
