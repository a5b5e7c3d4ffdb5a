"""Generated reference pages are those of the code."""

from pathlib import Path

import pytest

from onhand.docs import settings_page
from onhand.web.reference import http_page, metrics_page, openapi_page, problems_page

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def test_settings_page_is_current():
    """docs/reference/settings.md is what `python -m onhand.docs settings` prints."""
    assert (REFERENCE / "settings.md").read_text(encoding="utf-8") == settings_page()


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("http.md", http_page),
        ("openapi.json", openapi_page),
        ("problem_codes.md", problems_page),
        ("metrics.md", metrics_page),
    ],
)
def test_pages_about_http_are_current(name, write):
    """Each is what `python -m onhand.docs` prints of it."""
    assert (REFERENCE / name).read_text(encoding="utf-8") == write()
