"""SIGKILL at random moments of every stage: nothing is half there, and the next run mends all.

Half of the moments are operations on files, where the writing of results is as likely as all the
computing before it; the others are moments in time and bytes within a file.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest
from disturbed import STEPS, Disturbed
from finished import STAGES
from levels import record, scale

ORPHANS_S = 20.0  # they look every half second; a busy machine is slow to import
KILLS = scale(1, 50)


def draw(
    rng: random.Random, number: int, counts: Counter[str], sizes: list[int], seconds: float
) -> tuple[str, float | None]:
    """A moment: ``(for the run, seconds after its start)``."""
    whom = "group" if rng.random() < 0.5 else "process"
    kind = number % 4
    if kind in (0, 2) and counts:
        role = rng.choice(sorted(counts))
        return f"operation {role} {rng.randint(1, counts[role])} {whom}", None
    if kind == 1 and sizes:
        return f"bytes {rng.randrange(1, max(rng.choice(sizes), 2))}", None
    return "", rng.uniform(0.0, seconds)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("call", STAGES, ids="-".join)
def test_a_stage_killed_at_any_moment(
    disturbed: Disturbed, call: tuple[str, ...], tmp_path: Path
) -> None:
    log = tmp_path / "counts"
    disturbed.remove_results(call)
    undisturbed = disturbed.run(call, counts=log)
    assert undisturbed.status == 0, undisturbed.log
    assert disturbed.tree() == disturbed.reference
    counts = Counter[str]()
    for line in log.read_text().splitlines():
        role, number = line.split()
        counts[role] = max(counts[role], int(number))
    assert counts["main"] > 0
    sizes = [file.stat().st_size for file in files_of(disturbed, call)]

    rng = random.Random("-".join(call))
    killed = survivors = 0
    slowest_s = 0.0
    kind = rng.randrange(4)  # a single kill is of another kind in each stage
    for number in range(kind, kind + KILLS):
        moment, after_s = draw(rng, number, counts, sizes, undisturbed.seconds)
        disturbed.remove_results(call, keep_outs=rng.random() < 0.25)
        status = disturb(disturbed, call, moment, after_s, rng)
        slowest_s = max(slowest_s, disturbed.wait_for_processes(ORPHANS_S))
        killed += status < 0
        survivors += status == 0
        assert status <= 0, (moment, after_s, (disturbed.home / "log").read_text())
        assert disturbed.faults(call) == [], (moment, after_s)
        again = disturbed.run(call)
        assert again.status == 0, (moment, after_s, again.log)
        assert disturbed.tree() == disturbed.reference, (moment, after_s)
    unfinished = list((disturbed.cache / "items").glob("*/unfinished/*"))
    record(
        "killed", "SIGKILL at random moments: " + " ".join(call), kills=killed,
        ended_before=survivors, left_in_unfinished=len(unfinished),
        slowest_orphan_s=round(slowest_s, 2), undisturbed_s=round(undisturbed.seconds, 2),
    )  # fmt: skip
    for path in unfinished:
        path.unlink()


def files_of(disturbed: Disturbed, call: tuple[str, ...]) -> list[Path]:
    """Files that a stage writes."""
    outs = disturbed.outs(call)
    if call[0] in ("probe", "rank", "contrast"):  # the others have workers that write items
        outs.append(disturbed.cache / "items" / STEPS[call[0]])
    return [f for out in outs for f in (out.rglob("*") if out.is_dir() else [out]) if f.is_file()]


def disturb(
    disturbed: Disturbed, call: tuple[str, ...], moment: str, after_s: float | None,
    rng: random.Random,
) -> int:  # fmt: skip
    """Run a stage that is killed; its exit status."""
    process = disturbed.start(call, moment)
    if after_s is not None and not disturbed.ended(after_s):
        end = os.killpg if rng.random() < 0.5 else os.kill
        end(process, signal.SIGKILL)
    return disturbed.finish()[0]
