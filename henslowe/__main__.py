"""`python -m henslowe` is `henslowe`."""

from henslowe.cli import main

main()
