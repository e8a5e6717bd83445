"""symbolic@corpus: features of the MIDI alone, and relative to the deadpan score."""

from pianoeval.atomic import output_folder
from pianoeval.corpora.manifest import check_notes, read_manifest
from pianoeval.features.symbolic import symbolic_table
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from pianoeval.tablefile import write_table
from stages import run


def main(corpus: str) -> None:
    paths, params = CorpusPaths(corpus), load_params()
    manifest = read_manifest(paths.manifest)
    check_notes(manifest, paths.root)
    table = symbolic_table(manifest, paths.root, params.midi, params.run)
    with output_folder(paths.symbolic.parent) as folder:
        write_table(table, folder / paths.symbolic.name)


if __name__ == "__main__":
    run(main)
