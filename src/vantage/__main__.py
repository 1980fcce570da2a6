"""`python -m vantage`."""

from vantage.cli import main

main()
