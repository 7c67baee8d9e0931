"""The transform registry: the actor that owns the book of transforms and publishes each new edition of it.

Readers (the gateway) hold a `PublishedTransforms` and look at `current` without a message. The published book outlives
the actor: after a crash the registry goes on from it. Transforms are functions, so they are not stored; whoever brings
them (a service's own package, a plug-in) registers them again after the node starts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from henslowe.actors.kernel import LoopActor, Reply
from henslowe.actors.transforms.algebra import Transform
from henslowe.actors.transforms.book import TransformBook, TransformKey


@dataclass(slots=True, frozen=True)
class RegisterTransform:
    """Call to TRANSFORMS. Reply: None.

    Raises:
        Conflict: The pair is not from an older to a newer version, or is taken and `replace` is False.
        LimitReached: The tool has as many transforms as it may have.
    """

    key: TransformKey
    transform: Transform
    replace: bool = False


@dataclass(slots=True, frozen=True)
class UnregisterTransform:
    """Call to TRANSFORMS. Reply: None.

    Raises:
        NotFound: It is not registered.
    """

    key: TransformKey


@dataclass(slots=True)
class PublishedTransforms:
    """The holder of the current book, replaced as a whole."""

    current: TransformBook = field(default_factory=TransformBook)


class TransformRegistry(LoopActor):
    """Owns the book of transforms; refuses what does not fit, publishes what does.

    Args:
        published: Where readers look. Its current book is where a restarted registry goes on.
    """

    def __init__(self, published: PublishedTransforms) -> None:
        super().__init__()
        self._published = published

    def handle_call(self, message: RegisterTransform | UnregisterTransform, _sender: Reply) -> None:
        """Register or unregister one transform; a refusal goes to the caller and changes nothing."""
        book = self._published.current
        match message:
            case RegisterTransform(key, transform, replace):
                self._published.current = book.with_(key, transform, replace=replace)
            case UnregisterTransform(key):
                self._published.current = book.without(key)
