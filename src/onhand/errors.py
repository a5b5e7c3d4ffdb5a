"""Failures a person can act on.

Every error that reaches an operator or a caller says two things: what happened, and what to do
about it. The command line prints ``str(error)`` as one line; HTTP turns ``code`` into a problem.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec


class FieldError(msgspec.Struct, frozen=True, order=True):
    """One rule that one field breaks.

    ``pointer`` is a JSON pointer into the value that was judged (RFC 6901), ``detail`` the rule.
    """

    pointer: str
    detail: str

    def __str__(self) -> str:
        """Read as ``/field: rule``."""
        return f"{self.pointer or '/'}: {self.detail}"


class OnhandError(Exception):
    """The base of every failure that has advice.

    Parameters
    ----------
    what
        What happened, a sentence without its full stop.
    advice
        What the user should do, a sentence without its full stop.
    """

    code: ClassVar[str] = "internal_error"
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what, advice)
        self.what = what
        self.advice = advice

    def __str__(self) -> str:
        """Read as one line: what happened, then what to do."""
        return f"{self.what}. {self.advice}." if self.advice else f"{self.what}."


class SettingsError(OnhandError):
    """A setting is unknown, out of its bounds, or contradicts another."""

    code = "bad_settings"
    exit_code = 2


class InvalidInput(OnhandError):
    """A value from outside breaks rules; ``errors`` names every field and rule."""

    code = "invalid_request"

    def __init__(self, what: str, errors: tuple[FieldError, ...] = (), advice: str = "") -> None:
        super().__init__(what, advice)
        self.errors = errors

    def __str__(self) -> str:
        """Read as one line: what happened, each field with its rule, then what to do."""
        listed = "; ".join(str(error) for error in self.errors)
        what = f"{self.what}: {listed}" if listed else self.what
        return f"{what}. {self.advice}." if self.advice else f"{what}."


class WrongDataDirectory(OnhandError):
    """The data directory belongs to another log, another format or another product."""

    code = "wrong_data_directory"


class LogUnavailable(OnhandError):
    """The event log cannot be reached or opened."""

    code = "log_unavailable"


class LogFull(LogUnavailable):
    """The event log has no room left for what is being written."""

    code = "log_full"


class RecordTooLarge(OnhandError):
    """A record is larger than its topic takes."""

    code = "record_too_large"


class OffsetOutOfRange(OnhandError):
    """The log no longer holds, or does not yet hold, the offset to resume at."""

    code = "offset_out_of_range"


class PartitionsAdded(OnhandError):
    """A topic has partitions that the running flow does not read."""

    code = "partitions_added"


class LedgerUnavailable(OnhandError):
    """The ledger's database cannot be reached, opened or written."""

    code = "ledger_unavailable"


class CommitFailed(LedgerUnavailable):
    """A commit was not made, for certain: everything it was to write has to be undone."""


class CommitUnknown(LedgerUnavailable):
    """Nobody knows whether a commit was made; nothing may be decided until it is settled."""


class WriterFenced(OnhandError):
    """Another order writer has taken over; this one may never write again."""

    code = "writer_fenced"


class LedgerTooNew(OnhandError):
    """The ledger was written by a newer version of onhand."""

    code = "ledger_too_new"


class TableUnavailable(OnhandError):
    """The shared-memory tables are missing, too small, or of another cluster."""

    code = "table_unavailable"


class TableFull(OnhandError):
    """The native table has reached its configured size."""

    code = "table_full"


class AlreadyRunning(OnhandError):
    """Another process writes the same data."""

    code = "already_running"


class CheckpointInvalid(OnhandError):
    """A checkpoint is torn, of another format, or of another cluster."""

    code = "checkpoint_invalid"


class LedgerSequenceGap(OnhandError):
    """The order ledger's events skip a sequence, so something handed over would be lost.

    ``expected`` is the sequence that comes next, ``found`` the one that came.
    """

    code = "ledger_sequence_gap"

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(
            f"The ledger's events go on with sequence {found} where {expected} comes next",
            "The topic stock.ledger lacks records: restore them, or start from a checkpoint taken "
            "after them",
        )
        self.expected = expected
        self.found = found
