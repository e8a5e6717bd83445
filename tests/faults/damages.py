"""Ways in which a disk, a copy or a cable damages files; none of them shows in size or time alone.

Each takes a file, its siblings (files of the same kind) and a generator. The times of the file stay
as they were, so that nothing that looks at them can notice; only where a length changes does the
size.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

Random = np.random.Generator
Damage = Callable[[Path, Sequence[Path], Random], bool]
BLOCK = 4096


def flip_bit(path: Path, siblings: Sequence[Path], random: Random) -> bool:
    """One bit: in the first 200 bytes, in the last 200, or anywhere."""
    size = path.stat().st_size
    if not size:
        return False
    ranges = [(0, min(size, 200)), (max(size - 200, 0), size), (0, size)]
    low, high = ranges[random.integers(3)]
    position = int(random.integers(low, high))
    with path.open("r+b") as stream:
        stream.seek(position)
        byte = stream.read(1)[0]
        stream.seek(position)
        stream.write(bytes([byte ^ (1 << int(random.integers(8)))]))
    return True


def zero_block(path: Path, siblings: Sequence[Path], random: Random) -> bool:
    """A block of 4096 bytes reads as zeros; nothing happens where there were only zeros."""
    size = path.stat().st_size
    first = int(random.integers(max(-(-size // BLOCK), 1))) * BLOCK
    with path.open("r+b") as stream:
        stream.seek(first)
        before = stream.read(BLOCK)
        stream.seek(first)
        stream.write(bytes(len(before)))
    return any(before)


def cut_short(path: Path, siblings: Sequence[Path], random: Random) -> bool:
    size = path.stat().st_size
    if not size:
        return False
    os.truncate(path, int(random.integers(size)))
    return True


def empty(path: Path, siblings: Sequence[Path], random: Random) -> bool:
    if not path.stat().st_size:
        return False
    os.truncate(path, 0)
    return True


def append(path: Path, siblings: Sequence[Path], random: Random) -> bool:
    with path.open("ab") as stream:
        stream.write(random.bytes(int(random.integers(1, 5000))))
    return True


def remove(path: Path, siblings: Sequence[Path], random: Random) -> bool:
    path.unlink()
    return True


def swap(path: Path, siblings: Sequence[Path], random: Random) -> bool:
    """Two files of a kind change places; nothing happens if they are alike, or there is one."""
    others = [other for other in siblings if other != path]
    if not others:
        return False
    other = others[random.integers(len(others))]
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)
    return mine != theirs


DAMAGES: dict[str, Damage] = {
    "flipped bit": flip_bit, "zeroed block": zero_block, "cut short": cut_short, "empty": empty,
    "appended": append, "removed": remove, "swapped": swap,
}  # fmt: skip


@contextmanager
def damaged(
    damage: Damage, path: Path, siblings: Sequence[Path], random: Random, keep: Path
) -> Iterator[bool]:
    """The file (and the one it is swapped with) damaged, times unchanged; afterwards as before."""
    kept = {file: keep / str(number) for number, file in enumerate({path, *siblings})}
    for file, copy in kept.items():
        shutil.copy2(file, copy)
    times = {file: file.stat() for file in kept}
    try:
        happened = damage(path, siblings, random)
        for file, before in times.items():
            if file.exists():
                os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        yield happened
    finally:
        for file, copy in kept.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(copy, file)


@contextmanager
def kept_times(path: Path) -> Iterator[None]:
    """A file is written and looks as old as before."""
    before = path.stat()
    yield
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def nap(seconds: float) -> str:
    """Work for a process of its own, which then need not import a test."""
    time.sleep(seconds)
    return "awake"
