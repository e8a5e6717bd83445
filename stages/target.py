"""target@target: everything that is read of a corpus that is predicted, not learned from."""

from pianoeval.features.views import SYMBOLIC
from pianoeval.params_file import load_params
from stages import degrade, embed, fetch, ingest, notes, pool, render, run, symbolic


def main(target: str) -> None:
    axes = load_params().axes
    fetch.main(target)
    ingest.main(target)
    degrade.main(target)
    if SYMBOLIC in axes.features:
        symbolic.main(target)
    if "notes" in axes.features:
        notes.main(target)
    for instrument in axes.instrument:
        render.main(target, instrument)
        for encoder in axes.encoder:
            embed.main(target, encoder, instrument)
            pool.main(target, encoder, instrument)


if __name__ == "__main__":
    run(main)
