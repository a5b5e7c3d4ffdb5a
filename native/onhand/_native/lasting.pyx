"""Objects that last and can be part of no cycle, so that no collection needs to look at them.

Read ``Book.put_order`` in src/onhand/orders/book.py first. Python's collector goes through all that
was made since it last came, with every thread at a standstill, and lists stay in its sight however
little they hold. Of a million open orders that is a fifth of a second at a time.
"""

cdef extern from "Python.h":
    void PyObject_GC_UnTrack(void *)


def untrack(*lists):
    """Let collections pass lists over for as long as these live.

    They are freed as ever, when nothing refers to them. Nothing that a list holds, now or later,
    may lead back to it: such a ring would never be freed.
    """
    for each in lists:
        if type(each) is not list:
            raise TypeError(f"Condition failed: {type(each).__name__} is a list")
        PyObject_GC_UnTrack(<void *>each)
