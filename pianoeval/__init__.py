"""pianoeval: how well is the piano played, measured so that the numbers can be trusted."""

__version__ = "0.1.0"
