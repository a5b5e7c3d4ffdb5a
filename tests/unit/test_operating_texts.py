"""The texts that docs/operating.md quotes are those that the code says."""

import ast
import re
from pathlib import Path

from onhand.configuration import settings_fields
from onhand.metrics import REGISTRY
from onhand.web.exposition import TABLE_GAUGES

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"```text\n(.*?)```", re.DOTALL)


def said_by_the_code():
    """Join every string literal of the sources, f-strings with a hole where a value goes."""
    said = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                said.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                said.append(
                    "".join(
                        part.value if isinstance(part, ast.Constant) else "…"
                        for part in node.values
                    )
                )
    return "\n".join(said)


def test_every_quoted_text_is_in_the_code():
    """No message can be reworded without operating.md following."""
    said = said_by_the_code()
    quoted = [
        part.strip()
        for block in FENCE.findall((ROOT / "docs" / "operating.md").read_text())
        for line in block.splitlines()
        for part in line.split("…")
        if part.strip()
    ]
    assert len(quoted) > 10
    assert [text for text in quoted if text not in said] == []


def test_every_metric_named_is_one_that_exists():
    """The table of what to watch names real metrics."""
    text = (ROOT / "docs" / "operating.md").read_text()
    named = set(re.findall(r"`(onhand_[a-z_]+)", text))
    assert named
    assert named <= {*REGISTRY, *TABLE_GAUGES}


def test_every_setting_named_is_one_that_exists():
    """Settings are called by their names."""
    text = (ROOT / "docs" / "operating.md").read_text()
    fields = {field.name for field in settings_fields()}
    for name in ("table_bytes_max", "log_retention_hours", "ids_max", "late_window"):
        assert name in text
        assert name in fields
    flags = {flag for field in settings_fields() for flag in field.flags}
    known = flags | {"--config", "--workers", "--force", "--shm-size"}
    assert set(re.findall(r"--[a-z]+(?:-[a-z]+)*", text)) <= known
