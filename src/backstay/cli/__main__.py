"""`python -m backstay.cli`: the same as the executable `backstay`."""

from backstay.cli.main import run

run()
