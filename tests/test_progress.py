"""A meter that follows items which other processes have in work."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pianoeval import progress
from pianoeval.builder import ItemJob, build_store
from pianoeval.cache import Blocks, ItemCache
from pianoeval.params import RunParams
from pianoeval.progress import Follower, Meter, listen, part_done


def until(reached: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_parts_are_counted_once_and_never_more_than_the_item(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "_FOLLOW_EVERY_S", 0.01)
    meter = Meter("work", 2, amount=30.0)
    slots = [0.0, 0.0]
    with Follower(meter, [10.0, 20.0], slots) as follower:
        slots[1] = 5.0
        until(lambda: meter.done_amount == 5.0)
        slots[1] = 25.0  # more than it is worth
        until(lambda: meter.done_amount == 20.0)
        assert meter.done == 0
        follower.finish(0)
        follower.finish(1)
    assert (meter.done, meter.done_amount) == (2, 30.0)


def test_nobody_has_to_listen() -> None:
    heard: list[float] = []
    part_done(1.0)
    listen(heard.append)
    part_done(2.0)
    listen(None)
    part_done(3.0)
    assert heard == [2.0]


def slow_item(payload: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """An item of three parts; the last one waits until the parent has seen the second."""

    def parts() -> Any:
        for done in range(3):
            if done == 2:
                until(Path(payload).exists)
            yield np.zeros((1, 1, 1), np.float16)
            part_done(float(done + 1))

    return {"frames": Blocks((3, 1, 1), np.float16, parts()), "level": np.zeros(3, np.float32)}, {}


def test_a_meter_advances_within_an_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = tmp_path / "seen"
    advance = Meter.advance

    def watched(self: Meter, amount: float = 1.0, items: int = 1) -> None:
        advance(self, amount, items)
        if items == 0 and self.done_amount >= 2.0:
            seen.touch()

    monkeypatch.setattr(Meter, "advance", watched)
    monkeypatch.setattr(progress, "_FOLLOW_EVERY_S", 0.01)
    report = build_store(
        "test", [ItemJob("clip", "ab" * 32, str(seen), 3.0)], slow_item,
        cache=ItemCache(tmp_path / "items"), out=tmp_path / "out", attrs={},
        run=RunParams(workers=1, max_failed_fraction=0.0),
    )  # fmt: skip
    assert report.computed == 1
