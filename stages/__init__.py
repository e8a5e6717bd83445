"""DVC stages: one file is one node of the pipeline and calls one function of the package.

``python -m stages.render studio grand`` runs one by hand; ``dvc repro`` runs what changed.
"""

from __future__ import annotations

import errno
import importlib.util
import logging
import signal
import sys
from collections.abc import Callable
from types import FrameType

# Before a stage imports anything: a bare 'dvc repro' may have found another Python.
if any(importlib.util.find_spec(name) is None for name in ("pandas", "pydantic", "zarr")):
    sys.exit(
        f"ERROR pianoeval is not installed in {sys.executable}\n"
        "  next: . .venv/bin/activate && dvc repro   (or: make repro)"
    )

from pianoeval.errors import PianoevalError

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}


def run(main: Callable[..., None]) -> None:
    """Call a stage with the command line's arguments; a PianoevalError is one clear message.

    SIGTERM is turned into an exit that unwinds, so that workers end and partial files go.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, _terminate)
    try:
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
    except KeyboardInterrupt:
        sys.exit("interrupted; what was computed is kept, and 'dvc repro' goes on from there")


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
