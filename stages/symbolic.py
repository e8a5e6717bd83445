"""symbolic@corpus: features of the MIDI alone, and relative to the deadpan score."""

from pianoeval.corpora.manifest import read_manifest
from pianoeval.features.symbolic import symbolic_table
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from stages import run


def main(corpus: str) -> None:
    paths, params = CorpusPaths(corpus), load_params()
    table = symbolic_table(read_manifest(paths.manifest), paths.root, params.midi, params.run)
    paths.symbolic.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(paths.symbolic, index=False)


if __name__ == "__main__":
    run(main)
