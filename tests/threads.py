"""The threads of a test's own process."""

import threading


def threads_named(name):
    """Return the threads that run under a name."""
    return {thread for thread in threading.enumerate() if thread.name == name}
