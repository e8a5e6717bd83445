"""Write ``pianoeval/corpora/auditions_tunes.csv``: what the tunes of the installed music21 are.

``python benchmarks/describe_tunes.py``; a minute. Its result is committed: run it when music21 has
other tunes, and look at the difference.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import music21

from pianoeval.corpora.auditions_tunes import COLUMNS, FOLDER, TABLE, describe


def main() -> None:
    """Describe every tune and write the table."""
    folder = Path(music21.__file__).parent / FOLDER
    rows = [describe(path.name, path.read_bytes()) for path in sorted(folder.glob("*.abc"))]
    with TABLE.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(len(rows), "tunes;", dict(Counter(row["fault"] or "usable" for row in rows)))


if __name__ == "__main__":
    main()
