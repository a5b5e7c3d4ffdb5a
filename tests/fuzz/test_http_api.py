"""Whatever is sent, answers are those of the published schema; see docs/testing.md."""

import re

import pytest

from tests.fuzz import http_api


@pytest.mark.slow
def test_answers_keep_to_the_schema(tmp_path):
    """No status above 499, no status, header or body that the schema does not have."""
    found, errors, alive = http_api.run(tmp_path, seconds=60)
    assert found.returncode == 0, found.stdout[-8_000:] + found.stderr[-2_000:]
    assert re.search(r"\b[1-9][0-9]* generated", found.stdout), found.stdout[-2_000:]
    assert (errors, alive) == ([], True)
