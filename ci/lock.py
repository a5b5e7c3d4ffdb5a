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
    *("uv", "pip", "compile", "--quiet"),
    # Newest versions common to all Pythons, so that two installations never differ in numbers.
    *("--universal", "--python-version", "3.11", "--fork-strategy", "fewest"),
    # No addresses: a mirror must serve as well.
    *("--generate-hashes", "--no-emit-index-url", "--no-emit-find-links"),
    *("--custom-compile-command", "make lock"),
]
RUN = [
    "pyproject.toml",
    "--extra",
    "demo",
    "--group",
    "build",
    "--output-file",
    "requirements/run.txt",
]
DEV = [
    "pyproject.toml",
    "--extra",
    "demo",
    "--extra",
    "tracing",
    "--group",
    "dev",
    "--output-file",
    "requirements/dev.txt",
]

# A peer of the benchmarks has an environment of its own: it wants another confluent-kafka.
QUIX_FOLDER = "benchmarks/peers/quix_table"
QUIX = [f"{QUIX_FOLDER}/requirements.in", "--output-file", f"{QUIX_FOLDER}/requirements.txt"]


def main(arguments: list[str]) -> int:
    """Compile the run lock, the development lock on top of it, and a peer's."""
    upgrade = [] if "--keep" in arguments else ["--upgrade"]
    python = Path(sys.executable)
    compile_here = [str(python.with_name("uv")), *COMPILE[1:], *upgrade]
    for options in (RUN, [*DEV, "--constraints", "requirements/run.txt"], QUIX):
        subprocess.run([*compile_here, *options], cwd=ROOT, check=True)  # noqa: S603, own constants
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
