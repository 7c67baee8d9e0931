"""What a service says of itself: how to run it, how to check it, how to ship it.

`read_manifest` looks at a folder and returns a complete `ServiceManifest`. Most of it is inferred from what is there
anyway (a lone `server.py`, `pyproject.toml`, `package.json`; see `henslowe.config.inference`); `service.toml` overrides
any part:

    version = "1.4.0"
    strategy = "canary"            # auto | immediate | canary
    canary_percent = 5

    [launch]
    command = ["python", "-m", "weather"]
    env = { UNITS = "metric" }

    [stages.test]
    run = "pytest -q tests/fast"
    timeout_s = 60

    [stages.types]
    run = ["mypy", "."]
    needs = ["deps"]
    allow_failure = true

A module per table (`launch`, `stage`, ...); `delivery` gathers the keys of shipping. Not here: installing dependencies
and running stages (`henslowe.actors.pipeline`), the node's own settings (`henslowe.config.settings`).
"""

from __future__ import annotations

from henslowe.config.manifest.delivery import Delivery
from henslowe.config.manifest.example import Example
from henslowe.config.manifest.folders import ServiceFolders, ServiceText
from henslowe.config.manifest.launch import Command, Launch
from henslowe.config.manifest.models import SERVICE_FILE, ServiceFile, ServiceManifest
from henslowe.config.manifest.reading import DEFAULT_VERSION, read_manifest
from henslowe.config.manifest.reports import Reports
from henslowe.config.manifest.stage import Stage

__all__ = [
    "DEFAULT_VERSION",
    "SERVICE_FILE",
    "Command",
    "Delivery",
    "Example",
    "Launch",
    "Reports",
    "ServiceFile",
    "ServiceFolders",
    "ServiceManifest",
    "ServiceText",
    "Stage",
    "read_manifest",
]
