"""Runs a script of tests/encoders/reference with the interpreter that has the reference packages.

    from reference_run import needs_reference, run_reference

    @needs_reference
    def test_full_size(tmp_path): run_reference("muq", tensors, {"config": "..."}, tmp_path)

``make reference`` builds that interpreter and sets ``PIANOEVAL_REFERENCE_PYTHON``.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

Test = Callable[..., None]
_VARIABLE = "PIANOEVAL_REFERENCE_PYTHON"
_SCRIPTS = Path(__file__).parent / "reference"


def needs_reference(test: Test) -> Test:
    """Mark a test ``reference``, and skip it where there is no such interpreter."""
    missing = pytest.mark.skipif(
        _VARIABLE not in os.environ, reason=f"{_VARIABLE} is not set; to run it: make reference"
    )
    marked: Test = pytest.mark.reference(missing(test))
    return marked


def run_reference(
    script: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], folder: Path,
    timeout_s: float = 1200,
) -> dict[str, Tensor]:  # fmt: skip
    """What ``python <script>.py states IN OUT`` writes to ``OUT``.

    Parameters
    ----------
    tensors, metadata
        Written to ``IN``, a safetensors file.
    folder : Path
        For both files; they are removed afterwards.
    """
    given, found = folder / "in.safetensors", folder / "out.safetensors"
    held = {name: value.contiguous() for name, value in tensors.items()}
    save_file(held, given, dict(metadata))
    path = _SCRIPTS / f"{script}.py"
    command = [os.environ[_VARIABLE], "-B", str(path), "states", str(given), str(found)]
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")  # the packages are the interpreter's own
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return dict(load_file(found))
    finally:
        given.unlink()
        found.unlink(missing_ok=True)
