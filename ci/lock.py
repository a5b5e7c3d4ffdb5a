#!/usr/bin/env python3
"""Write requirements/*.txt: exact versions and hashes, one set for every Python we support.

By default it takes the newest versions that pyproject.toml allows; --keep only adds and
removes what pyproject.toml changed.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPILE = [
    *("uv", "pip", "compile", "pyproject.toml", "--quiet"),
    # Newest versions common to all Pythons, so that two installations never differ in numbers.
    *("--universal", "--python-version", "3.11", "--fork-strategy", "fewest"),
    # No addresses: a mirror must serve as well.
    *("--generate-hashes", "--no-emit-index-url", "--no-emit-find-links"),
    *("--custom-compile-command", "make lock"),
]
RUN = ["--extra", "demo", "--group", "build", "--output-file", "requirements/run.txt"]
DEV = ["--extra", "demo", "--group", "dev", "--output-file", "requirements/dev.txt"]


def main(arguments: list[str]) -> int:
    """Compile the run lock, then the development lock on top of it."""
    upgrade = [] if "--keep" in arguments else ["--upgrade"]
    python = Path(sys.executable)
    compile_here = [str(python.with_name("uv")), *COMPILE[1:], *upgrade]
    for options in (RUN, [*DEV, "--constraints", "requirements/run.txt"]):
        subprocess.run([*compile_here, *options], cwd=ROOT, check=True)  # noqa: S603, own constants
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
