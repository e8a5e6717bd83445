"""Notes of clips as sequences, and their means and spreads as vectors.

``features/notes/`` holds ``notes.parquet``, a row a note (the columns of ``midi.notewise``, its
onset, beat and measure), and ``clips.parquet``, a row a clip that says where its notes stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.errors import ConfigError, CorruptDataError
from pianoeval.features.sequences import Sequences
from pianoeval.tablefile import read_table, write_table

NOTES = "notes"
NOTES_TABLE, CLIPS_TABLE = "notes.parquet", "clips.parquet"
BLOCKS = "blocks"
# Without the score there is no beat: stretches of the playing of the same length instead.
PLAYED_BEAT_S, PLAYED_MEASURE_S = 0.5, 2.0
_NEXT_STEP = "dvc repro"

NoteTables = tuple[pd.DataFrame, pd.DataFrame]


def write_notes(tables: NoteTables, folder: Path) -> None:
    """Write both tables into a folder that exists."""
    for table, name in zip(tables, (NOTES_TABLE, CLIPS_TABLE), strict=True):
        write_table(table, folder / name)


class NoteStore:
    """Read ``features/notes/``.

    Raises
    ------
    MissingAssetError
        It is not there.
    CorruptDataError
        It is not what was written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._notes = read_table(self.folder / NOTES_TABLE, _NEXT_STEP)
        self.blocks: dict[str, list[str]] = self._notes.attrs[BLOCKS]
        about = read_table(self.folder / CLIPS_TABLE, _NEXT_STEP)
        if int(about["length"].sum()) != len(self._notes):
            raise CorruptDataError(
                "its tables are not of one run", where=self.folder, next_step=_NEXT_STEP
            )
        self.clips: list[str] = about["clip"].tolist()
        self.metre: dict[str, str] = dict(zip(about["clip"], about["metre"], strict=True))
        self.quarantined: dict[str, str] = dict(about.attrs.get("quarantined", {}))
        self._start = about["start"].to_numpy(np.int64)
        self._length = about["length"].to_numpy(np.int64)

    def columns(self, blocks: Sequence[str]) -> list[str]:
        """Names of the columns of blocks, in the order of the file.

        Raises
        ------
        ConfigError
            A block that notes do not have.
        """
        if unknown := [block for block in blocks if block not in self.blocks]:
            raise ConfigError(
                f"notes have no block '{unknown[0]}'", where=f"views.{NOTES}.*.blocks",
                allowed=", ".join(self.blocks), next_step="edit params.yaml",
            )  # fmt: skip
        return [name for b, names in self.blocks.items() if b in blocks for name in names]

    def sequences(self, clips: Sequence[str], blocks: Sequence[str]) -> Sequences:
        """Notes of clips, with marks ``beat`` and ``measure``.

        With a block that needs the score, in its order and with its beats; with ``own`` alone in
        the order of key presses, and stretches of ``PLAYED_BEAT_S`` and ``PLAYED_MEASURE_S``
        instead: nothing of the score is seen.
        """
        values = self._notes[self.columns(blocks)].to_numpy(np.float32)
        marks = {name: self._notes[name].to_numpy(np.int32) for name in ("beat", "measure")}
        if set(blocks) == {"own"}:
            onset_s = self._notes["onset_s"].to_numpy()
            clip = np.repeat(np.arange(len(self.clips)), self._length)
            order = np.lexsort((self._notes["pitch"].to_numpy(), onset_s, clip))
            values, onset_s = values[order], onset_s[order]
            lengths = {"beat": PLAYED_BEAT_S, "measure": PLAYED_MEASURE_S}
            marks = {name: (onset_s / s + 1e-6).astype(np.int32) for name, s in lengths.items()}
        row = {clip: number for number, clip in enumerate(self.clips)}
        rows = np.array([row[clip] for clip in clips], np.int64)
        return Sequences(values, self._start[rows], self._length[rows], marks)

    def vectors(self, blocks: Sequence[str]) -> pd.DataFrame:
        """Mean and standard deviation of each column over the notes of each clip, float32.

        Columns ``<column>/mean`` and ``<column>/std``, rows by clip; NaN where no note of the
        clip has a value.
        """
        names = self.columns(blocks)
        values = self._notes[names].to_numpy(np.float64)
        clip = np.repeat(np.arange(len(self.clips)), self._length)
        mean, std = _moments(values, clip, len(self.clips))
        both = np.concatenate([mean, std], axis=1).astype(np.float32)
        columns = [f"{name}/{stat}" for stat in ("mean", "std") for name in names]
        return pd.DataFrame(both, index=self.clips, columns=columns)


def _moments(
    values: NDArray[np.float64], group: NDArray[np.int64], n_groups: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and population sd by group of what is not NaN; (groups, columns) each."""
    mean = np.full((n_groups, values.shape[1]), np.nan)
    std = np.full_like(mean, np.nan)
    for column in range(values.shape[1]):
        there = ~np.isnan(values[:, column])
        x, g = values[there, column], group[there]
        count = np.bincount(g, minlength=n_groups)
        some = count > 0
        centre = np.bincount(g, weights=x, minlength=n_groups)[some] / count[some]
        mean[some, column] = centre
        square = np.bincount(g, weights=(x - mean[g, column]) ** 2, minlength=n_groups)
        std[some, column] = np.sqrt(square[some] / count[some])
    return mean, std
