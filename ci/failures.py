"""Say which tests failed and why, a line each, as the last thing that a failed run prints.

    python ci/failures.py build/tests.xml

A long log is often cut or read from its end; this is what one looks for there. It exits with 1.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

LINE_LENGTH_MAX: Final = 500


def failures(report: Path) -> list[str]:
    """List the failed tests of a JUnit report with the end of what each said."""
    lines = []
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - our own pytest wrote it
        for outcome in (*case.iter("failure"), *case.iter("error")):
            said = " | ".join((outcome.get("message") or outcome.text or "").split("\n")[-6:])
            name = f"{case.get('classname', '')}::{case.get('name', '')}"
            lines.append(f"{outcome.tag}: {name}: {said}"[:LINE_LENGTH_MAX])
    return lines


def main() -> int:
    """Print them.

    Returns
    -------
    int
        1, always: this is called when tests have failed.
    """
    report = Path(sys.argv[1])
    found = failures(report) if report.exists() else []
    print(f"\n{len(found)} failures and errors" if found else "\nThe tests did not come to an end")
    print("\n".join(found))
    return 1


if __name__ == "__main__":
    sys.exit(main())
