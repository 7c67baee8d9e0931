from __future__ import annotations

import pytest

from tests.actors.versions.life import MANY, Service


@pytest.fixture
def hello() -> Service:
    return Service()


@pytest.fixture
def canary() -> Service:
    """Version 1 is permanent, version 2 its canary."""
    service = Service()
    service.ship("a")
    service.units = MANY
    service.up(service.build("b"))
    assert service.states() == {1: "ACTIVE", 2: "CANARY"}
    return service
