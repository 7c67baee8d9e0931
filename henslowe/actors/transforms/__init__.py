"""Transforms: how a call made against one version of a tool's contract is read by another version.

`algebra` says what a transform is and how transforms compose; `book` is the immutable collection, with the search for
the best chain between two versions; `registry` is the actor that owns the collection and publishes it.

Only the identity ships: a tool whose contract did not change needs nothing else. What is not here: when to transform
(the gateway's decision, for a client that is pinned to another version) and lenses derived from schemas.
"""

from henslowe.actors.transforms.algebra import IDENTITY, Chain, Document, Identity, Transform
from henslowe.actors.transforms.book import TransformBook, TransformKey
from henslowe.actors.transforms.registry import (
    PublishedTransforms,
    RegisterTransform,
    TransformRegistry,
    UnregisterTransform,
)

__all__ = [
    "IDENTITY",
    "Chain",
    "Document",
    "Identity",
    "PublishedTransforms",
    "RegisterTransform",
    "Transform",
    "TransformBook",
    "TransformKey",
    "TransformRegistry",
    "UnregisterTransform",
]
