"""Rankers that adapt an encoder, through the whole of ranking, on a corpus of noises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from pianoeval.cache import Item, ItemCache
from pianoeval.errors import BadInputError, ConfigError
from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.params import (
    Axes,
    EncoderParams,
    FoldParams,
    Params,
    ProbeParams,
    RankParams,
    RunParams,
    TranskunParams,
    ViewParams,
)
from pianoeval.paths import CorpusPaths
from pianoeval.rankings import usable_rankers
from pianoeval.store import write_store
from pianoeval.tablefile import write_table
from pianoeval.training.adapted import heard_through, take_audio
from pianoeval.training.rank import rank_corpus

RATE_HZ = 44_100
RANKERS: dict[str, Any] = {
    "lora": {
        "views": ["toy"], "approach": "lora", "projection": 4,
        "lora": {
            "encoder": "transkun_random", "instrument": "grand", "layers": "2", "crop_s": 0.19,
            "batch_takes": 3, "steps": 2, "check_every": 2, "device": "cpu", "rank": 2,
        },
    },
}  # fmt: skip
Corpus = tuple[CorpusPaths, pd.DataFrame, pd.DataFrame, pd.DataFrame]


def make_params(**lora: Any) -> Params:
    block = {**RANKERS["lora"], "lora": {**RANKERS["lora"]["lora"], **lora}}
    return Params.model_construct(
        axes=Axes(corpus=["toy"], instrument=["grand"], encoder=["mel"], features=["symbolic"]),
        run=RunParams(workers=1),
        encoders={"transkun_random": TranskunParams(weights="random")},
        folds=FoldParams(schemes=["movement"], n_folds=2),
        views={"symbolic": {"toy": ViewParams(models=["ridge"])}},
        probe=ProbeParams.model_validate({
            "ridge": {"lambdas": [1.0], "inner_folds": 2}, "ensemble": ["ridge"],
            "mlp": {"hidden": 4, "learning_rate": 1e-3, "max_epochs": 5, "patience": 2},
            "extra_trees": {"n_estimators": 5}, "boosting": {"n_estimators": 5},
            "controls": {"labels": []}, "learning_curve": {"percents": []},
        }),
        rank=RankParams.model_validate({"schemes": ["movement"], "rankers": {"lora": block}}),
    )  # fmt: skip


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Three movements of two segments of two takes, 0.2 to 0.3 s of noise each."""
    rng = np.random.default_rng(0)
    rows, items = [], []
    for m in range(3):
        for s in range(2):
            for p in range(2):
                clip = f"m{m}_s{s}_p{p}"
                rows.append({
                    "clip": clip, "parent": None, "sha256": clip, "is_score_render": False,
                    "composition": f"c{m}", "movement": f"m{m}", "segment": f"m{m}_s{s}",
                    "content_group": f"m{m}_s{s}", "player": f"p{p}", "take": "1",
                    "midi_path": f"{clip}.mid",
                })  # fmt: skip
                noise = rng.normal(0, 3000, int(RATE_HZ * rng.uniform(0.2, 0.3)))
                arrays = {"frames": noise.astype(np.int16)[:, None, None], "level": np.zeros(3)}
                items.append((clip, clip, Item(arrays, {}, "")))
    manifest = pd.DataFrame(rows)
    paths = CorpusPaths("toy", tmp_path)
    paths.audio("grand").parent.mkdir(parents=True)
    write_store(paths.audio("grand"), items, attrs={"sample_rate_hz": RATE_HZ}, quarantined={})
    paths.symbolic.parent.mkdir(parents=True)
    table = pd.DataFrame(rng.normal(size=(len(rows), 2)), columns=["feature_0", "feature_1"])
    write_table(table.assign(clip=manifest["clip"]), paths.symbolic)
    labels = pd.DataFrame([
        {"clip": row["clip"], "task": "rating", "dimension": name, "value": rng.uniform(),
         "sd": 0.1, "n_raters": 4}
        for row in rows for name in ("first", "second")
    ])  # fmt: skip
    folds = make_folds(manifest, make_params().folds)
    return paths, manifest, labels, folds


def rank(corpus: Corpus, cache: ItemCache) -> Any:
    paths, manifest, labels, folds = corpus
    return rank_corpus(make_params(), paths, manifest, labels, folds, cache)


def test_a_corpus_is_ranked_by_an_adapted_encoder(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ItemCache(tmp_path / "items")
    found = rank(corpus, cache)
    pairs = found.pairs
    assert set(pairs["ranker"]) == {"lora"}
    assert len(pairs) == 6  # each segment's two takes, once
    assert np.isfinite(pairs[["margin/first", "margin/second"]]).all(axis=None)
    assert set(found.codes["branch"]) == {"shared"}
    assert len(found.codes) == 12
    chosen = found.pairs.attrs["selection"]
    assert len(chosen) == len(set(pairs["fold"]))
    assert all(one["step"][0] in (0.0, 2.0) for one in chosen)

    def never(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("pianoeval.rankers.lora.create_encoder", never)
    again = rank(corpus, cache)
    pd.testing.assert_frame_equal(again.pairs, pairs)


def test_audio_is_part_of_what_names_a_result(corpus: Corpus) -> None:
    paths, manifest, *_ = corpus
    clips = manifest["clip"].tolist()

    def digest(params: Params, clips: list[str] = clips) -> str:
        audio = take_audio(usable_rankers(params)[0]["lora"], clips, params, paths)
        assert audio is not None
        return audio.digest()

    first = digest(make_params())
    assert first == digest(make_params())
    assert first != digest(make_params(), clips[1:])
    assert first != digest(make_params(layers="1"))
    other = make_params().model_copy(
        update={"encoders": {"transkun_random": TranskunParams(weights="random", seed=1)}}
    )
    assert first != digest(other)


def test_what_is_not_there_is_said(corpus: Corpus) -> None:
    paths, manifest, *_ = corpus
    clips = manifest["clip"].tolist()
    for change, allowed in (
        ({"encoder": "muq"}, "transkun_random"),
        ({"instrument": "x"}, "grand"),
    ):
        params = make_params(**change)
        with pytest.raises(ConfigError) as caught:
            take_audio(usable_rankers(params)[0]["lora"], clips, params, paths)
        assert caught.value.allowed == allowed
    params = make_params()
    with pytest.raises(BadInputError, match="among them 'nobody'"):
        take_audio(usable_rankers(params)[0]["lora"], [*clips, "nobody"], params, paths)


def test_other_rankers_hear_nothing(corpus: Corpus) -> None:
    params = make_params()
    block = params.rank.rankers["lora"].model_copy(update={"approach": "difference"})
    rank = params.rank.model_copy(update={"rankers": {"plain": block}})
    params = params.model_copy(update={"rank": rank})
    assert take_audio(usable_rankers(params)[0]["plain"], [], params, corpus[0]) is None


@pytest.mark.parametrize("kind", ["transkun", "muq", "mert"])
def test_an_encoder_is_heard_through_crops(kind: str) -> None:
    given: EncoderParams = TypeAdapter(EncoderParams).validate_python(
        {"kind": kind, "chunk_s": 9.0, "overlap_s": 1.0, "last_chunk": "short", "seed": 3,
         "device": "cuda", "compile": True}
    )  # fmt: skip
    lora = make_params().rank.rankers["lora"].lora
    assert lora is not None
    heard = heard_through(given, lora)
    assert type(heard) is type(given)
    assert (heard.chunk_s, heard.overlap_s, heard.last_chunk) == (0.19, 0.0, "shifted")
    assert (heard.layers, heard.device, heard.compile) == ("2", "cpu", False)
    assert heard.model_dump()["seed"] == 3
