"""audit@corpus: what training, validation and test share; an undeclared overlap stops here."""

from pianoeval.evaluate.protocol.audit import audit_workspace
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from stages import run


def main(corpus: str) -> None:
    audit_workspace(CorpusPaths(corpus), load_params())


if __name__ == "__main__":
    run(main)
