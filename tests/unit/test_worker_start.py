"""A server's worker process, from its fork until it serves."""

import signal
import subprocess
import sys

ORPHAN = """
import signal
from onhand.settings import Settings
from onhand.web.server import load_front

signal.signal(signal.SIGTERM, lambda *_: None)
load_front(Settings(data="{data}"), reads_only=True, parent=1)
"""


def test_a_worker_whose_parent_died_before_it_looked_ends(tmp_path):
    """The server's own handler, which came along with the fork, does not keep it."""
    script = ORPHAN.format(data=tmp_path / "data")
    ended = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert ended.returncode == -signal.SIGTERM
