"""What the parts of a node share by reference. Not here: who fills it (`henslowe.node_planes`, `henslowe.node`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from henslowe.actors.access import AccessBoard
from henslowe.actors.context import SharedCapabilities
from henslowe.actors.endpoints import EndpointDirectory
from henslowe.actors.health import HealthBoard, policy_of, say_breaker
from henslowe.actors.hooks import HookBoard
from henslowe.actors.instances import InstanceBoard
from henslowe.actors.interceptors import Interceptors
from henslowe.actors.routes import Observations, RouteTable
from henslowe.actors.traffic import TrafficStats
from henslowe.actors.transforms import PublishedTransforms
from henslowe.actors.watcher import WatcherBoard
from henslowe.config.settings import Settings
from henslowe.node_extensions import Extensions


@dataclass(slots=True, kw_only=True)
class Shared:
    """What the actors share by reference: published snapshots and hand-overs, all of the node's one loop."""

    directory: EndpointDirectory
    health: HealthBoard
    extensions: Extensions
    access: AccessBoard = field(default_factory=AccessBoard)
    instances: InstanceBoard = field(default_factory=InstanceBoard)
    routes: RouteTable = field(default_factory=RouteTable)
    observations: Observations = field(default_factory=Observations)
    traffic: TrafficStats = field(default_factory=TrafficStats)
    capabilities: SharedCapabilities = field(default_factory=SharedCapabilities)
    transforms: PublishedTransforms = field(default_factory=PublishedTransforms)
    watcher: WatcherBoard = field(default_factory=WatcherBoard)
    hooks: HookBoard = field(default_factory=HookBoard)
    interceptors: Interceptors = field(default_factory=Interceptors)
    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)

    @classmethod
    def of(cls, settings: Settings) -> Shared:
        """All of it, empty."""
        directory = EndpointDirectory()
        health = HealthBoard(directory, policy_of(settings.breaker, settings.instances))
        health.on_change(say_breaker)
        return cls(directory=directory, health=health, extensions=Extensions(settings, settings.data_dir.resolve()))
