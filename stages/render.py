"""render@corpus-instrument: MIDI to audio on one instrument; recordings pass through."""

from pianoeval.audio.render import render_corpus
from pianoeval.cache import ItemCache
from pianoeval.corpora.manifest import read_manifest
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from stages import run


def main(corpus: str, instrument: str) -> None:
    paths = CorpusPaths(corpus)
    render_corpus(
        read_manifest(paths.manifest), paths.root, instrument, load_params(),
        ItemCache(), paths.audio(instrument),
    )  # fmt: skip


if __name__ == "__main__":
    run(main)
