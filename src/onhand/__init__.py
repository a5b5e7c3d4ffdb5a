"""Stock availability and order promising for retailers."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("onhand")
