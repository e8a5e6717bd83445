"""Weights that come from a model hub or a local folder: fetched once, hashed, never executed.

``get_checkpoint`` brings one weights file, config.json and preprocessor_config.json into the
cache; whatever the encoders read afterwards is found there by its digest (``open_checkpoint``),
and is plain tensors (``load_state``): safetensors, or ``torch.load(weights_only=True)``. Code of
a repository is neither downloaded nor run.
"""

from pianoeval.checkpoints.get import get_checkpoint
from pianoeval.checkpoints.licences import is_non_commercial, licence_of
from pianoeval.checkpoints.shelf import (
    Checkpoint,
    find_checkpoint,
    open_checkpoint,
    read_config,
    read_preprocessor,
)
from pianoeval.checkpoints.tensors import load_state, strict_load

__all__ = [
    "Checkpoint",
    "find_checkpoint",
    "get_checkpoint",
    "is_non_commercial",
    "licence_of",
    "load_state",
    "open_checkpoint",
    "read_config",
    "read_preprocessor",
    "strict_load",
]
