"""What a machine may lack: a person's run skips what needs it, and a gate (``CI=true``) fails."""

import contextlib
import os
import shutil
import subprocess

import pytest


def lack(what):
    """End the test that needs it."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(what)


def need_program(name, advice):
    """Find a program."""
    return shutil.which(name) or lack(f"there is no {name}: {advice}")


@contextlib.contextmanager
def small_disk(path, size):
    """Mount a file system of a size such as ``4m`` at a path, where this user may."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        lack("only root can mount a small disk, where the machine lets it")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
