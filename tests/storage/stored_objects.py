"""Damage to an archive's objects, wherever they are: behind a manifest, or in files of their own."""

from pathlib import Path

from henslowe.storage import Archive
from henslowe.storage.packs import Pack, Packs, read_manifest


def spoil_object(root: Path, digest: str) -> None:
    """Makes an object rubbish of the same length."""
    path, place = _place(root, digest)
    content = bytearray(path.read_bytes())
    start, size = (place.offset, place.size_bytes) if place else (0, len(content))
    content[start : start + size] = b"r" * size
    path.chmod(0o600)
    path.write_bytes(content)


def cut_object(root: Path, digest: str) -> None:
    """Cuts the end off an object, as if its last page had become zeros."""
    path, place = _place(root, digest)
    content = bytearray(path.read_bytes())
    end = place.offset + place.size_bytes if place else len(content)
    content[end - 3 : end] = bytes(3)
    path.chmod(0o600)
    path.write_bytes(content)


def lose_object(root: Path, digest: str) -> None:
    """Takes an object away; the build that it came with keeps all others."""
    path, place = _place(root, digest)
    if place is None:
        path.unlink()
        return
    packs, left = Packs(root / "builds"), Pack()
    for other, where in packs.of(place.build).items():
        if other != digest:
            left.take(other, packs.frame(where))
    content = left.behind(read_manifest(path))
    path.unlink()
    path.write_bytes(content)


def _place(root, digest):
    own = Archive(root).object_path(digest)
    if own.exists():
        return own, None
    place = Packs(root / "builds").find(digest)
    assert place is not None, f"no object {digest:.12} in {root}"
    return root / "builds" / place.build, place
