"""Clips that cannot be used: recorded with their reason, never dropped in silence."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from pianoeval.atomic import write_output
from pianoeval.errors import BadInputError

log = logging.getLogger(__name__)


def check_quarantine(
    quarantined: Mapping[str, str], total: int, max_fraction: float, *, step: str = "this step"
) -> None:
    """Log each quarantined clip and stop when there are more than allowed.

    Raises
    ------
    BadInputError
        When ``len(quarantined) / total > max_fraction``, or when no clip is left.
    """
    for clip, reason in list(quarantined.items())[:20]:
        log.warning("quarantined %s: %s", clip, reason)
    if not quarantined:
        return
    if len(quarantined) > max_fraction * total or len(quarantined) == total:
        clip, reason = next(iter(quarantined.items()))
        raise BadInputError(
            f"{len(quarantined)} of {total} clips failed in {step}, first {clip!r}: {reason}",
            allowed=f"a fraction of {max_fraction:g} (run.max_failed_fraction)",
            next_step="mend or remove these clips, or raise run.max_failed_fraction in "
            "params.yaml; what was computed is kept, then: dvc repro",
        )


def write_quarantine(path: Path, quarantined: Mapping[str, str]) -> None:
    """Write ``{clip: reason}`` as JSON."""
    text = json.dumps(dict(quarantined), indent=1, ensure_ascii=False, sort_keys=True)
    write_output(path, text + "\n")
