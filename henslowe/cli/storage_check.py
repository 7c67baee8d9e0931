"""`henslowe storage verify` and `compact`: whether everything is sound, and no larger than it must be."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from henslowe.cli.console import Console, data_options, duration, size

if TYPE_CHECKING:
    from henslowe.storage.check_process import Check, Report

AUDIT: Final = "henslowe.actors.versions.audit"
UNSOUND: Final = 4


@click.command("verify")
@data_options
def verify_command(*, console: Console, data_dir: Path) -> None:
    """Check everything: pages, each record, each index, the log, rows against their history, the archive.

    Beside a running node it checks a copy, which needs room for one. Exits with 4 when something is wrong.
    """
    from henslowe.storage.check_process import plan_of, run_check, steady

    with steady(data_dir) as folder:
        report = run_check(plan_of(data_dir, folder, audit=AUDIT), teller(console))
    raise SystemExit(show_report(report, console, data_dir, copied=folder != data_dir))


@click.command("compact")
@data_options
def compact_command(*, console: Console, data_dir: Path) -> None:
    """Give free pages back to the disk. Not while a node runs, which reuses them, and whose readers need them."""
    from henslowe.storage.compact import compact

    done, took_s = compact(data_dir)
    saved = sum(each.before_bytes - each.after_bytes for each in done)
    lines = [f"{each.environment}  {size(each.before_bytes)} -> {size(each.after_bytes)}" for each in done]
    lines.append(f"{size(max(0, saved))} given back; checked before and after; {duration(took_s)}")
    value = {"environments": [asdict(each) for each in done], "saved_bytes": saved, "took_s": took_s}
    console.show(value, lines, "henslowe up")


def teller(console: Console) -> Any:
    """What shows on a terminal where a check is."""

    def tell(check: Check) -> None:
        part, place, _ = check.position
        click.echo(f"\r\x1b[K{part} {place} {size(check.size_bytes)}", err=True, nl=False)

    def silent(check: Check) -> None: ...

    return silent if console.as_json or not sys.stderr.isatty() else tell


def show_report(report: Report, console: Console, data_dir: Path, *, copied: bool) -> int:
    """Print what was found; the exit status."""
    if sys.stderr.isatty() and not console.as_json:
        click.echo("\r\x1b[K", err=True, nl=False)
    place = shlex.quote(str(data_dir))
    following = f"henslowe storage backup PATH --data {place}"
    if not report.ok:
        following = f"henslowe storage restore BACKUP --force --data {place}, after a look at what is said above"
    said = f"{data_dir} (a copy: a node runs on it)" if copied else str(data_dir)
    console.show(report.as_dict() | {"copied": copied}, report_lines(report, said), following)
    return 0 if report.ok else UNSOUND


def report_lines(report: Report, what: str) -> Iterator[str]:
    """What was found in `what`, each with its fix, and how much was looked at."""
    for finding in report.findings:
        yield f"{click.style(finding.kind.value, fg='red', bold=True)}  {finding.place}"
        yield f"    {finding.message}"
        if finding.versions:
            yield f"    needed by {', '.join(finding.versions)}"
        if finding.hint:
            yield f"    {click.style('fix:', bold=True)} {finding.hint}"
    if report.unsaid:
        yield f"and {report.unsaid} more"
    looked = ", ".join(f"{count} {name}" for name, count in report.counts.items())
    said = "sound" if report.ok else f"{len(report.findings) + report.unsaid} problems"
    yield f"{what}: {said}; {looked}; {size(report.size_bytes)} in {duration(report.took_s)}"
