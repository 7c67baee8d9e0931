"""What counts as the sources of a service, and what their content is: shared by the watcher and the pipeline.

`ignoring` has the rules, `scanning` the walk, the digest and the comparison. No actor, no events.
"""

from henslowe.actors.sources.ignoring import IgnoreRules
from henslowe.actors.sources.scanning import (
    SourceFile,
    Tree,
    changed_paths,
    content_digest,
    list_sources,
    root_rules,
    scan,
    unsettled_s,
)

__all__ = [
    "IgnoreRules",
    "SourceFile",
    "Tree",
    "changed_paths",
    "content_digest",
    "list_sources",
    "root_rules",
    "scan",
    "unsettled_s",
]
