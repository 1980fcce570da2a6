"""Runs the command line as `python -m vantage`."""

from vantage.cli import main

main()
