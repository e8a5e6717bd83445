"""An hour of audio takes no more memory than a few minutes, and pools to what it holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# A shard of 64 MB and its copies in zarr.
BOUND_MB = 260.0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's VmHWM")
def test_an_hour_streams_from_audio_to_pooled_vector(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "hour.py"), str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["frames"] == 3600 * 30
    # A quarter of the time at 0.5, the rest at 0.1; frames at the change and float16 apart.
    assert found["mean"] == pytest.approx(0.25 * 0.5 + 0.75 * 0.1, rel=2e-4)
    assert found["std"] == pytest.approx(0.4 * (0.25 * 0.75) ** 0.5, rel=2e-4)
    assert found["rise_mb"] < BOUND_MB
    assert min(found["audio_mb"], found["embedding_mb"]) > BOUND_MB  # or the bound says nothing
