"""Takes in order: ties that are admitted, files of another piece refused, the command as used."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy import special, stats
from typer.testing import CliRunner

from pianoeval.cache import ItemCache
from pianoeval.cli import app
from pianoeval.errors import BadInputError, ConfigError, CorruptDataError, MissingAssetError
from pianoeval.features.symbolic import clip_features
from pianoeval.judging import show
from pianoeval.judging.bradley_terry import fit_strengths
from pianoeval.judging.context import Notes
from pianoeval.judging.files import Recording, find_recordings
from pianoeval.judging.ranking import rank_takes, shared_ranks
from pianoeval.judging.same_piece import check_same_piece
from pianoeval.judging.scoring import Judged, _as_trained
from pianoeval.judging.takes import rank_files
from pianoeval.midi.features import FEATURES
from pianoeval.midi.io import Performance, write_midi
from pianoeval.models.base import Standardiser
from pianoeval.params import MidiLimits
from pianoeval.params_file import SHIPPED, load_params, parse_params
from pianoeval.training.export import ExportedRidge, load_exported
from pianoeval.training.inputs import describe_table
from pianoeval.training.ranker import ExportedRanker, load_ranker, save_ranker

LIMITS = MidiLimits()


def entry(name: str = "loud", better: bool | None = None) -> dict[str, Any]:
    return {"name": name, "low_pole": "soft", "high_pole": "loud", "higher_is_better": better,
            "label_range": [0.0, 1.0]}  # fmt: skip


def quality(coin_toss: float | None = 0.0, **changes: Any) -> dict[str, Any]:
    known = {"pairs": 90, "accuracy": 0.8, "low": 0.7, "high": 0.9, "expected": 0.8,
             "coin_toss": coin_toss}  # fmt: skip
    return {"scheme": "movement", "level": 0.95, "mean": 0.8, "dimensions": {"loud": known},
            "meaning": "music is new", "simulated": False, "warning": "Not for judging people."
            } | changes  # fmt: skip


def ranked(scores: list[float], spread: np.ndarray, **known: Any) -> Any:
    """One dimension; ``spread`` (parts, takes) is added to the scores of each part."""
    column = np.array(scores)[:, None]
    left_out = column[None] + spread[:, :, None]
    better = known.pop("better", None)
    return rank_takes(column, left_out, [entry(better=better)], quality(**known))[0]


def steady(parts: int, takes: int) -> np.ndarray:
    return np.random.default_rng(0).normal(scale=1e-3, size=(parts, takes))


def test_takes_that_differ_have_ranks_of_their_own_and_probabilities_of_scores() -> None:
    found = ranked([0.0, 2.0, -1.5], steady(8, 3))
    assert found.rank.tolist() == [2, 1, 3]
    assert found.best.tolist() == found.worst.tolist() == [2, 1, 3]
    assert found.order.tolist() == [1, 0, 2]
    assert not found.shared.any()
    assert found.probability[1, 2] == pytest.approx(special.expit(3.5))
    np.testing.assert_allclose(found.probability + found.probability.T, 1.0)
    assert found.before(1, 0) == found.probability[1, 0]


def test_lower_comes_first_where_labels_say_that_it_is_better() -> None:
    found = ranked([0.0, 2.0, -1.5], steady(8, 3), better=False)
    assert found.rank.tolist() == [2, 3, 1]
    assert found.best.tolist() == found.worst.tolist() == [2, 3, 1]
    assert found.order.tolist() == [2, 0, 1]
    assert found.before(2, 1) == found.probability[1, 2] > 0.9


def test_a_difference_that_other_music_may_turn_round_is_a_tie() -> None:
    """The interval is Student's t times the jackknife's error, of Bradley-Terry strengths."""
    spread = np.random.default_rng(1).normal(size=(6, 3)) * [0.3, 0.3, 0.0]
    scores = [0.2, 0.0, 3.0]
    found = ranked(scores, spread)
    parts = []
    for row in spread:
        p = special.expit(np.subtract.outer(scores + row, scores + row))
        parts.append(fit_strengths(p - np.diag(np.diag(p))).values)
    apart = np.array([one[0] - one[1] for one in parts])
    error = np.sqrt(5 / 6 * ((apart - apart.mean()) ** 2).sum())
    reach = stats.t.ppf(0.975, 5) * error
    difference = found.strength[0] - found.strength[1]
    assert 0 < difference < reach
    assert found.rank.tolist() == [2, 2, 1]
    assert found.shared.tolist() == [True, True, False]
    assert (found.best.tolist(), found.worst.tolist()) == ([2, 2, 1], [3, 3, 1])
    own = np.array([one[0] for one in parts])
    assert found.error[0] == pytest.approx(np.sqrt(5 / 6 * ((own - own.mean()) ** 2).sum()))
    assert ranked(scores, spread * 0.01).rank.tolist() == [2, 3, 1]


def test_what_cross_validation_calls_a_coin_toss_is_a_tie() -> None:
    scores = [0.0, 0.4, 1.5]
    assert ranked(scores, steady(8, 3), coin_toss=0.5).rank.tolist() == [2, 2, 1]
    assert ranked(scores, steady(8, 3), coin_toss=0.39).rank.tolist() == [3, 2, 1]
    nothing = ranked(scores, steady(8, 3), coin_toss=None)
    assert nothing.rank.tolist() == [1, 1, 1]
    assert (nothing.best.tolist(), nothing.worst.tolist()) == ([1, 1, 1], [3, 3, 3])


def test_equal_takes_share_a_rank() -> None:
    same = np.tile(np.random.default_rng(0).normal(size=(8, 1)), (1, 3))
    found = ranked([1.0, 1.0, 1.0], same)
    assert found.rank.tolist() == [1, 1, 1]
    assert found.order.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(found.probability, 0.5)


def test_links_join_a_chain_but_possible_ranks_keep_what_is_told() -> None:
    """1 and 2, and 2 and 3, cannot be told apart; 1 and 3 can."""
    found = ranked([1.0, 0.6, 0.2], steady(8, 3), coin_toss=0.5)
    assert found.rank.tolist() == [1, 1, 1]
    assert (found.best.tolist(), found.worst.tolist()) == ([1, 1, 2], [2, 3, 3])


def test_a_take_between_two_that_are_linked_shares_their_rank() -> None:
    told = np.ones((4, 4), bool)
    np.fill_diagonal(told, False)
    told[0, 2] = told[2, 0] = False
    assert shared_ranks(told, np.array([3, 0, 1, 2])).tolist() == [2, 2, 2, 1]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 7))
def test_ranks_hold_what_they_promise(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    found = ranked((random.normal(size=n) * 2).tolist(), random.normal(size=(5, n)) * 0.2,
                   coin_toss=float(random.uniform(0, 1)))  # fmt: skip
    ordered = found.rank[found.order]
    assert (np.diff(ordered) >= 0).all()
    assert ordered[0] == 1
    for i in range(n):
        assert found.best[i] <= found.worst[i]
        assert 1 + sum(found.rank[j] < found.rank[i] for j in range(n)) == found.rank[i]
        for j in range(n):
            if i != j and not found.told[i, j]:
                assert found.rank[i] == found.rank[j]
    np.testing.assert_array_equal(found.told, found.told.T)


def piece(seed: int = 0, notes: int = 60) -> list[tuple[float, float, int, int]]:
    random = np.random.default_rng(seed)
    pitches = 60 + np.cumsum(random.integers(-4, 5, notes)).clip(-24, 24)
    return [(0.25 * i, 0.25 * i + 0.2, int(pitch), 64) for i, pitch in enumerate(pitches)]


def write_take(path: Path, notes: list[tuple[float, float, int, int]], louder: int = 0) -> Path:
    random = np.random.default_rng(abs(louder))
    played = [
        (on, off, pitch, int(np.clip(velocity + louder + random.integers(-6, 7), 1, 127)))
        for on, off, pitch, velocity in notes
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_midi(Performance.from_notes(played), path)
    return path


def poorly(notes: list[tuple[float, float, int, int]]) -> list[tuple[float, float, int, int]]:
    """Every sixth note missing, every sixth wrong, onsets shaken beyond their order."""
    random = np.random.default_rng(5)
    found = []
    for i, (on, off, pitch, velocity) in enumerate(notes):
        if i % 6 == 0:
            continue
        shift = abs(random.normal(scale=0.3))
        found.append((on + shift, off + shift, pitch + (i % 6 == 3), velocity))
    return found


def recordings_of(*paths: Path) -> list[Any]:
    found, failed = find_recordings([str(path) for path in paths], LIMITS)
    assert not failed
    return found


def test_a_bad_take_and_a_part_are_the_same_piece_and_another_is_not(tmp_path: Path) -> None:
    notes = piece()
    whole = write_take(tmp_path / "whole.mid", notes)
    bad = write_take(tmp_path / "bad.mid", poorly(notes))
    part = write_take(
        tmp_path / "part.mid", [(a - 7.5, b - 7.5, p, v) for a, b, p, v in notes[30:]]
    )
    other = write_take(tmp_path / "other.mid", [(a, b, p - 11, v) for a, b, p, v in piece(9)])
    same = check_same_piece(recordings_of(whole, bad), LIMITS)
    assert same.compared == 2
    assert same.texts == []
    longer = check_same_piece(recordings_of(whole, bad, part), LIMITS, whole)
    assert len(longer.texts) == 1
    assert "same music from start to end" in longer.texts[0]
    with pytest.raises(BadInputError, match=r"other\.mid") as error:
        check_same_piece(recordings_of(whole, bad, other), LIMITS)
    lines = str(error.value).splitlines()
    assert sum("mid" in line and "whole" in line and "bad" in line for line in lines) == 1
    with pytest.raises(BadInputError, match="the score"):
        check_same_piece(recordings_of(whole, bad), LIMITS, other)


def test_of_audio_nobody_can_tell_and_it_is_said(tmp_path: Path) -> None:
    sounds = [tmp_path / "a.wav", tmp_path / "b.wav"]
    for path in sounds:
        soundfile.write(path, np.zeros(44_100), 44_100)
    assert "cannot be told from audio" in " ".join(
        check_same_piece(recordings_of(*sounds), LIMITS).texts
    )
    midi = write_take(tmp_path / "c.mid", piece(0, 4))
    mixed = check_same_piece(recordings_of(midi, sounds[0]), LIMITS).texts
    assert any("taken for playing" in text for text in mixed)


@pytest.fixture(scope="module")
def takes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("takes")
    louder = {"quiet": -30, "middle": 0, "middle_too": 1, "loud": 30}
    return {
        name: write_take(folder / f"{name}.mid", piece(), by) for name, by in louder.items()
    }  # fmt: skip


@pytest.fixture(scope="module")
def ranker(takes: dict[str, Path]) -> ExportedRanker:
    """Reads how loud the notes are, and nothing else."""
    rows = {name: clip_features(path, None, LIMITS) for name, path in takes.items()}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(FEATURES), dtype="float64")
    described = describe_table("symbolic", table)
    x = table.to_numpy(np.float32)
    n = x.shape[1] + len(described["indicators"])
    wide = np.column_stack([x, np.zeros((len(x), n - x.shape[1]), np.float32)])
    column = list(table.columns).index("velocity_mean")
    weights, left_out = np.zeros((n, 1)), np.zeros((5, n, 1))
    weights[column] = 3.0
    left_out[:, column] = np.array([2.9, 2.95, 3.0, 3.05, 3.1])[:, None]
    config = {
        "format": "pianoeval-ranker", "format_version": 1, "name": "toy loudness",
        "ranker": "loudness", "task": "rating", "dimensions": [entry()], "commit": "abc",
        "views": [{"name": "symbolic", "inputs": described, "settings": {}}],
        "training": {"clip_s": {"shortest": 5.0, "longest": 60.0},
                     "distance": {"median": 1.0, "largest": 3.0}},
        "difference": {"parts": 5}, "corpus": {"name": "toy", "clips": 4, "recorded": 0},
        "quality": quality(coin_toss=0.2),
    }  # fmt: skip
    return ExportedRanker(Standardiser.fit(wide), weights, left_out, config)


@pytest.fixture
def folder(ranker: ExportedRanker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ranker on disk; the command runs outside of any workspace."""
    out = tmp_path / "model"
    save_ranker(ranker, out, "# card\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path / "cache"))
    return out


def invoke(*arguments: str | Path) -> Any:
    done = CliRunner().invoke(app, ["rank", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_the_command_orders_takes_and_writes_everything_as_json(
    folder: Path, takes: dict[str, Path]
) -> None:
    done = invoke(*takes.values(), "--model", folder, "--json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    (ranking,) = told["rankings"]
    by_name = {Path(one["file"]).stem: one for one in ranking["takes"]}
    assert Path(ranking["takes"][0]["file"]).stem == "loud"
    assert {name: one["rank"] for name, one in by_name.items()} == {
        "loud": 1, "middle": 2, "middle_too": 2, "quiet": 4,
    }  # fmt: skip
    assert by_name["middle"]["shared"]
    assert not by_name["loud"]["shared"]
    pairs = {(Path(p["first"]).stem, Path(p["second"]).stem): p for p in ranking["pairs"]}
    assert len(pairs) == 6
    assert pairs["quiet", "loud"]["probability"] < 0.01
    assert not pairs["middle", "middle_too"]["told_apart"]
    assert told["quality"]["warning"] == "Not for judging people."
    assert invoke(*takes.values(), "--model", folder, "--json").stdout == done.stdout


def test_tables_say_what_a_tie_is_and_how_often_the_ranker_is_right(
    folder: Path, takes: dict[str, Path]
) -> None:
    shown = invoke("--folder", takes["loud"].parent, "--model", folder).stdout
    rows = [line.split() for line in shown.splitlines()]
    ranks = {row[1]: row[0] for row in rows if len(row) > 1 and row[1].endswith(".mid")}
    assert ranks == {"loud.mid": "1", "middle.mid": "2=", "middle_too.mid": "2=", "quiet.mid": "4"}
    for words in ("right on 0.80 of pairs", "cannot be told apart", "prior of 0.1", "judging"):
        assert words in shown


def test_many_dimensions_are_shown_by_ranks_alone(
    ranker: ExportedRanker, takes: dict[str, Path], tmp_path: Path
) -> None:
    names = ("a", "b", "c")
    known = ranker.config["quality"]
    config = ranker.config | {
        "dimensions": [entry(name, better=False if name == "c" else None) for name in names],
        "quality": known | {"dimensions": dict.fromkeys(names, known["dimensions"]["loud"])},
    }
    wide = replace(ranker, weights=np.tile(ranker.weights, (1, 3)), config=config,
                   left_out=np.tile(ranker.left_out, (1, 1, 3)))  # fmt: skip
    save_ranker(wide, tmp_path / "three", "")
    pair = [takes["quiet"], takes["loud"]]
    shown = invoke(*pair, "--model", tmp_path / "three").stdout
    rows = [line.split() for line in shown.splitlines()]
    lines = {row[0]: row for row in rows if row and row[0] in names}
    assert lines["a"][1:4] == ["loud", "…", "soft"]
    assert lines["a"][4:6] == ["2", "1"]
    assert lines["c"][1:6] == ["soft", "…", "loud", "1", "2"]
    assert lines["c"][6] == ">0.99"  # 1.00 would be certainty, which no ranker has
    assert lines["a"][6] == "<0.01"
    assert f"{pair[0]}, named first" in shown.replace("\n", " ")
    fuller = invoke(*pair, "--model", tmp_path / "three", "--dimension", "c").stdout
    assert "in c a higher strength is more 'loud', so the lowest is first" in fuller
    assert (
        "so the lowest"
        not in invoke(*pair, "--model", tmp_path / "three", "--dimension", "a").stdout
    )
    only = invoke(*pair, "--model", tmp_path / "three", "--dimension", "b", "--json").stdout
    assert [one["name"] for one in json.loads(only)["rankings"]] == ["b"]
    with pytest.raises(ConfigError, match="no dimension 'd'"):
        invoke(*pair, "--model", tmp_path / "three", "--dimension", "d")


def test_files_that_cannot_be_read_cost_only_themselves(
    folder: Path, takes: dict[str, Path], tmp_path: Path
) -> None:
    sound = tmp_path / "sound.wav"
    soundfile.write(sound, np.zeros(44_100), 44_100)
    done = invoke(takes["loud"], takes["quiet"], sound, "nosuch.mid", "--model", folder, "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert set(told["failed"]) == {str(sound), "nosuch.mid"}
    assert len(told["files"]) == 2
    with pytest.raises(BadInputError, match=r"1 take cannot be ranked[\s\S]*this is audio"):
        invoke(takes["loud"], sound, "--model", folder)
    bad = tmp_path / "bad.mid"
    bad.write_bytes(takes["loud"].read_bytes()[:60])
    with pytest.raises(BadInputError, match=r"1 take cannot be ranked[\s\S]*bad\.mid: trunc"):
        invoke(takes["loud"], bad, "--model", folder)


def test_a_copy_of_a_take_is_named(tmp_path: Path) -> None:
    one = write_take(tmp_path / "one.mid", piece())
    copy = tmp_path / "copy.mid"
    copy.write_bytes(one.read_bytes())
    other = write_take(tmp_path / "other.mid", piece(), 20)
    texts = check_same_piece(recordings_of(one, other, copy), LIMITS).texts
    assert texts == [f"{one}, {copy}: the same file byte for byte, so no comparison of playing"]
    assert check_same_piece(recordings_of(one, other), LIMITS).texts == []


def test_what_is_asked_wrongly_is_answered_with_the_next_command(
    folder: Path, takes: dict[str, Path], tmp_path: Path
) -> None:
    loud = takes["loud"]
    with pytest.raises(BadInputError, match="1 take cannot be ranked"):
        invoke(loud, loud, "--model", folder)
    for arguments, told in (([loud, "--folder", loud.parent], "named twice"), ([], "no takes")):
        with pytest.raises(ConfigError, match=told):
            invoke(*arguments, "--model", folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="no recordings below") as empty:
        invoke("--folder", tmp_path / "empty", "--model", folder)
    assert ".mid" in str(empty.value.allowed)
    with pytest.raises(MissingAssetError, match="ships no model") as error:
        invoke(loud, takes["quiet"], "--model", tmp_path / "absent")
    assert "pianoeval export" in str(error.value.next_step)
    with pytest.raises(BadInputError, match="no such folder"):
        invoke("--folder", tmp_path / "absent", "--model", folder)
    with pytest.raises(ConfigError, match="pianoeval-ranker") as error:
        load_exported(folder)
    assert str(error.value.next_step).startswith("pianoeval rank")


def test_a_ranker_that_was_changed_is_refused(folder: Path) -> None:
    assert load_ranker(folder).dimensions == ["loud"]
    told = json.loads((folder / "config.json").read_text())
    told["quality"]["dimensions"]["loud"]["accuracy"] = 0.99
    (folder / "config.json").write_text(json.dumps(told))
    with pytest.raises(CorruptDataError, match="SHA-256"):
        load_ranker(folder)


def test_rankers_of_the_workspace_do_not_stand_in_the_way() -> None:
    """They name views that a model's own settings do not have."""
    data = load_params(SHIPPED).model_dump(mode="json")
    data["rank"] = {"rankers": {"mine": {"views": ["symbolic"], "approach": "difference"}}}
    settings = parse_params(data)
    own = {
        "encoder": data["encoders"]["mel"], "render": data["render"],
        "instruments": {"grand": data["instruments"]["grand"]},
    }  # fmt: skip
    made = _as_trained({"inputs": {"source": "mel"}, "settings": own}, settings)
    assert list(made.views) == ["mel"]
    assert settings.rank.rankers
    assert not made.rank.rankers


def test_names_are_shown_as_they_are_and_not_obeyed(
    folder: Path, takes: dict[str, Path], tmp_path: Path
) -> None:
    """A style of rich, and the colour of a terminal."""
    pair = [tmp_path / "[red]loud.mid", tmp_path / "\x1b[31mquiet.mid"]
    for path, name in zip(pair, ("loud", "quiet"), strict=True):
        path.write_bytes(takes[name].read_bytes())
    shown = invoke(*pair, "--model", folder).stdout
    assert " [red]loud.mid" in shown
    assert "\x1b[31m" not in shown
    assert "quiet.mid" in shown


def test_views_stand_side_by_side_in_their_order(
    ranker: ExportedRanker, takes: dict[str, Path]
) -> None:
    """The second view holds the column that is read, in another place than the first."""
    (view,) = ranker.config["views"]
    turned = view["inputs"] | {"columns": view["inputs"]["columns"][::-1]}
    n, column = len(ranker.weights), int(np.argmax(ranker.weights[:, 0]))
    there = n + len(turned["columns"]) - 1 - column
    weights = np.zeros((2 * n, 1))
    weights[there] = 0.1
    scaler = Standardiser(np.zeros(2 * n), np.zeros(2 * n), np.ones(2 * n))
    config = ranker.config | {"views": [view, {**view, "inputs": turned}]}
    both = ExportedRanker(scaler, weights, np.stack([weights] * 3), config)
    settings = load_params(SHIPPED)
    files = recordings_of(*takes.values())
    found = rank_files(both, files, settings, ItemCache())
    loud = {
        name: clip_features(path, None, LIMITS)["velocity_mean"] for name, path in takes.items()
    }
    wanted = special.expit(0.1 * (loud["loud"] - loud["middle"]))
    names = [one.recording.path.stem for one in found.takes]
    at = names.index("loud"), names.index("middle")
    assert found.rankings[0].probability[at] == pytest.approx(wanted, abs=1e-6)


def test_names_in_tables_of_scores_are_shown_as_they_are(tmp_path: Path) -> None:
    known = {"scheme": "movement", "dimensions": {}}
    config = {"dimensions": [entry("[b]loud")], "quality": known}
    nothing = np.zeros(0)
    model = ExportedRidge(
        Standardiser(nothing, nothing, nothing), np.zeros((0, 1)), nothing, config
    )
    one = Judged(Recording("[red]a.mid", tmp_path, "midi", 1.0), np.array([0.5]), Notes(0.5, True))
    out = io.StringIO()
    (table,) = show.as_tables(model, [one], abstain=False)
    Console(file=out, markup=False, width=140).print(table)
    assert " [red]a.mid " in out.getvalue()
    assert " [b]loud " in out.getvalue()
