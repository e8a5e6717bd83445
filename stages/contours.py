"""contours@corpus: pitch contours (pYIN) of one instrument's audio, and the pitch of its MIDI."""

from pianoeval.atomic import output_folder, write_output
from pianoeval.audio.pitch import contour_corpus
from pianoeval.audio.skyline import skyline_corpus
from pianoeval.cache import ItemCache
from pianoeval.corpora.manifest import check_media, read_manifest
from pianoeval.evaluate.contours import audit_contours
from pianoeval.params_contrast import SKYLINE
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from pianoeval.store import RaggedStore
from stages import run


def main(corpus: str) -> None:
    paths, params, cache = CorpusPaths(corpus), load_params(), ItemCache()
    manifest = read_manifest(paths.manifest)
    check_media(manifest, paths.root)
    instrument = params.contours.instrument
    audio = RaggedStore(paths.audio(instrument))
    # Both stores or none: one that was left over would be of other clips or frame times.
    with output_folder(paths.contours(instrument).parent) as folder:
        found, known = (folder / paths.contours(name).name for name in (instrument, SKYLINE))
        contour_corpus(audio, params, cache, found)
        contours = RaggedStore(found)
        built = skyline_corpus(manifest, paths.root, audio, contours, params, cache, known)
        played = manifest.set_index("clip")["instrument"].fillna(instrument).to_dict()
        table = audit_contours(played, contours, RaggedStore(known) if built else None)
    write_output(
        paths.contour_audit, table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    )


if __name__ == "__main__":
    run(main)
