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


def check_evaluated(paths: CorpusPaths) -> None:
    """Compare results with the receipt of the evaluation of models that predict labels.

    Raises
    ------
    MissingAssetError
        There was no evaluation here.
    CorruptDataError
        One of the files, or the receipt, is not what was written.
    """
    again = f"rm -f {quoted(paths.evaluated)} && dvc repro"
    check_files(paths.results, read_sealed(paths.evaluated, again)["results"], again)


def check_results(paths: CorpusPaths) -> None:
    """Compare all that the page shows with the receipts of the evaluations that wrote it.

    Those of rankers and heads too, so that nothing may ask for this before these have run.
    Raises what :func:`check_evaluated` raises.
    """
    check_evaluated(paths)
    if paths.ranked.is_file() or (paths.results / "ranking.csv").is_file():
        again = f"rm -f {quoted(paths.ranked)} && dvc repro"
        check_files(paths.results, read_sealed(paths.ranked, again)["results"], again)
    if paths.contrasted.is_file() or (paths.results / "contrastive.csv").is_file():
        again = f"rm -f {quoted(paths.contrasted)} && dvc repro"
        receipt = read_sealed(paths.contrasted, again)
        check_files(paths.results, receipt["results"], again)
        shown = paths.contour_audit  # as it is, beside what was made of it
        digests = {n: digest for n, digest in receipt["inputs"].items() if n == shown.name}
        check_files(paths.results, digests, f"rm -f {quoted(shown)} && dvc repro")
