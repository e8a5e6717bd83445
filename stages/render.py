"""render@corpus-instrument: MIDI to audio on one instrument; recordings pass through."""

from pianoeval.audio.render import render_corpus
from pianoeval.cache import ItemCache
from pianoeval.corpora.manifest import check_media, read_manifest
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from stages import run


def main(corpus: str, instrument: str) -> None:
    paths = CorpusPaths(corpus)
    manifest = read_manifest(paths.manifest)
    check_media(manifest, paths.root)
    render_corpus(
        manifest, paths.root, instrument, load_params(), ItemCache(), paths.audio(instrument)
    )


if __name__ == "__main__":
    run(main)
