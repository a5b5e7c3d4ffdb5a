"""Generated reference pages are those of the code."""

from pathlib import Path

from onhand.docs import settings_page

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def test_settings_page_is_current():
    """docs/reference/settings.md is what `python -m onhand.docs settings` prints."""
    assert (REFERENCE / "settings.md").read_text(encoding="utf-8") == settings_page()
