"""Workers and the scheduler as the driver sees them: who is there, and may they work?"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from distributed import Client

from pianoeval.cluster.preflight import ClusterError, Need, mark_name, wait_for
from pianoeval.cluster.worker import Preflight, plugin_name

log = logging.getLogger(__name__)
AGAIN = "what was computed is kept; run the same command again"
_TRIES = 3
_AGAIN_S = 2.0


def register(client: Client, need: Need) -> None:
    """Check the workers that are there, and have the others checked when they come."""
    try:
        checked = _patiently(lambda: client.register_plugin(Preflight(need), plugin_name(need.run)))
    except ImportError as error:
        raise ClusterError(
            f"a worker cannot load this package: {error}", next_step="install the same "
            "version there, in the workspace: make setup; then run this again",
        ) from error  # fmt: skip
    for address in checked:
        if not wait_for(need.folder / mark_name(address)):
            raise ClusterError(
                f"nothing that it writes is seen here in {need.folder}: no shared file system",
                where=f"worker {address}", next_step="see docs/cluster.md",
            )  # fmt: skip


def _patiently(ask: Callable[[], Any]) -> Any:
    """All workers are asked; where one dies meanwhile, they are asked again."""
    for left in reversed(range(_TRIES)):
        try:
            return ask()
        except OSError as error:
            log.info("a worker has gone: %s", error)
            if not left:
                raise lost() from error
            time.sleep(_AGAIN_S)
    raise AssertionError("no tries")


def unregister(client: Client, name: str) -> None:
    """New workers are not checked any more; one that dies right now does not matter."""
    if client.status != "running":
        return
    try:
        client.unregister_worker_plugin(name)
    except (OSError, ValueError) as error:
        log.debug("checks of %s stay: %s", name, error)


def addresses(client: Client) -> list[str]:
    """Of the workers that are connected now; raises ClusterError where nobody answers."""
    try:
        return list(client.scheduler_info(n_workers=-1)["workers"])
    except OSError as error:
        raise lost() from error


def no_worker(wait_s: float) -> ClusterError:
    """Nobody came, for so long."""
    return ClusterError(
        f"no worker for {wait_s:g} s (cluster.wait_s)",
        next_step=f"start workers, or see why jobs wait (squeue); {AGAIN}",
    )


def lost() -> ClusterError:
    """The scheduler is gone."""
    return ClusterError("the scheduler cannot be reached any more", next_step=AGAIN)
