"""Rankings as tables and JSON; each says what is known about the ranker in that dimension."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from rich.table import Table

from pianoeval.errors import printable
from pianoeval.judging.bradley_terry import PRIOR
from pianoeval.judging.ranking import Ranking
from pianoeval.judging.takes import Ranked
from pianoeval.report import words
from pianoeval.training.ranker import ExportedRanker

_TAKES_A_TABLE = 5
_IN_FULL = 2  # dimensions
_POLES = ("high_pole", "low_pole")


def heading(model: ExportedRanker) -> list[str]:
    """Which ranker, and what out-of-fold pairs said of its recipe."""
    config, known = model.config, model.config["quality"]
    lines = [
        f"{config['name']}: {len(model.dimensions)} dimensions of the task {config['task']},"
        f" learned from {config['corpus']['clips']} takes of {config['corpus']['name']}"
    ]
    if known["simulated"]:
        lines.append("Its labels are simulated: it has heard no human pianist.")
    lines.append(
        f"Out of fold, {words.scheme_name(known['scheme'])} ({known['meaning']}): right on"
        f" {words.percent(known['mean'])} of pairs of one segment, dimensions averaged;"
        " chance is 50 %."
    )
    return lines


def as_tables(model: ExportedRanker, found: Ranked) -> Iterator[Table]:
    """One or two dimensions in full; of more, the ranks alone."""
    if len(found.rankings) <= _IN_FULL:
        for ranking in found.rankings:
            yield _full(model, found, ranking)
        return
    for begin in range(0, len(found.takes), _TAKES_A_TABLE):
        yield _overview(model, found, range(begin, min(begin + _TAKES_A_TABLE, len(found.takes))))


def _full(model: ExportedRanker, found: Ranked, ranking: Ranking) -> Table:
    entry = model.config["dimensions"][model.dimensions.index(ranking.dimension)]
    known = model.config["quality"]["dimensions"][ranking.dimension]
    title = (
        f"{printable(words.plain(ranking.dimension))}, {_poles(entry, ranking)}: {_accuracy(known)}"
    )
    table = Table(box=None, header_style="bold", title=title, title_justify="left")
    table.add_column("rank", justify="right")
    table.add_column("take", overflow="fold")
    names = _names(found)
    for name in ("possible ranks", "strength", "±", "P(before the next)"):
        table.add_column(name, justify="right")
    for place, row in enumerate(ranking.order):
        below = ranking.order[place + 1] if place + 1 < len(ranking.order) else None
        chance = words.ABSENT if below is None else _chance(ranking, int(row), int(below))
        table.add_row(
            _rank(ranking, int(row)), names[row],
            _possible(ranking, int(row)), words.signed(float(ranking.strength[row]), 2),
            words.number(float(ranking.error[row]), 2), chance,
        )  # fmt: skip
    return table


def _overview(model: ExportedRanker, found: Ranked, rows: range) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("dimension", overflow="fold")
    table.add_column("first … last", overflow="fold")
    names = _names(found)
    for row in rows:
        table.add_column(names[row], justify="right", overflow="fold")
    pair = len(found.takes) == 2
    if pair:
        table.add_column("P(first before)", justify="right")
    table.add_column("right, out of fold", justify="right")
    entries = {str(entry["name"]): entry for entry in model.config["dimensions"]}
    for ranking in found.rankings:
        entry = entries[ranking.dimension]
        known = model.config["quality"]["dimensions"][ranking.dimension]
        chance = [_chance(ranking, 0, 1)] if pair else []
        table.add_row(
            printable(words.plain(ranking.dimension)),
            _poles(entry, ranking),
            *(_rank(ranking, row) for row in rows), *chance, words.percent(known["accuracy"]),
        )  # fmt: skip
    return table


def _names(found: Ranked) -> list[str]:
    """Names of takes without the folder that all of them are in."""
    paths = [PurePath(take.recording.name) for take in found.takes]
    shared = set.intersection(*(set(path.parents) for path in paths))
    folder = max(shared, key=lambda one: len(one.parts), default=PurePath())
    return [
        printable(str(path.relative_to(folder))) + ("" if take.inside else " ✗")
        for path, take in zip(paths, found.takes, strict=True)
    ]


def _poles(entry: Mapping[str, Any], ranking: Ranking) -> str:
    """What rank 1 is, and what the last rank is."""
    poles = [printable(str(entry[pole])) if entry[pole] else "?" for pole in _POLES]
    return " … ".join(poles[::-1] if ranking.low_first else poles)


def _rank(ranking: Ranking, row: int) -> str:
    return f"{ranking.rank[row]}{'=' if ranking.shared[row] else ' '}"


def _possible(ranking: Ranking, row: int) -> str:
    best, worst = int(ranking.best[row]), int(ranking.worst[row])
    return str(best) if best == worst else f"{best} to {worst}"


def _chance(ranking: Ranking, first: int, second: int) -> str:
    """The probability; never rounded to certainty."""
    value, mark = ranking.before(first, second), "" if ranking.told[first, second] else "="
    if not 0.005 <= value < 0.995:
        return (">0.99" if value > 0.5 else "<0.01") + mark
    return words.number(value, 2) + mark


def _accuracy(known: Mapping[str, Any]) -> str:
    span = words.interval(known["low"], known["high"], 2)
    text = f"right on {words.number(known['accuracy'], 2)} of pairs out of fold"
    text += f" ({span})" if span else ""
    if known["coin_toss"] is None:
        return text + "; no better than a coin, so nothing is told apart"
    return text


def remarks(model: ExportedRanker, found: Ranked) -> Iterator[str]:
    """What the marks mean, notes on single files, and what the ranker must not be used for."""
    level = words.percent(model.config["quality"]["level"])
    yield (
        "= cannot be told apart: other music to learn from might have turned the order round"
        f" ({level} interval), or the ranker calls it so close that it tossed a coin in"
        " cross-validation"
    )
    if len(found.rankings) <= _IN_FULL:
        yield from _legend(model, found)
    elif len(found.takes) == 2:
        first = printable(found.takes[0].recording.name)
        yield f"P(first before): probability that {first}, named first, belongs before the other"
    elif len(found.takes) > _TAKES_A_TABLE:
        yield "possible ranks, and takes in their order: --dimension NAME"
    if any(not take.inside for take in found.takes):
        yield "✗ unlike every training take: take these ranks for nothing"
    yield from found.texts
    texts: dict[str, list[str]] = {}
    for take in found.takes:
        for text in take.texts:
            texts.setdefault(text, []).append(take.recording.name)
    for text, names in texts.items():
        yield f"{'all files' if len(names) == len(found.takes) else ', '.join(names)}: {text}"
    if found.failed:
        total = len(found.failed) + len(found.takes)
        yield f"{len(found.failed)} of {total} files could not be ranked"
    yield str(model.config["quality"]["warning"])


def _legend(model: ExportedRanker, found: Ranked) -> Iterator[str]:
    yield (
        f"strength: Bradley-Terry, log-odds, prior of {PRIOR:g} comparisons; ±: standard error"
        " over music left out of training"
    )
    for ranking in found.rankings:
        if ranking.low_first:
            entry = model.config["dimensions"][model.dimensions.index(ranking.dimension)]
            name = printable(words.plain(ranking.dimension))
            pole = printable(str(entry["high_pole"] or "high"))
            yield f"in {name} a higher strength is more '{pole}', so the lowest is first"


def as_json(model: ExportedRanker, found: Ranked) -> str:
    """Everything, with missing numbers as null."""
    config = model.config
    told: dict[str, Any] = {
        "model": {key: config[key] for key in ("name", "ranker", "task", "commit")},
        "quality": config["quality"],
        "prior": PRIOR,
        "files": [
            {
                "file": take.recording.name, "kind": take.recording.kind,
                "duration_s": round(take.recording.duration_s, 3), "inside": take.inside,
                "distance": round(take.distance, 4), "notes": take.texts,
            }
            for take in found.takes
        ],
        "notes": found.texts,
        "rankings": [_ranking(model, found, one) for one in found.rankings],
        "failed": found.failed,
    }  # fmt: skip
    return json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False)


def _ranking(model: ExportedRanker, found: Ranked, ranking: Ranking) -> dict[str, Any]:
    names = [take.recording.name for take in found.takes]
    entry = model.config["dimensions"][model.dimensions.index(ranking.dimension)]
    takes = [
        {
            "file": names[row], "rank": int(ranking.rank[row]),
            "shared": bool(ranking.shared[row]), "best": int(ranking.best[row]),
            "worst": int(ranking.worst[row]), "strength": round(float(ranking.strength[row]), 6),
            "error": round(float(ranking.error[row]), 6),
            "round_error": round(float(ranking.round_error[row]), 6),
        }
        for row in ranking.order
    ]  # fmt: skip
    pairs = [
        {
            "first": names[i],
            "second": names[j],
            "probability": round(float(ranking.probability[i, j]), 6),
            "told_apart": bool(ranking.told[i, j]),
        }
        for i in range(len(names))
        for j in range(i + 1, len(names))
    ]
    return {**entry, "low_first": ranking.low_first, "takes": takes, "pairs": pairs}
