"""What the kernel shows to the world."""

from henslowe.actors import kernel


def test_the_public_names_are_sorted_and_exist():
    shouting = [name for name in kernel.__all__ if name.isupper()]
    classes = [name for name in kernel.__all__ if not name.isupper() and name[0].isupper()]
    functions = [name for name in kernel.__all__ if name[0].islower()]
    assert kernel.__all__ == sorted(shouting) + sorted(classes) + sorted(functions)
    assert all(hasattr(kernel, name) for name in kernel.__all__)


def test_nothing_else_is_public():
    public = {name for name in vars(kernel) if not name.startswith("_")}
    assert public == set(kernel.__all__)


def test_every_public_thing_is_documented():
    undocumented = [
        name for name in kernel.__all__ if callable(getattr(kernel, name)) and not getattr(kernel, name).__doc__
    ]
    assert undocumented == []
