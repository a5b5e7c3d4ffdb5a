"""Quix Streams in a virtual environment of its own, since it wants another confluent-kafka.

The environment is made once in ``build/peers/quix`` from ``quix_table/requirements.txt``, every
package by its hash; ``make lock`` writes that file.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import msgspec

SOURCE = Path(__file__).with_name("quix_table")
INSTALLED = Path(__file__).parents[2] / "build/peers/quix"
REQUIREMENTS = SOURCE / "requirements.txt"


class Kept(msgspec.Struct):
    """What a run of the table came to: seconds from the first message to the last, and its sums."""

    seconds: float
    cells: int
    units: int


def keep_table(brokers: str, topic: str, message_count: int, scratch: Path) -> Kept:
    """Read so many messages of a topic into a table, from nothing."""
    command = [_installed(), SOURCE / "table.py", brokers, topic, str(message_count), scratch]
    told = subprocess.run(command, capture_output=True, check=False)
    assert told.returncode == 0, told.stderr.decode()
    return msgspec.json.decode(told.stdout.splitlines()[-1], type=Kept)


def version() -> str:
    """Name the release."""
    return (SOURCE / "requirements.in").read_text().strip().partition("==")[2]


def _installed() -> Path:
    """Make the environment unless that was done; return its Python."""
    python = INSTALLED / "bin/python"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    stamp = INSTALLED / "installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        stamp.unlink(missing_ok=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", INSTALLED], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--require-hashes", "-r", REQUIREMENTS], check=True)
        stamp.write_text(wanted)
    return python
