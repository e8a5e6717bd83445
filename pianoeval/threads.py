"""One thread a library, so that numbers do not depend on how many cores a machine has.

Linear algebra divides its sums among threads: with another number of them the last bits differ, and
an early stopping or a tie may follow from that. At the sizes of probes one thread is the faster
choice too, where others use the machine. Work is spread over clips, folds and problems instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS and OpenMP of this process in one thread, meanwhile; a decorator as well."""
    with threadpool_limits(1):
        yield
