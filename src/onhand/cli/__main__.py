"""Lets ``python -m onhand.cli`` stand in for the console script; how we start our own children."""

from onhand.cli import main
from onhand.supervise import end_with_parent

end_with_parent()
main()
