"""DVC stages: one file is one node of the pipeline and calls one function of the package.

``python -m stages.render studio grand`` runs one by hand; ``dvc repro`` runs what changed.
"""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import sys
from collections.abc import Callable

# Before a stage imports anything: a bare 'dvc repro' may have found another Python.
if any(importlib.util.find_spec(name) is None for name in ("pandas", "pydantic", "zarr")):
    sys.exit(
        f"ERROR pianoeval is not installed in {sys.executable}\n"
        "  next: . .venv/bin/activate && dvc repro   (or: make repro)"
    )

from pianoeval import interrupt
from pianoeval.errors import PianoevalError

_INTERRUPTED = "interrupted; what was computed is kept, and 'dvc repro' goes on from there"
if sys.argv[0] == "-m":  # a stage is being started; to import what it needs takes seconds
    # DVC may be killed: nobody would take what its stage goes on to write.
    interrupt.listen(_INTERRUPTED, os.getppid() if "DVC_STAGE" in os.environ else None)

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}


def run(main: Callable[..., None]) -> None:
    """Call a stage with the command line's arguments; a PianoevalError is one clear message.

    Told to end, it exits with 128 and the number of the signal; see :mod:`pianoeval.interrupt`.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        with interrupt.program(_INTERRUPTED):
            main(*sys.argv[1:])
    except PianoevalError as error:
        sys.exit(f"ERROR {error}")
    except OSError as error:
        if error.errno not in _DISK:
            raise
        sys.exit(
            f"ERROR {error.filename or 'disk'}: {error.strerror}; what was computed is kept\n"
            "  next: free space or mend the permissions, then: dvc repro"
        )
