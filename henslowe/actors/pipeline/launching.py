"""From a manifest and its environment to the launch spec that every instance of the version uses. Pure."""

from __future__ import annotations

import os
import shutil

from henslowe.actors.launch import LaunchSpec, Wire
from henslowe.actors.pipeline.environment import ServiceEnv
from henslowe.config.inference import Runtime
from henslowe.config.manifest import ServiceManifest

_PYTHONS = frozenset({"python", "python3"})


def launch_spec(manifest: ServiceManifest, env: ServiceEnv) -> LaunchSpec:
    """How to run the version: the program by its full path where it is known, and nothing that only stages need."""
    launch = manifest.launch
    command = launch.command
    if command:
        command = (_program(command[0], manifest, env), *command[1:])
    return LaunchSpec(
        wire=Wire(launch.wire),
        command=command,
        url=launch.url,
        env=launch.env,
        headers=launch.headers,
        ready_timeout_s=launch.ready_timeout_s,
    )


def _program(word: str, manifest: ServiceManifest, env: ServiceEnv) -> str:
    if os.sep in word:
        return word
    if word in _PYTHONS and manifest.runtime is Runtime.PYTHON:
        return env.python
    return shutil.which(word, path=env.path) or word
