"""Proof that the folds which are there were audited, and that results are what was evaluated.

Nothing is trained or evaluated without the first, and no page drawn without the second.
"""

from __future__ import annotations

from typing import Any

from pianoeval.errors import CorruptDataError, MissingAssetError, quoted
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import sha256_file
from pianoeval.sealed import check_files, read_sealed

# Labels too: they decide which clips are learned from, and so how training sides are divided.
_AUDITED = ("folds", "manifest", "labels")


def read_audit(paths: CorpusPaths) -> dict[str, Any]:
    """The receipt of the audit of the folds, manifest and labels that are there now.

    Returns
    -------
    dict
        ``folds, manifest, labels`` (SHA-256), ``clips, schemes, unchecked`` (reason → clips
        without known notes), ``content_groups`` (see ``duplicates.compare_content_groups``),
        ``overlap`` (see ``leaks.parts_mapping``), ``one_performance``: pairs of clips, and
        ``leaks``: the SHA-256 of ``leaks.csv``.

    Raises
    ------
    MissingAssetError
        There was no audit, or it found a leak; or what it was made of is gone.
    CorruptDataError
        It is not what was written, or was made of other folds, labels or another manifest.
    """
    again = f"dvc repro audit@{paths.corpus}"
    if not paths.audit.is_file():
        raise MissingAssetError("these folds were not audited", where=paths.audit, next_step=again)
    try:
        receipt = read_sealed(paths.audit, again)
        current = {name: sha256_file(getattr(paths, name)) for name in _AUDITED}
        stale = [name for name, digest in current.items() if receipt[name] != digest]
    except FileNotFoundError as error:
        raise MissingAssetError("no such file", where=error.filename, next_step=again) from error
    except KeyError as error:
        raise CorruptDataError(
            f"not a receipt of the audit ({type(error).__name__})", where=paths.audit,
            next_step=again,
        ) from error  # fmt: skip
    if stale:
        raise CorruptDataError(
            f"the audit was made with another {stale[0]}", where=paths.audit, next_step=again
        )
    return receipt


def check_results(paths: CorpusPaths) -> None:
    """Compare the files beside the results with the receipts of the evaluations that wrote them.

    Raises
    ------
    MissingAssetError
        There was no evaluation here.
    CorruptDataError
        One of them, or the receipt, is not what was written.
    """
    again = f"rm {quoted(paths.evaluated)} && dvc repro"
    check_files(paths.results, read_sealed(paths.evaluated, again)["results"], again)
    if paths.ranked.is_file() or (paths.results / "ranking.csv").is_file():
        again = f"rm {quoted(paths.ranked)} && dvc repro"
        check_files(paths.results, read_sealed(paths.ranked, again)["results"], again)
    if paths.contrasted.is_file() or (paths.results / "contrastive.csv").is_file():
        again = f"rm {quoted(paths.contrasted)} && dvc repro"
        receipt = read_sealed(paths.contrasted, again)
        check_files(paths.results, receipt["results"], again)
        name = paths.contour_audit.name
        if name in receipt["inputs"]:  # the page shows it as well
            again = f"dvc repro --force contours@{paths.corpus} && dvc repro"
            check_files(paths.results, {name: receipt["inputs"][name]}, again)
