"""`henslowe storage backup` and `henslowe storage restore`: a copy of everything, and the way back."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from henslowe.cli.console import Console, data_options, duration, moment, size
from henslowe.cli.storage_check import AUDIT, UNSOUND, report_lines
from henslowe.words import counted

if TYPE_CHECKING:
    from henslowe.storage.backup_files import BackupManifest


@click.command("backup")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help="Check it when it is made; exits with 4 when it is not sound.")
@click.option("--check", is_flag=True, help="Only check the backup that is there.")
@data_options
def backup_command(*, path: Path, verify: bool, check: bool, console: Console, data_dir: Path) -> None:
    """Copy tables, events and archive to PATH, a folder or a .tar.zst, as of one moment. The node may go on writing.

    A backup that stands at PATH is replaced; what did not change since is linked, not copied. Without the key of
    secrets and without the token of the admin API.
    """
    from henslowe.actors.versions.audit import builds
    from henslowe.storage.backup import back_up, verify_backup

    path = path.expanduser().absolute()
    value: dict[str, Any] = {"path": str(path)}
    lines: list[str] = []
    if not check:
        made = back_up(data_dir, path, builds=builds)
        value |= {"manifest": _public(made.manifest), "new_objects": made.objects, "new_bytes": made.size_bytes}
        value |= {"took_s": made.took_s}
        lines += [
            f"{path}: {_described(made.manifest)}",
            f"{made.objects} archived files and {size(made.size_bytes)} are new; {duration(made.took_s)}",
        ]
    sound = True
    if verify or check:
        manifest, report = verify_backup(path, audit=AUDIT)
        sound = report.ok
        value |= {"manifest": _public(manifest), "verified": report.as_dict()}
        lines += [f"{path}: {_described(manifest)}"] if check else []
        lines += report_lines(report, str(path))
    following = f"henslowe storage backup {shlex.quote(str(path))} --check"
    if verify or check:
        following = f"henslowe storage restore {shlex.quote(str(path))} --data NEW_DIR"
    console.show(value, lines, following if sound else "make another backup, or use an older one")
    raise SystemExit(0 if sound else UNSOUND)


@click.command("restore")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace a store; it is kept beside the restored one.")
@data_options
def restore_command(*, path: Path, force: bool, console: Console, data_dir: Path) -> None:
    """Put the backup at PATH into the data directory, after checking all of it. Not while a node runs there."""
    from henslowe.actors.interceptors import Kind, Operation
    from henslowe.cli.intercepting import intercepted
    from henslowe.storage.restore import restore_backup

    path = path.expanduser().absolute()
    with intercepted(Operation(Kind.RESTORE, facts={"backup": str(path), "target": str(data_dir)}), data_dir) as wrong:
        done = restore_backup(path, data_dir, audit=AUDIT, force=force)
    value = {
        "data": str(done.data_dir),
        "manifest": _public(done.manifest),
        "incarnation": done.incarnation,
        "kept": str(done.kept or ""),
        "took_s": done.took_s,
        "warnings": wrong,
    }
    lines = [f"{done.data_dir} is the backup of {_described(done.manifest)}; {duration(done.took_s)}"]
    lines += [f"what was there is kept in {done.kept}; remove it when all is well"] if done.kept else []
    lines += [f"not told: {each}" for each in wrong]
    console.show(value, lines, "henslowe up, then henslowe status")


def _public(manifest: BackupManifest) -> dict[str, Any]:
    """The manifest as JSON, with the number of builds instead of their ids."""
    value = manifest.model_dump()
    return value | {"builds": len(manifest.builds)}


def _described(manifest: BackupManifest) -> str:
    return (
        f"node {manifest.node or '-'}, events up to {manifest.last_seq}, {counted(len(manifest.builds), 'build')}, "
        f"made {moment(manifest.created_s)}"
    )
