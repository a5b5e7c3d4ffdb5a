"""Counters, gauges and histograms in a page of shared memory: one add is one store.

Read src/onhand/metrics.py first: it lays out the page and hands every object its slots. A page is
written by one process, whose threads are serialised by the interpreter lock, and read by any.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t

cdef enum:
    BOUNDS_MAX = 40


@cython.final
cdef class Counter:
    """A count that only rises.

    Parameters
    ----------
    slots
        Writable view of the page's slots; kept alive by this object.
    index
        The slot that holds the count.
    """

    cdef uint64_t[::1] slots
    cdef uint64_t *slot

    def __init__(self, uint64_t[::1] slots not None, Py_ssize_t index):
        if not 0 <= index < slots.shape[0]:
            raise ValueError(f"Condition failed: slot {index} is inside the page")
        self.slots = slots
        self.slot = &self.slots[index]

    def add(self, uint64_t count=1):
        """Raise the count."""
        self.slot[0] += count

    @property
    def value(self):
        """Return the count of this process."""
        return self.slot[0]


@cython.final
cdef class Gauge:
    """A number that goes up and down."""

    cdef double[::1] slots
    cdef double *slot

    def __init__(self, double[::1] slots not None, Py_ssize_t index):
        if not 0 <= index < slots.shape[0]:
            raise ValueError(f"Condition failed: slot {index} is inside the page")
        self.slots = slots
        self.slot = &self.slots[index]

    def set(self, double value):
        """Replace the number."""
        self.slot[0] = value

    def add(self, double value):
        """Change the number by ``value``, which may be negative."""
        self.slot[0] += value

    @property
    def value(self):
        """Return the number as this process last set it."""
        return self.slot[0]


@cython.final
cdef class Histogram:
    """Counts of observations by bucket, and their sum.

    Its slots are one count a bound, one count of what lies above all bounds, and the sum as a
    double.

    Parameters
    ----------
    counts, sums
        The same slots of the page, once as integers and once as doubles.
    index
        The first slot.
    bounds
        Rising upper bounds, inclusive.
    """

    cdef uint64_t[::1] counts
    cdef double[::1] sums
    cdef uint64_t *buckets
    cdef double *total
    cdef double bounds[BOUNDS_MAX]
    cdef int bound_count

    def __init__(
        self,
        uint64_t[::1] counts not None,
        double[::1] sums not None,
        Py_ssize_t index,
        bounds not None,
    ):
        cdef int place
        self.bound_count = len(bounds)
        if not 0 < self.bound_count <= BOUNDS_MAX:
            raise ValueError(f"Condition failed: a histogram has 1 to {BOUNDS_MAX} bounds")
        if not 0 <= index <= counts.shape[0] - self.bound_count - 2:
            raise ValueError(f"Condition failed: slot {index} is inside the page")
        self.counts = counts
        self.sums = sums
        self.buckets = &self.counts[index]
        self.total = &self.sums[index + self.bound_count + 1]
        for place in range(self.bound_count):
            self.bounds[place] = bounds[place]

    cdef inline void _observe(self, double value) noexcept nogil:
        cdef int place = 0
        while place < self.bound_count and value > self.bounds[place]:
            place += 1
        self.buckets[place] += 1
        self.total[0] += value

    def observe(self, double value):
        """Count one observation."""
        self._observe(value)

    def observe_since(self, const int64_t[::1] begun_us, int64_t now_us):  # IN
        """Count, for each time in microseconds, the seconds from it to ``now_us``."""
        cdef Py_ssize_t row
        cdef double seconds
        for row in range(begun_us.shape[0]):
            seconds = (now_us - begun_us[row]) * 1e-6
            self._observe(seconds if seconds > 0 else 0)

    @property
    def count(self):
        """Return how many observations this process has made."""
        cdef int place
        cdef uint64_t count = 0
        for place in range(self.bound_count + 1):
            count += self.buckets[place]
        return count
