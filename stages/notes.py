"""notes@corpus: every note of the MIDI with its score, for models that read sequences."""

from pianoeval.atomic import output_folder
from pianoeval.corpora.manifest import check_notes, read_manifest
from pianoeval.features.note_store import write_notes
from pianoeval.features.notes import notes_tables
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from stages import run


def main(corpus: str) -> None:
    paths, params = CorpusPaths(corpus), load_params()
    manifest = read_manifest(paths.manifest)
    check_notes(manifest, paths.root)
    tables = notes_tables(manifest, paths.root, params.midi, params.run)
    with output_folder(paths.notes) as folder:
        write_notes(tables, folder)


if __name__ == "__main__":
    run(main)
