"""Scripts of processes that are sent signals at a bad moment."""

HASTY = """
import os, signal
install = signal.signal

def install_and_be_told(number, handler):
    previous = install(number, handler)
    signal.signal = install
    os.kill(os.getpid(), number)
    return previous

signal.signal = install_and_be_told
"""
"""Before a script: its process is sent a signal the moment it has a handler of its own."""
