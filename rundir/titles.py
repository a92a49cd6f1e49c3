"""The titles that options stand under in the help, in their order."""

from cyclopts import Group, Parameter

ASKED = Group("What you ask", sort_key=0)
DATA = Group("Data", sort_key=1)
SEARCH = Group("Search", sort_key=2)
WIDTHS = Group("Allowed widths", sort_key=3)
TRAINING = Group("Training", sort_key=4)
OTHERS = Group("Other methods: pdd, kddp, blockwise", sort_key=5)
OUTPUT = Group("Where it runs, and what it leaves", sort_key=6)


def under(title: Group) -> Parameter:
    """On the command line the options of a group bear their own names, under this title."""
    return Parameter(name="*", group=title)
