from __future__ import annotations

import mmap

import pytest

from pianoeval import memory
from pianoeval.memory import Trimmer, resident_bytes


def test_memory_is_given_back_when_half_as_much_again_has_come_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resident = iter([500, 300, 440, 460, 310, 464, 466, 320])
    calls = []
    trimmer = Trimmer()
    monkeypatch.setattr(trimmer, "_trim", calls.append)
    monkeypatch.setattr(memory, "resident_bytes", lambda: next(resident))
    counts = []
    for _ in range(5):
        trimmer.after_item()
        counts.append(len(calls))
    assert counts == [1, 1, 2, 2, 3]


def test_the_system_is_asked_only_where_it_can_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmer = Trimmer()
    monkeypatch.setattr(trimmer, "_trim", None)
    monkeypatch.setattr(memory, "resident_bytes", lambda: pytest.fail("asked"))
    trimmer.after_item()


@pytest.mark.skipif(not memory._STATUS.exists(), reason="this system does not tell")
def test_resident_memory_follows_what_is_used() -> None:
    before = resident_bytes()
    with mmap.mmap(-1, 64 << 20) as block:  # not the heap, which may hold freed pages of its own
        block.write(b"x" * len(block))
        assert resident_bytes() - before > 50 << 20
