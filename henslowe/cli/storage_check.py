"""`henslowe storage verify`, `scrub` and `compact`: whether all is sound, and no larger than it must be."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from henslowe.cli.console import Console, data_options, duration, size
from henslowe.cli.locate import workspace_of

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


@click.command("scrub")
@click.option("--rate", "rate_mib", type=click.FloatRange(min=0), default=4.0, show_default=True, help="Most MiB/s.")
@click.option("--heal", is_flag=True, help="Put damaged archived files back from laid-out builds that have them.")
@data_options
def scrub_command(*, rate_mib: float, heal: bool, console: Console, data_dir: Path) -> None:
    """Read every record and every archived file once, slowly. In place, beside a running node, too.

    A node does so by itself (storage.scrub_interval_s). Exits with 4 when something is wrong and not healed.
    """
    from henslowe.storage.check_process import SCRUB_PARTS, plan_of, run_check

    plan = plan_of(data_dir, data_dir, audit=AUDIT, parts=SCRUB_PARTS)
    report = run_check(replace(plan, rate_bytes_s=rate_mib * 2**20, nice=True), teller(console))
    healed: list[dict[str, str]] = []
    if heal:
        report, healed = _heal(report, data_dir)
    if not console.as_json:
        for each in healed:
            click.echo(f"{each['place']}: put back from {each['source']}")
    raise SystemExit(show_report(report, console, data_dir, healed=healed))


def _heal(report: Report, data_dir: Path) -> tuple[Report, list[dict[str, str]]]:
    """What is left of a report after healing, and what was healed from where."""
    import functools

    from henslowe.actors.pipeline import laid_out
    from henslowe.storage import Archive
    from henslowe.storage.figures import ARCHIVE
    from henslowe.storage.heal import heal_object

    folders = functools.partial(laid_out, workspace_of(data_dir) / "archive")
    left, healed = [], []
    for finding in report.findings:
        source = heal_object(Archive(data_dir / ARCHIVE), finding, folders)
        if source is None:
            left.append(finding)
        else:
            healed.append({"place": finding.place, "source": str(source)})
    return replace(report, findings=tuple(left)), healed


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


def show_report(
    report: Report,
    console: Console,
    data_dir: Path,
    *,
    copied: bool = False,
    healed: Sequence[dict[str, str]] = (),
) -> int:
    """Print what was found; the exit status."""
    if sys.stderr.isatty() and not console.as_json:
        click.echo("\r\x1b[K", err=True, nl=False)
    place = shlex.quote(str(data_dir))
    following = f"henslowe storage backup PATH --data {place}"
    if not report.ok:
        following = f"henslowe storage restore BACKUP --force --data {place}, after a look at what is said above"
    said = f"{data_dir} (a copy: a node runs on it)" if copied else str(data_dir)
    value = report.as_dict() | {"copied": copied, "healed": list(healed)}
    console.show(value, report_lines(report, said), following)
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
    count = len(report.findings) + report.unsaid
    said = "sound" if report.ok else f"{count} problem{'s' if count > 1 else ''}"
    yield f"{what}: {said}; {looked}; {size(report.size_bytes)} in {duration(report.took_s)}"
