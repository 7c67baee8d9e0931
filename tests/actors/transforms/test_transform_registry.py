"""The registry actor: refusals go to the caller, the published book outlives the actor."""

import pytest

from henslowe.actors.ids import ServiceName
from henslowe.actors.kernel import KILL, Scheduler
from henslowe.actors.transforms import (
    IDENTITY,
    PublishedTransforms,
    RegisterTransform,
    TransformKey,
    TransformRegistry,
    UnregisterTransform,
)
from henslowe.errors import Conflict, NotFound

KEY = TransformKey(ServiceName("hello"), "greet", 1, 2)


async def test_a_registered_transform_is_published_and_an_unregistered_one_is_not() -> None:
    Scheduler.install()
    published = PublishedTransforms()
    registry = TransformRegistry.start(published)
    before = published.current
    await registry.call(RegisterTransform(KEY, IDENTITY))
    assert published.current.lookup(KEY) is IDENTITY
    assert before.lookup(KEY) is None, "a reader's book does not change under it"
    await registry.call(UnregisterTransform(KEY))
    assert published.current.keys() == ()
    await registry.stop(block=False)


async def test_a_refusal_reaches_the_caller_and_the_registry_lives_on() -> None:
    Scheduler.install()
    published = PublishedTransforms()
    registry = TransformRegistry.start(published)
    with pytest.raises(NotFound):
        await registry.call(UnregisterTransform(KEY))
    await registry.call(RegisterTransform(KEY, IDENTITY))
    with pytest.raises(Conflict):
        await registry.call(RegisterTransform(KEY, IDENTITY))
    await registry.call(RegisterTransform(KEY, IDENTITY, replace=True))
    assert registry.is_alive()
    await registry.stop(block=False)


async def test_what_was_published_outlives_a_crash_and_is_where_the_next_registry_goes_on() -> None:
    Scheduler.install()
    published = PublishedTransforms()
    first = TransformRegistry.start(published)
    await first.call(RegisterTransform(KEY, IDENTITY))
    first.exit(KILL)
    assert published.current.lookup(KEY) is IDENTITY
    second = TransformRegistry.start(published)
    with pytest.raises(Conflict):
        await second.call(RegisterTransform(KEY, IDENTITY))
    await second.stop(block=False)
