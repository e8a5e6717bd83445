"""What ``dvc repro`` would compute: items, hours of audio, estimated time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pianoeval.audio.pitch import contour_jobs
from pianoeval.audio.render import render_jobs
from pianoeval.builder import ItemJob, n_workers
from pianoeval.cache import ItemCache
from pianoeval.corpora.auditions import expected_size as auditions_size
from pianoeval.corpora.manifest import read_manifest
from pianoeval.encoders.extract import embed_jobs
from pianoeval.encoders.inventory import encoder_facts, known_spec
from pianoeval.encoders.layers import parse_layers
from pianoeval.encoders.registry import encoder_spec
from pianoeval.encoders.speed import rate_name
from pianoeval.errors import ConfigError, CorruptDataError, MissingAssetError, PianoevalError
from pianoeval.params import CorpusParams, Params
from pianoeval.paths import CorpusPaths
from pianoeval.rates import Rates
from pianoeval.store import RaggedStore

RATED_CLIPS = 1202  # PercePiano, before it has been ingested
RATED_HOURS = 5.9
UNKNOWN_SIZE = "size unknown until ingest has run"


@dataclass(frozen=True)
class PlanRow:
    """One expensive stage: what it needs, what is there, and how long the rest takes."""

    stage: str
    items: int
    missing: int
    audio_s: float
    estimate_s: float
    note: str = ""


def make_plan(params: Params) -> list[PlanRow]:
    """Rows for the stages that render, track pitch and embed.

    Raises
    ------
    ConfigError
        A view names a layer that its encoder does not store: found now, not after embedding.
    """
    _check_views(params)
    axes = params.axes
    learned = [row for corpus in axes.corpus for row in _Planner(corpus, params).rows()]
    # Of a target, one stage makes everything, and no contours.
    asked = [row for corpus in axes.target for row in _Planner(corpus, params).target_rows()]
    return learned + asked


def _check_views(params: Params) -> None:
    for features in params.axes.features:
        if features not in params.encoders:
            continue
        spec, _ = known_spec(features, params.encoders[features])
        if spec is None:
            continue
        for name, view in params.views.get(features, {}).items():
            try:
                parse_layers(view.layers, spec.layer_names)
            except ConfigError as error:
                raise ConfigError(
                    error.what, where=f"views.{features}.{name}", allowed=error.allowed,
                    next_step=error.next_step,
                ) from error  # fmt: skip


class _Planner:
    def __init__(self, corpus: str, params: Params) -> None:
        self.corpus, self.params = corpus, params
        self.paths, self.cache = CorpusPaths(corpus), ItemCache()
        self.rates, self.workers = Rates(), n_workers(params.run)

    def rows(self) -> Iterator[PlanRow]:
        for instrument in self.params.axes.instrument:
            yield self._render(instrument)
        yield self._contours()
        for encoder in self.params.axes.encoder:
            for instrument in self.params.axes.instrument:
                yield self._embed(encoder, instrument)

    def target_rows(self) -> Iterator[PlanRow]:
        for instrument in self.params.axes.instrument:
            yield self._render(instrument)
            for encoder in self.params.axes.encoder:
                yield self._embed(encoder, instrument)

    def _render(self, instrument: str) -> PlanRow:
        stage = f"render@{self.corpus}-{instrument}"
        if not self.paths.manifest.is_file():
            return self._guess(stage, "audio")
        manifest = read_manifest(self.paths.manifest)
        return self._row(
            stage, "audio", render_jobs(manifest, self.paths.root, instrument, self.params)
        )

    def _contours(self) -> PlanRow:
        instrument = self.params.contours.instrument
        stage = f"contours@{self.corpus}"
        path = self.paths.audio(instrument)
        if not self._rendered(instrument):
            return self._guess(stage, "contour")
        return self._row(stage, "contour", contour_jobs(RaggedStore(path), self.params))

    def _embed(self, encoder: str, instrument: str) -> PlanRow:
        stage = f"embed@{self.corpus}-{encoder}-{instrument}"
        params = self.params.encoders[encoder]
        step = f"embedding-{params.kind}"
        spec, _ = known_spec(encoder, params)
        work = rate_name(spec) if spec else step
        try:
            encoder_spec(params, encoder)
        except (MissingAssetError, CorruptDataError) as error:
            return self._without_weights(stage, instrument, work, error)
        if self._rendered(instrument):
            jobs = embed_jobs(self.paths.audio(instrument), encoder, self.params)
            row = self._row(stage, step, jobs, work)
        else:
            row = self._guess(stage, work)
        facts = encoder_facts(encoder, params)
        if row.missing and not facts.ready:
            row = replace(row, note=f"{facts.problem}; next: {facts.next_step}")
        return row

    def _without_weights(
        self, stage: str, instrument: str, work: str, error: PianoevalError
    ) -> PlanRow:
        """What the weights decide, the keys of the items, is not known: all count as missing."""
        row = self._guess(stage, work)
        if self._rendered(instrument):
            store = RaggedStore(self.paths.audio(instrument))
            rate_hz = float(store.attrs["sample_rate_hz"])
            audio_s = sum(store.length(clip) for clip in store.clips) / rate_hz
            n = len(store.clips)
            row = PlanRow(stage, n, n, audio_s, self._seconds(work, audio_s))
        return replace(row, note=f"{error.what}; next: {error.next_step}")

    def _rendered(self, instrument: str) -> bool:
        """Whether the audio on disk is what render would give; else what follows is not known."""
        path = self.paths.audio(instrument)
        if not path.is_dir() or not self.paths.manifest.is_file():
            return False
        manifest = read_manifest(self.paths.manifest)
        jobs = render_jobs(manifest, self.paths.root, instrument, self.params)
        store = RaggedStore(path)
        return {job.key for job in jobs} == {store.item_key(clip) for clip in store.clips}

    def _row(self, stage: str, step: str, jobs: list[ItemJob], work: str = "") -> PlanRow:
        missing = {job.key: job for job in jobs if not self.cache.has(step, job.key)}
        audio_s = sum(job.audio_s for job in missing.values())
        return PlanRow(
            stage, len(jobs), len(missing), audio_s, self._seconds(work or step, audio_s)
        )

    def _guess(self, stage: str, work: str) -> PlanRow:
        """Before the stages above have run, all is to be computed; its size is estimated."""
        if self.paths.manifest.is_file():
            manifest = read_manifest(self.paths.manifest)
            clips, audio_s = len(manifest), float((manifest["end_s"] - manifest["start_s"]).sum())
            note = "after render; what is cached already is not known yet"
        else:
            clips, audio_s = expected_size(self.params.corpora[self.corpus])
            note = "estimated from params.yaml" if clips else UNKNOWN_SIZE
        return PlanRow(stage, clips, clips, audio_s, self._seconds(work, audio_s), note)

    def _seconds(self, work: str, audio_s: float) -> float:
        return audio_s / (self.rates.of(work) * self.workers)


def expected_size(corpus: CorpusParams) -> tuple[int, float]:
    """Clips and seconds of audio that a corpus will have; (0, 0) where only its files tell."""
    if corpus.loader == "studio":
        clips = corpus.n_segments * corpus.n_players * (1 + len(corpus.tiers))
        return clips, clips * (corpus.segment_s + 1.0)
    if corpus.loader == "auditions":
        return auditions_size(corpus)
    if corpus.loader == "percepiano":
        return RATED_CLIPS, RATED_HOURS * 3600
    return 0, 0.0
