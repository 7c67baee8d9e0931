"""What a transform is, the identity, the inverse and the composition: pure, without versions.

A transform is a pair of functions between the documents of two versions of one tool: `forward` reads an old document
as the new version expects it, `backward` the other way. Documents are plain JSON objects (arguments, structured
results). A transform never changes the document it is given.

Which versions a transform connects is `henslowe.actors.transforms.book`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

Document = dict[str, Any]


@runtime_checkable
class Transform(Protocol):
    """A two-way reading between the documents of an older and a newer version.

    Laws, which `Chain` keeps when its parts keep them: when not `lossy`, `backward(forward(old)) == old` for every
    document of the older version. Both functions are pure and raise `ValueError` for a document that they cannot read.
    """

    @property
    def name(self) -> str:
        """What people see in chains and in the compatibility matrix."""
        ...

    @property
    def lossy(self) -> bool:
        """Whether something of the older document may be missing after there and back."""
        ...

    def forward(self, document: Document) -> Document:
        """The older version's document as the newer version expects it."""
        ...

    def backward(self, document: Document) -> Document:
        """The newer version's document as the older version expects it."""
        ...


@dataclass(slots=True, frozen=True)
class Identity:
    """The transform between two versions that agree: hands back the same object."""

    @property
    def name(self) -> str:
        """Always `identity`."""
        return "identity"

    @property
    def lossy(self) -> bool:
        """Never."""
        return False

    def forward(self, document: Document) -> Document:
        """The document itself."""
        return document

    def backward(self, document: Document) -> Document:
        """The document itself."""
        return document


IDENTITY = Identity()


@dataclass(slots=True, frozen=True)
class Inverse:
    """A transform read from its other end. Not lossless by itself: `forward(backward(new))` promises nothing."""

    of: Transform

    @property
    def name(self) -> str:
        """The name of what it inverts, marked."""
        return f"{self.of.name}^-1"

    @property
    def lossy(self) -> bool:
        """Always: only the way from old to new and back is promised, and this one starts at the new end."""
        return self.of is not IDENTITY

    def forward(self, document: Document) -> Document:
        """The inner transform's `backward`."""
        return self.of.backward(document)

    def backward(self, document: Document) -> Document:
        """The inner transform's `forward`."""
        return self.of.forward(document)


@dataclass(slots=True, frozen=True)
class Chain:
    """Transforms one after another; the empty chain is the identity.

    `assumed` counts the version steps on the way for which nothing is registered and agreement is assumed: with 0 the
    chain is complete, otherwise a caller may prefer to compare the contracts' digests first.
    """

    steps: tuple[Transform, ...] = ()
    assumed: int = 0

    @property
    def name(self) -> str:
        """The steps' names, in order."""
        return " > ".join(step.name for step in self.steps) or IDENTITY.name

    @property
    def lossy(self) -> bool:
        """Whether any step is."""
        return any(step.lossy for step in self.steps)

    @property
    def is_identity(self) -> bool:
        """Whether documents pass unchanged, so that a caller may skip the chain."""
        return all(step is IDENTITY for step in self.steps)

    def forward(self, document: Document) -> Document:
        """Through all steps, first to last."""
        for step in self.steps:
            document = step.forward(document)
        return document

    def backward(self, document: Document) -> Document:
        """Through all steps, last to first."""
        for step in reversed(self.steps):
            document = step.backward(document)
        return document

    def inverted(self) -> Self:
        """The same way from its other end."""
        steps = (step if step is IDENTITY else _invert(step) for step in reversed(self.steps))
        return type(self)(tuple(steps), self.assumed)


def _invert(step: Transform) -> Transform:
    return step.of if isinstance(step, Inverse) else Inverse(step)
