"""Fuzz with coverage: ``python -m tests.fuzz --seconds 60 poll checkpoint``, or every target.

Each target runs in a process of its own on its folder of ``tests/fuzz/corpus``. What is new there
afterwards is worth keeping when it is small. An input that fails is written to ``build/fuzz`` and
named. ``make fuzz`` builds the native code so that the fuzzer sees its branches and the sanitizers
its mistakes.
"""

import argparse
import logging
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["onhand.ingest", "onhand.model", "onhand.recommendations", "onhand.table"]
):
    from tests.fuzz.corpus_files import corpus_of, folder_of
    from tests.fuzz.targets import TARGETS

import structlog

FOUND = Path("build/fuzz")
INPUT_BYTES_MAX = 4_096
INPUT_TIMEOUT_S = 20


def main():
    arguments = _arguments()
    if arguments.child:
        return _fuzz(*arguments.child)
    FOUND.mkdir(parents=True, exist_ok=True)
    if arguments.merge:
        return _merge(arguments.targets or list(TARGETS))
    return max(_run(name, arguments.seconds) for name in arguments.targets or TARGETS)


def _arguments():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all when left out")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--merge", action="store_true", help="keep only inputs that add coverage")
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(name, seconds):
    """Fuzz one target from its corpus; what is new is kept in build/fuzz until it is merged."""
    with tempfile.TemporaryDirectory(prefix="onhand-fuzz-") as scratch:
        grown, words = FOUND / name, Path(scratch, "dictionary")
        grown.mkdir(exist_ok=True)
        begin = Path(scratch, "begin")
        begin.mkdir()
        for number, content in enumerate(corpus_of(name)):
            (begin / str(number)).write_bytes(content)
        words.write_text("".join(f'"{_quoted(word)}"\n' for word in TARGETS[name].dictionary))
        dictionary = [f"-dict={words}"] if TARGETS[name].dictionary else []
        begun_s = time.monotonic()
        code = _child(
            name, grown, begin,
            f"-max_total_time={seconds}", *dictionary, f"-max_len={INPUT_BYTES_MAX}",
            f"-timeout={INPUT_TIMEOUT_S}", f"-artifact_prefix={FOUND}/{name}-",
            "-print_final_stats=1", "-rss_limit_mb=4096", "-close_fd_mask=0",
        )  # fmt: skip
        print(f"{name}: {'failed' if code else 'held'} after {time.monotonic() - begun_s:.0f} s")
        return int(code != 0)


def _merge(names):
    """Put the inputs that add coverage, and no others, into the corpus."""
    for name in names:
        kept = folder_of(name)
        with tempfile.TemporaryDirectory(prefix="onhand-fuzz-") as scratch:
            code = _child(name, scratch, kept, FOUND / name, "-merge=1", "-max_len=512")
            if code:
                return code
            shutil.rmtree(kept)
            shutil.copytree(scratch, kept)
    return 0


def _child(name, *options):
    return subprocess.call(
        [sys.executable, "-m", "tests.fuzz", "--child", name, *map(str, options)]
    )


def _fuzz(name, *options):
    """Be one target's process: libFuzzer ends it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    atheris.Setup([sys.argv[0], *options], TARGETS[name].check)
    atheris.Fuzz()


def _quoted(word):
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    sys.exit(main())
