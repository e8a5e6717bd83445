"""Tensors out of a weights file, and into a module that wants exactly these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError  # only the error: torch.load raises it
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from pianoeval.checkpoints.shelf import Checkpoint
from pianoeval.errors import CorruptDataError

if TYPE_CHECKING:
    from torch import Tensor, nn

_WRAPPERS = ("state_dict", "model")
_OTHER_FILE = "name another weights file with 'file' of its block in params.yaml"


def load_state(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Parameters by name, on the CPU; memory-mapped where the file's format allows.

    Raises
    ------
    CorruptDataError
        Not a weights file, or one that holds anything but tensors: no code is unpickled.
    """
    return read_tensors(checkpoint.weights)


def read_tensors(path: Path, where: str = "") -> dict[str, Tensor]:
    """As :func:`load_state`, of a file; messages name ``where`` if it is told, else the file."""
    where = where or str(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        return _unwrapped(_read_torch(path), where)
    except (SafetensorError, UnpicklingError, RuntimeError, ValueError, EOFError,
            KeyError, TypeError, AttributeError, IndexError, ImportError) as error:  # fmt: skip
        # What torch raises for a broken or foreign file depends on where it breaks.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CorruptDataError(
            f"cannot be read as plain tensors: {reason[0]}", where=where,
            allowed="safetensors, or what torch.load(weights_only=True) accepts",
            next_step="take another copy of the weights; nothing of this one was run",
        ) from error  # fmt: skip


def _read_torch(path: Path) -> Any:
    import torch

    with path.open("rb") as stream:
        is_zip = stream.read(2) == b"PK"  # files older than PyTorch 1.6 cannot be mapped
    return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)


def _unwrapped(data: Any, where: str) -> dict[str, Tensor]:
    """Training checkpoints keep the weights under a name beside other things."""
    import torch

    for wrapper in _WRAPPERS:
        if isinstance(data, Mapping) and isinstance(data.get(wrapper), Mapping):
            data = data[wrapper]
    if not isinstance(data, Mapping) or not data:
        raise CorruptDataError(
            f"holds a {type(data).__name__} without parameters", where=where,
            allowed="tensors by name", next_step=_OTHER_FILE,
        )  # fmt: skip
    strange = [str(key) for key, value in data.items()
               if not isinstance(key, str) or not isinstance(value, torch.Tensor)]  # fmt: skip
    if strange:
        raise CorruptDataError(
            f"holds entries that are no tensors: {_some(strange)}", where=where,
            allowed="tensors by name", next_step=_OTHER_FILE,
        )  # fmt: skip
    return dict(data)


def strict_load(
    module: nn.Module, state: Mapping[str, Tensor], where: str, ignored: Sequence[str] = ()
) -> None:
    """Copy ``state`` into all parameters and persistent buffers of ``module``.

    Parameters
    ----------
    where : str
        Whose weights they are, as ``encoders.muq``, for the message.
    ignored : sequence of str
        Prefixes of names that may be in ``state`` and are not used.

    Raises
    ------
    CorruptDataError
        A parameter is missing, unexpected or of another shape; all of them are named.
    """
    wanted = module.state_dict()
    unused = tuple(ignored)
    given = {n: value for n, value in state.items() if n in wanted or not n.startswith(unused)}
    shapes = [
        f"{name} {tuple(given[name].shape)} instead of {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in given and given[name].shape != value.shape
    ]
    faults = {
        "missing": [name for name in wanted if name not in given],
        "unexpected": [name for name in given if name not in wanted],
        "of another shape": shapes,
    }
    told = [f"{len(names)} {fault}: {_some(names)}" for fault, names in faults.items() if names]
    if told:
        raise CorruptDataError(
            f"the weights do not fit the network; {'; '.join(told)}", where=where,
            allowed="every parameter once, in its shape",
            next_step="choose other weights with 'model', 'revision' or 'file' of its block in "
            "params.yaml, or another --from",
        )  # fmt: skip
    module.load_state_dict(given, strict=True)


def _some(names: Sequence[str], n: int = 6) -> str:
    more = f" and {len(names) - n} more" if len(names) > n else ""
    return ", ".join(names[:n]) + more
