"""Extensions laid out by `henslowe new` and made importable, as installing them does: on the path, with metadata."""

from __future__ import annotations

import tomllib
from pathlib import Path

from henslowe.templates import lay_out, template

KINDS = ("tool", "transport", "state-manager", "protocol-handler", "persistence")


def laid_out(workspace: Path, kinds: tuple[str, ...] = KINDS) -> dict[str, Path]:
    """One extension of each kind, made from its template: `my-tool` and so on."""
    (workspace / "extensions").mkdir(parents=True, exist_ok=True)
    return {kind: lay_out(template(kind), f"my-{kind}", workspace)[0] for kind in kinds}


def installed(folders: dict[str, Path], site: Path) -> None:
    """What an installer would write into `site`: the modules, and what their projects say of entry points."""
    site.mkdir(exist_ok=True)
    for folder in folders.values():
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        groups = project["entry-points"].items()
        (info / "entry_points.txt").write_text(
            "".join(f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in groups)
        )
        for file in folder.glob("*.py"):
            (site / file.name).write_text(file.read_text())
