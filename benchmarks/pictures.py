"""How the report's pictures are made: the same measurements make the same file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def prepare() -> None:
    """Set the library up; to be called before anything is drawn."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, and only the whole report draws

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "onhand", "svg.fonttype": "none", "font.size": 9})


def new_axes(height_inches: float) -> tuple[Any, Any]:
    """Begin a picture; returns it and its axes."""
    import matplotlib.pyplot as plt  # noqa: PLC0415 - see prepare

    return plt.subplots(figsize=(8, height_inches), layout="constrained")


def save(picture: Any, path: Path) -> None:
    """Write a picture without the time, and let go of it."""
    import matplotlib.pyplot as plt  # noqa: PLC0415 - see prepare

    picture.savefig(path, metadata={"Date": None})
    plt.close(picture)
