"""The extension list and the build switches; everything else is in pyproject.toml.

ONHAND_BUILD        release (default), debug, sanitize, or fuzz, which needs clang (CC=clang)
ONHAND_SKIP_NATIVE  1: install without building the extensions
ONHAND_EXTENSIONS   names, by commas: build only these
ONHAND_WERROR       0: let warnings in our C pass, for compilers newer than we test with

native/onhand/_native/NAME.pyx becomes onhand._native.NAME, together with every C file in
native/onhand/_native/NAME/ and in the directories that SHARED names for it. Headers are found
from native/include, native/onhand/_native and native/onhand/_native/NAME.
"""

import fcntl
import os
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import Cython
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NATIVE = Path("native/onhand/_native")
INCLUDE = Path("native/include")
BUILD = Path("build")
# C that several extensions are made of. Each has its own copy inside: symbols are hidden.
SHARED = {
    "demand": ["store"],
    "kafka": ["library"],
    "promising": ["reader", "store"],
    "reader": ["store"],
    "sqlite": ["library"],
    "storekit": ["store"],
    "supply": ["store"],
    "view": ["reader", "store"],
}

# Wrapping, C division and the rest keep one meaning in every build; only checks are added.
DIRECTIVES = {
    "language_level": 3,
    "embedsignature": True,
    "cdivision": True,
    "wraparound": False,
    "boundscheck": False,
    "initializedcheck": False,
}
# Not nonecheck: it needs the interpreter lock, so code that runs without would not compile.
CHECKS = {"boundscheck": True, "initializedcheck": True}
DEBUG_FLAGS = ["-O1", "-g", "-UNDEBUG", "-DONHAND_DEBUG"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
MODES: dict[str, dict[str, Any]] = {
    "release": {"checks": {}, "compile": ["-O3", "-DNDEBUG"], "link": []},
    "debug": {"checks": CHECKS, "compile": DEBUG_FLAGS, "link": []},
    "sanitize": {
        "checks": CHECKS,
        "compile": [*DEBUG_FLAGS, "-fno-omit-frame-pointer", *SANITIZERS],
        "link": SANITIZERS,
    },
    # Sanitized, and telling libFuzzer which branches an input took. Both libraries come with
    # atheris, so nothing is linked; see Makefile.
    "fuzz": {
        "checks": CHECKS,
        "compile": [
            *(*DEBUG_FLAGS, "-fno-omit-frame-pointer"),
            *(*SANITIZERS, "-fsanitize=fuzzer-no-link"),
        ],
        "link": [],
    },
}
COMMON_FLAGS = ["-std=gnu17", "-D_GNU_SOURCE=1", "-fvisibility=hidden"]
OUR_FLAGS = ["-Wall", "-Wextra"]
# Generated C is not ours to tidy, and a compiler's new opinion of it must not stop a build.
GENERATED_FLAGS = ["-Wno-sign-compare", "-Wno-unused-function", "-Wno-unused-variable"]

mode_name = os.environ.get("ONHAND_BUILD") or "release"
if mode_name not in MODES:
    raise SystemExit(f"ONHAND_BUILD must be one of {', '.join(MODES)}, not {mode_name!r}")
MODE = MODES[mode_name]
if os.environ.get("ONHAND_WERROR", "1") != "0":
    OUR_FLAGS.append("-Werror")


def modified_ns(path: str | Path) -> int:
    """Return when a file last changed, or 0 when there is no such file."""
    path = Path(path)
    return path.stat().st_mtime_ns if path.exists() else 0


def headers() -> list[Path]:
    """Return every header of ours: too few to ask which source includes which."""
    return [*INCLUDE.rglob("*.h"), *NATIVE.rglob("*.h")]


class BuildNative(build_ext):
    """Builds each mode in its own directory, with flags by the origin of each C file."""

    def finalize_options(self) -> None:
        """Keep modes apart, so that changing from one to the other compiles nothing twice."""
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()
        self.build_temp = f"{self.build_temp}-{mode_name}"
        if self.inplace:
            self.build_lib = f"{self.build_lib}-{mode_name}"

    def build_extensions(self) -> None:
        """Compile only the C files that changed, and be strict with our own."""
        compile_one = self.compiler._compile  # noqa: SLF001, the only hook for flags by file
        # Extensions are built side by side and share objects, each of which is made once.
        locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

        def compile_if_changed(obj: str, src: str, *rest: Any) -> None:
            ext, cc_args, postargs, pp_opts = rest
            origin = OUR_FLAGS if Path(src).is_relative_to(NATIVE) else GENERATED_FLAGS
            with locks[obj]:
                if modified_ns(obj) <= max(map(modified_ns, [src, "setup.py", *headers()])):
                    compile_one(obj, src, ext, cc_args, [*postargs, *origin], pp_opts)

        self.compiler._compile = compile_if_changed  # noqa: SLF001
        for built in self.extensions:
            # A directory tells of a removed file, which no list of present ones can.
            built.depends += {str(Path(source).parent) for source in built.sources}
        super().build_extensions()

    def copy_extensions_to_source(self) -> None:
        """Put this mode in place of another one, whichever was built last."""
        force, self.force = self.force, True
        super().copy_extensions_to_source()
        self.force = force


def extension(pyx: Path) -> Extension:
    """Describe the extension of one .pyx file and its directories of C files."""
    own = pyx.with_suffix("")
    folders = [own, *(NATIVE / name for name in SHARED.get(pyx.stem, []))]
    folders = [folder for folder in folders if folder.is_dir()]
    return Extension(
        f"onhand._native.{pyx.stem}",
        sources=[str(pyx), *sorted(str(file) for folder in folders for file in folder.glob("*.c"))],
        depends=["setup.py", *map(str, headers())],
        include_dirs=[str(INCLUDE), str(NATIVE)],
        # For quoted names only: a time.h of ours must not hide the system's <time.h>.
        extra_compile_args=[*COMMON_FLAGS, *MODE["compile"], "-iquote", str(own)],
        extra_link_args=MODE["link"],
    )


def extensions() -> list[Extension]:
    """Return all extensions, translated to C."""
    if os.environ.get("ONHAND_SKIP_NATIVE") == "1":
        return []
    names = set(filter(None, os.environ.get("ONHAND_EXTENSIONS", "").split(",")))
    sources = [pyx for pyx in sorted(NATIVE.glob("*.pyx")) if not names or pyx.stem in names]
    translated: list[Extension] = cythonize(
        [extension(pyx) for pyx in sources],
        include_path=["native"],
        # The translator's version is in the path: its output is kept by time stamps alone.
        build_dir=str(BUILD / f"cython-{Cython.__version__}-{mode_name}"),
        compiler_directives=DIRECTIVES | MODE["checks"],
    )
    return translated


# Two builds in one tree would write the same files.
BUILD.mkdir(exist_ok=True)
with (BUILD / ".lock").open("w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    setup(ext_modules=extensions(), cmdclass={"build_ext": BuildNative})
