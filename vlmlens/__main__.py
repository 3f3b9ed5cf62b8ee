"""``python -m vlmlens``: the command line, where its own command is not on the path."""

from vlmlens.cli import run

run()
