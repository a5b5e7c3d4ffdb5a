"""Lets ``python -m onhand.cli`` stand in for the console script."""

from onhand.cli import main

main()
