"""Which files of a service count as its sources.

What does not count is neither watched nor hashed nor copied into a build. Rules, strongest first, each in gitignore
syntax and each able to take back (`!name`) what a weaker one ignores:

    .henslowe-ignore      at the service's root
    .gitignore            at the root and in any folder, the deepest first
    watcher.ignore        the node's setting
    built in              version control, environments, caches, build outputs, editors' temporary files

Pure but for reading the rule files. Where to look next: `scanning`, which walks with these rules.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from fnmatch import translate
from pathlib import Path
from re import Pattern
from re import compile as compiled

from pathspec import GitIgnoreSpec

HENSLOWE_IGNORE = ".henslowe-ignore"
GIT_IGNORE = ".gitignore"
RULE_FILES = frozenset({HENSLOWE_IGNORE, GIT_IGNORE})
_RULE_BYTES_MAX = 256 * 1024

_FOLDERS = frozenset({
    ".git", ".hg", ".svn", ".jj",
    ".venv", "venv", "node_modules", "__pycache__", ".eggs", ".tox", ".nox", ".nyc_output",
    ".cache", ".pytest_cache", ".ruff_cache", ".mypy_cache", ".hypothesis", ".import_linter_cache",
    "dist", "build", "htmlcov", ".coverage",
    ".henslowe", ".idea", ".vscode",
})  # fmt: skip
_FOLDER_PATTERN = compiled(translate("*.egg-info"))
_FILES = ("*.py[co]", "*~", ".*.sw[a-z]", ".#*", "#*#", "4913", "*___jb_???___", ".goutputstream-*", "*.kate-swp",
          ".DS_Store", ".coverage", ".coverage.*", ".henslowe-version.json", "npm-debug.log*")  # fmt: skip
_FILE_PATTERN: Pattern[str] = compiled("|".join(f"(?:{translate(pattern)})" for pattern in _FILES))


class IgnoreRules:
    """The rules of one service's folder, immutable once built.

    Runs in: any thread.
    """

    __slots__ = ("_files", "_nested", "_own", "_weaker")

    def __init__(self, node_patterns: Iterable[str] = (), texts: dict[str, str] | None = None) -> None:
        """`texts` maps the path of each rule file (relative, with slashes) to its content."""
        texts = texts or {}
        self._own = _spec(texts.get(HENSLOWE_IGNORE, "").splitlines())
        weaker = (_spec(texts.get(GIT_IGNORE, "").splitlines()), _spec(node_patterns))
        self._weaker = tuple(spec for spec in weaker if spec is not None)
        nested = {
            p[: -len(GIT_IGNORE)]: _spec(t.splitlines()) for p, t in texts.items() if p.endswith("/" + GIT_IGNORE)
        }
        self._nested = {folder: spec for folder, spec in nested.items() if spec is not None}
        self._files = dict(texts)

    def with_file(self, path: str, text: str, node_patterns: Iterable[str]) -> IgnoreRules:
        """These rules and those of one more rule file."""
        return IgnoreRules(node_patterns, {**self._files, path: text})

    @property
    def texts(self) -> dict[str, str]:
        """The rule files that these rules come from."""
        return dict(self._files)

    def text(self, path: str) -> str | None:
        """One of them; None when it is not there."""
        return self._files.get(path)

    def ignores(self, path: str, *, is_dir: bool) -> bool:
        """Whether an entry is ignored, given that no folder above it is. `path` is relative, with slashes."""
        asked = path + "/" if is_dir else path
        if self._own is not None and (verdict := self._own.check_file(asked).include) is not None:
            return verdict
        if self._nested:
            end = path.rfind("/")
            while end >= 0:
                spec = self._nested.get(path[: end + 1])
                if spec is not None and (verdict := spec.check_file(asked[end + 1 :]).include) is not None:
                    return verdict
                end = path.rfind("/", 0, end)
        for spec in self._weaker:
            if (verdict := spec.check_file(asked).include) is not None:
                return verdict
        return _built_in(path[path.rfind("/") + 1 :], is_dir)

    def ignores_path(self, path: str, *, is_dir: bool = False) -> bool:
        """Whether an entry, or any folder above it, is ignored."""
        end = path.find("/")
        while end >= 0:
            if self.ignores(path[:end], is_dir=True):
                return True
            end = path.find("/", end + 1)
        return self.ignores(path, is_dir=is_dir)


def _spec(lines: Iterable[str]) -> GitIgnoreSpec | None:
    """None for no patterns: asking an empty specification costs as much as a look at the file."""
    spec = GitIgnoreSpec.from_lines(lines)
    return spec if any(pattern.include is not None for pattern in spec.patterns) else None


@functools.lru_cache(maxsize=4096)
def _built_in(name: str, is_dir: bool) -> bool:
    if is_dir:
        return name in _FOLDERS or _FOLDER_PATTERN.match(name) is not None
    return _FILE_PATTERN.match(name) is not None


def read_rules(path: Path) -> str:
    """The text of a rule file; "" when it cannot be read: a broken rule file ignores nothing."""
    try:
        with path.open("rb") as file:
            return file.read(_RULE_BYTES_MAX).decode(errors="replace")
    except OSError:
        return ""
