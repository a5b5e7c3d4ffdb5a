"""Where commands wait: each is taken or answered, whoever opens and closes meanwhile."""

from concurrent.futures import Future

from onhand.writer.answer import failed
from onhand.writer.intake import Intake
from onhand.writer.waiting import FutureFront, Waiting

CLOSED = failed("writer_unavailable", "not yet")


class OpenedMeanwhile(Intake):
    """The writer's thread opens it in the very moment after somebody has found it closed."""

    def __init__(self):
        self.looks = 0
        super().__init__(CLOSED)

    @property
    def _closed(self):
        self.looks += 1
        return CLOSED if self.looks == 1 else None

    @_closed.setter
    def _closed(self, answer):
        """Nobody else opens or closes it."""


def command():
    return Waiting(None, FutureFront(), Future())


def test_what_comes_as_it_is_opened_is_answered_or_taken():
    """Never answered with nothing, and never left out."""
    intake = OpenedMeanwhile()
    first, second = command(), command()
    intake.put([first])
    assert first.answer is CLOSED
    intake.put([second])
    assert intake.take(wait=False) == [second]
