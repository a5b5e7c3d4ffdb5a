#!/usr/bin/env python3
"""Check that a wheel holds all that the tree does: every module, data file and extension."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOT_SHIPPED = {".pyc", ".so"}


def expected() -> set[str]:
    """Return the names that the tree asks for, without what tools leave behind."""
    listed = subprocess.run(
        ["git", "ls-files", "src/onhand", "dataflows"],  # noqa: S607, found on the path
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    files = {Path(name) for name in listed if not (ROOT / name).is_dir()}
    names = {
        Path("onhand", file) if file.parts[0] == "dataflows" else file.relative_to("src")
        for file in files
    }
    return {str(name) for name in names if name.suffix not in NOT_SHIPPED}


def main(wheel: str) -> int:
    """List what is missing, then import the package from the wheel alone."""
    names = zipfile.ZipFile(wheel).namelist()
    missing = sorted(expected() - set(names))
    built = {Path(name).name.split(".")[0] for name in names if name.endswith(".so")}
    wanted = {pyx.stem for pyx in (ROOT / "native/onhand/_native").glob("*.pyx")}
    missing += [f"extension {name}" for name in sorted(wanted - built)]
    for name in missing:
        print(f"not in the wheel: {name}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(wheel).extractall(folder)
        program = (
            f"import sys; sys.path.insert(0, {folder!r}); import onhand.cli; print(onhand.__file__)"
        )
        imported = subprocess.run(  # noqa: S603, our own interpreter
            [sys.executable, "-P", "-c", program], check=True, capture_output=True, text=True
        ).stdout
    if not imported.startswith(folder):
        print(f"imported {imported.strip()}, not the wheel", file=sys.stderr)
        return 1
    print(f"{Path(wheel).name}: {len(names)} files, extensions {', '.join(sorted(built))}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
