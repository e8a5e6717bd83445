"""All tables of one target, written to ``reports/<target>/``."""

from __future__ import annotations

import json
import logging
from typing import Any

import pandas as pd

from pianoeval import __version__
from pianoeval.atomic import write_output
from pianoeval.cache import ItemCache
from pianoeval.corpora.manifest import read_manifest
from pianoeval.errors import ConfigError
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import canonical_json, sha256_bytes
from pianoeval.tablefile import write_table
from pianoeval.transfer.abstention import abstention_table
from pianoeval.transfer.difficulty import difficulty_table
from pianoeval.transfer.performers import performer_table
from pianoeval.transfer.predict import Transferred, predict_rows
from pianoeval.transfer.rows import find_rows
from pianoeval.transfer.shift import refusals, shift_table
from pianoeval.transfer.target import Target, read_target

_log = logging.getLogger(__name__)
DIGITS = 6


def transfer_corpus(name: str, params: Params, cache: ItemCache) -> None:
    """Predict the corpus ``name`` and write what is made of it.

    ``reports/<name>/{difficulty,performers,shift}.csv`` and ``transfer.json``; the predictions of
    every clip, and why it should be refused, in ``data/<name>/transfer.parquet``.

    Raises
    ------
    ConfigError
        The source is the target itself.
    """
    if name == params.transfer.source:
        raise ConfigError(
            f"'{name}' is the corpus that is learned from", where="axes.target",
            allowed="corpora other than transfer.source",
            next_step="edit axes.target or transfer.source in params.yaml",
        )  # fmt: skip
    source, paths = CorpusPaths(params.transfer.source), CorpusPaths(name)
    target = read_target(paths, source, params.midi)
    found = predict_rows(find_rows(params), params, source, paths, cache)
    tables = {
        "difficulty": difficulty_table(found, target, params),
        "performers": performer_table(found, target, source, params),
        "shift": pd.concat(
            [shift_table(found, target, params), abstention_table(found, source)],
            ignore_index=True,
        ),
    }  # fmt: skip
    predictions = pd.concat([_predictions(one, target) for one in found], ignore_index=True)
    write_table(predictions, paths.transfer)
    for what, table in tables.items():
        text = table.round(DIGITS).to_csv(index=False, lineterminator="\n")
        write_output(paths.results / f"{what}.csv", text)
    write_output(paths.results / "transfer.json", _told(found, target, source, paths, params))
    _log.info("transfer: %d clips of %s by %d rows", len(target.clips), name, len(found))


def _predictions(one: Transferred, target: Target) -> pd.DataFrame:
    refused = refusals(one, target).add_prefix("refused_")
    return one.table().merge(refused, left_on="clip", right_index=True, how="left")


def _told(
    found: list[Transferred], target: Target, source: CorpusPaths, paths: CorpusPaths,
    params: Params,
) -> str:  # fmt: skip
    human = target.human(target.clips.index.tolist(), params.transfer.leave_out)
    clips = target.clips
    left = sorted(set(target.clips["movement"]) & set(params.transfer.leave_out))
    told: dict[str, Any] = {
        "source": source.corpus,
        "target": paths.corpus,
        "source_versions": sorted(set(read_manifest(source.manifest)["corpus_version"])),
        "target_versions": sorted(set(target.clips["corpus_version"])),
        "licences": sorted(set(target.clips["licence"])),
        "rows": [
            {"row": one.row.name, "learned_from": one.setting.n_source,
             "predicted": len(one.setting.target_clips),
             "without_features": len(target.clips) - len(one.setting.target_clips)}
            for one in found
        ],
        "clips": {
            "all": len(target.clips), "counted": len(human),
            "deadpan": int(target.clips["is_score_render"].sum()),
            "hours": round(float((clips["end_s"] - clips["start_s"]).sum()) / 3600, 3),
        },
        "pieces": int(human["movement"].nunique()),
        "pieces_with_level": int(human.loc[human["level"].notna(), "movement"].nunique()),
        "pieces_of_two_performers": _of_two(human),
        "left_out": {"movements": left, "segments_of_the_source": target.known},
        "parameters": params.transfer.model_dump(mode="json"),
        "pianoeval": __version__,
    }  # fmt: skip
    told["digest"] = sha256_bytes(canonical_json(told).encode())
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def _of_two(human: pd.DataFrame) -> int:
    players = human.groupby(["movement", "segment"])["player"].nunique()
    return int(players[players >= 2].reset_index()["movement"].nunique())
