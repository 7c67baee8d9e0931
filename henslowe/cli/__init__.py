"""The front door: `henslowe up`, `henslowe status` and the rest, one file per group of commands.

A command finds its node by itself (`locate`), asks it over the admin socket (`client`), and shows a screen that ends
with the next useful step (`console`). Every command takes `--json`, whose output only ever grows. Exit codes: 0 ok,
1 failed, 2 usage or configuration, 3 node unreachable, 4 unhealthy or a gate failed. Commands are imported when they
are called, so that `henslowe --help` costs nothing.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line of this process; exits with the command's code."""
    from henslowe.cli.app import cli

    cli(prog_name="henslowe")
