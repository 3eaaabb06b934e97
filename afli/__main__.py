"""`python -m afli`: the same as the command `afli`."""

from afli.cli import app

app()
