"""The extension list and the build switches; everything else is in pyproject.toml.

ONHAND_BUILD        release (default), debug or sanitize
ONHAND_SKIP_NATIVE  1: install without building the extensions
ONHAND_WERROR       0: let warnings in our C pass, for compilers newer than we test with

native/onhand/_native/NAME.pyx becomes onhand._native.NAME, together with every C file in
native/onhand/_native/NAME/ and, for those that open a table, in native/onhand/_native/store/.
Headers are found in native/include and native/onhand/_native/NAME.
"""

import fcntl
import os
import threading
from collections import defaultdict
from pathlib import Path

import Cython
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NATIVE = Path("native/onhand/_native")
INCLUDE = Path("native/include")
BUILD = Path("build")
STORE_USERS = {"reader", "storekit", "supply"}

# Wrapping, C division and the rest keep one meaning in every build; only checks are added.
DIRECTIVES = {
    "language_level": 3,
    "embedsignature": True,
    "cdivision": True,
    "wraparound": False,
    "boundscheck": False,
    "initializedcheck": False,
}
CHECKS = {"boundscheck": True, "initializedcheck": True, "nonecheck": True}
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
MODES = {
    "release": {"directives": {}, "compile": ["-O3", "-DNDEBUG"], "link": []},
    "debug": {
        "directives": CHECKS,
        "compile": ["-O1", "-g", "-UNDEBUG", "-DONHAND_DEBUG"],
        "link": [],
    },
    "sanitize": {
        "directives": CHECKS,
        "compile": [
            "-O1", "-g", "-UNDEBUG", "-DONHAND_DEBUG", "-fno-omit-frame-pointer", *SANITIZERS,
        ],
        "link": SANITIZERS,
    },
}  # fmt: skip
COMMON_FLAGS = ["-std=gnu17", "-D_GNU_SOURCE=1", "-fvisibility=hidden"]
OUR_FLAGS = ["-Wall", "-Wextra"]
# Generated C is not ours to tidy, and a compiler's new opinion of it must not stop a build.
GENERATED_FLAGS = ["-Wno-unused-function", "-Wno-unused-variable", "-Wno-unreachable-code"]

mode_name = os.environ.get("ONHAND_BUILD") or "release"
if mode_name not in MODES:
    raise SystemExit(f"ONHAND_BUILD must be one of {', '.join(MODES)}, not {mode_name!r}")
MODE = MODES[mode_name]
if os.environ.get("ONHAND_WERROR", "1") != "0":
    OUR_FLAGS.append("-Werror")


def modified_ns(path):
    """Return when a file last changed, or 0 when there is no such file."""
    path = Path(path)
    return path.stat().st_mtime_ns if path.exists() else 0


class BuildNative(build_ext):
    """Builds each mode in its own directory, with flags by the origin of each C file."""

    def finalize_options(self):
        """Keep modes apart, so that changing from one to the other compiles nothing twice."""
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()
        self.build_temp = f"{self.build_temp}-{mode_name}"
        if self.inplace:
            self.build_lib = f"{self.build_lib}-{mode_name}"

    def run(self):
        """Build under a lock: two builds in one tree would write the same files."""
        BUILD.mkdir(exist_ok=True)
        with (BUILD / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            super().run()

    def build_extensions(self):
        """Compile only the C files that changed, and be strict with our own."""
        compile_one = self.compiler._compile  # noqa: SLF001, the only hook for flags by file
        # Extensions are built in parallel and share the store's objects: one at a time each.
        locks = defaultdict(threading.Lock)

        def compile_if_changed(obj, src, ext, cc_args, extra_postargs, pp_opts):
            inputs = [src, "setup.py", *self.headers_of(src)]
            origin = OUR_FLAGS if Path(src).is_relative_to("native") else GENERATED_FLAGS
            with locks[obj]:
                if modified_ns(obj) > max(map(modified_ns, inputs)):
                    return
                # Sources under native/ are C: what follows -std must not reach a C++ compiler.
                compile_one(obj, src, ext, cc_args, [*extra_postargs, *origin], pp_opts)

        self.compiler._compile = compile_if_changed  # noqa: SLF001
        super().build_extensions()

    @staticmethod
    def headers_of(_source):
        """Return every header: few enough that knowing who includes which is not worth it."""
        return [*INCLUDE.rglob("*.h"), *NATIVE.rglob("*.h")]


def extension(pyx):
    """Describe the extension of one .pyx file and its directory of C files."""
    own = pyx.with_suffix("")
    folders = [own, NATIVE / "store"] if pyx.stem in STORE_USERS else [own]
    return Extension(
        f"onhand._native.{pyx.stem}",
        sources=[str(pyx), *sorted(str(source) for folder in folders for source in folder.glob("*.c"))],
        depends=["setup.py", *map(str, [*INCLUDE.rglob("*.h"), *NATIVE.rglob("*.h")])],
        include_dirs=[str(INCLUDE), str(NATIVE), str(own)],
        extra_compile_args=[*COMMON_FLAGS, *MODE["compile"]],
        extra_link_args=MODE["link"],
    )


def extensions():
    """Return all extensions, translated to C."""
    if os.environ.get("ONHAND_SKIP_NATIVE") == "1":
        return []
    return cythonize(
        [extension(pyx) for pyx in sorted(NATIVE.glob("*.pyx"))],
        include_path=["native"],
        # The translator's version is in the path: its output is kept by time stamps alone.
        build_dir=str(BUILD / f"cython-{Cython.__version__}-{mode_name}"),
        compiler_directives=DIRECTIVES | MODE["directives"],
    )


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildNative})
