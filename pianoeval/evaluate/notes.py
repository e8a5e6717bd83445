"""What a reader of the results must know, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from pianoeval.evaluate.state import Evaluation, Sizes

FEW_CLUSTERS = 10


def is_simulated(state: Evaluation) -> bool:
    """Synthetic performances whose labels nobody rated: the truth is known, the ceiling is 1."""
    return state.ratings is None and bool((state.manifest["source"] == "synthetic").all())


def notes(state: Evaluation) -> list[str]:
    """What a reader must know, in sentences."""
    out = [*_interval_notes(state), *_scheme_notes(state)]
    if is_simulated(state):
        out.append(
            "Labels are the severities that were put in, so they have no rater noise and every "
            "ceiling is 1; no ceiling rows are given."
        )
    elif state.ratings is None:
        out.append("There are no raw ratings, so no ceiling can be computed.")
    if state.unreliable:
        out.append(
            f"Raters do not agree within segments on {', '.join(state.unreliable)} (reliability "
            f"over all clips below {state.params.min_within_reliability:g}): left out of mean "
            "pairwise accuracy, on human clips too."
        )
    if state.unknown_reliability:
        out.append(
            "How far raters agree within segments is unknown (one rater a clip, or one clip a "
            f"segment) for {', '.join(state.unknown_reliability)}: kept in mean pairwise accuracy, "
            "without a ceiling."
        )
    for scheme, count in state.dropped.items():
        out.append(
            f"{scheme}: {count} labelled clips lack a prediction of some model and are left out "
            "for all."
        )
    for scheme, metric in sorted({(s, m) for s, m, _ in state.undefined}):
        names = sorted(n for s, m, n in state.undefined if (s, m) == (scheme, metric))
        out.append(f"{scheme}: {metric} is undefined for some model on {', '.join(names)}.")
    return [*out, *_without_interval(state)]


def _without_interval(state: Evaluation) -> list[str]:
    """Schemes in which a metric of some model has a value but no interval, a metric each."""
    schemes: dict[str, list[str]] = {}
    for scheme, metric in sorted(state.unbounded):
        schemes.setdefault(metric, []).append(scheme)
    return [
        f"{metric} has no interval for some model or dimension under {', '.join(found)}: clusters "
        "are too few, or resampling them shifts the value by more than it varies."
        for metric, found in schemes.items()
    ]


def _interval_notes(state: Evaluation) -> list[str]:
    two_way = [size for size in state.sizes if size.players > 1]
    one_way = [size for size in state.sizes if size.players == 1]
    out = []
    if two_way:
        out.append(
            "Intervals resample content groups and players at once (pigeonhole bootstrap), so they "
            "allow for other excerpts and other players like these; spread within segments and "
            "NDCG, taken over whole segments, resample content groups alone."
        )
    if one_way:
        some = "" if not two_way else f" for {_places(one_way)}"
        out.append(
            f"There are fewer than {state.params.min_players} players, or clips without one: "
            f"intervals{some} resample content groups alone. Players recur in many of them, so "
            "these intervals are narrower than they would be for new players."
        )
    out.append(
        "Intervals of rank correlations leave out one content group at a time (jackknife): they "
        "do not allow for other players."
    )
    return [*out, *_few_clusters(state)]


def _places(sizes: Sequence[Sizes]) -> str:
    return ", ".join(f"{size.scheme} ({size.subset})" for size in sizes)


def _few_clusters(state: Evaluation) -> list[str]:
    out = []
    for name in ("clusters", "players"):
        found = {int(getattr(size, name)) for size in state.sizes}
        what = "content groups" if name == "clusters" else "players"
        for number in sorted(n for n in found if 1 < n < FEW_CLUSTERS):
            out.append(
                f"{number} {what}: intervals over so few are rough and tend to be too narrow."
            )
    if any(size.clusters == 1 for size in state.sizes):
        out.append("There is one content group, so intervals and tests are not possible.")
    return out


def _scheme_notes(state: Evaluation) -> list[str]:
    movements = int(state.manifest["movement"].nunique())
    schemes = {size.scheme for size in state.sizes}
    out = []
    if schemes & {"movement", "movement_player"} and 1 < movements < FEW_CLUSTERS:
        out.append(_few_movements(movements))
    if schemes & {"player", "movement_player", "leave_one_player_out", "random"}:
        out.append(
            "Pairs are compared inside one fold only: under player folds the two clips of a pair "
            "otherwise come from models with different training means, and any model that shrinks "
            "towards its mean would rank them backwards."
        )
    for size in state.sizes:
        if size.subset == "all" and size.pairs == 0:
            out.append(f"{size.scheme}: no two clips of one segment share a fold, so no pairs.")
    return out


def _few_movements(movements: int) -> str:
    """What so few movements cannot show: the smallest p of a two-sided sign test is 2 · ½ⁿ."""
    smallest = f"{2.0 * 0.5**movements:.3g}".lstrip("0")
    verdict = (
        "so no difference between models can be significant over movements at p < .05"
        if 2.0 * 0.5**movements >= 0.05
        else "so it takes nearly all movements to agree"
    )
    return (
        f"{movements} movements: the movement folds show how models carry over to these "
        f"{movements}. Intervals here do not resample movements, and cannot support a claim about "
        f"music in general: a sign test over {movements} movements cannot go below p = {smallest} "
        f"(two-sided), {verdict}."
    )
