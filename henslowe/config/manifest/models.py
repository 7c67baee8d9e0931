"""The two forms of a manifest: what a person wrote in `service.toml`, and the complete one.

Not here: the tables themselves (a module each beside this one), reading and explaining (`reading`, `mistakes`).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from henslowe.config.inference import Inferred, Runtime
from henslowe.config.manifest.delivery import Delivery
from henslowe.config.manifest.example import Examples
from henslowe.config.manifest.launch import Launch
from henslowe.config.manifest.stage import STAGE_NAME, Stage

SERVICE_FILE = "service.toml"


class ServiceFile(Delivery):
    """The content of `service.toml`; every key is optional."""

    name: str | None = None
    """If given, the folder's name: it guards against a copied file."""
    version: str | None = None
    launch: Launch = Launch()
    stages: dict[Annotated[str, Field(pattern=STAGE_NAME)], Stage] = {}
    examples: Examples = ()


class ServiceManifest(Delivery):
    """Everything the pipeline needs to know of a service, complete: inferred facts with `service.toml` laid over."""

    service: str
    version: str
    """Semantic version."""
    runtime: Runtime
    origin: str
    """The file that decided what the service is: `service.toml`, `pyproject.toml`, `package.json` or `server.py`."""
    launch: Launch
    inferred: Inferred
    stages: dict[str, Stage] = {}
    examples: Examples = ()
