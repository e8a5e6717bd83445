"""Where the paper did something else than we do, and where it contradicts itself."""

from __future__ import annotations

GENERAL = (
    "The paper keeps a segment's clips together (what it calls a piece split): that is 'segment' "
    "here. Movement folds, where the music is new, it does not have.",
    "The paper stops training by R² on the fold it reports; here a validation group inside the "
    "training side decides.",
    "The paper's intervals resample clips as if independent; ours resample content groups and "
    "players. Its R² may be a mean of folds; ours is pooled over all folds.",
    "The paper hears Pianoteq; here sound fonts (or your Pianoteq, docs/instruments.md).",
)
TABLE1 = (
    "'Symbolic (published)' is the best single fold of PercePiano's authors, by the paper's own "
    "reading.",
    "The paper's .537 averages three of its four folds; its interval holds all of its other audio "
    "rows.",
    "Training on all instruments is shown with ridge, beside ridge on one (--head changes both).",
    "MERT L7–12 is .487 in Table 1 and .433 in Table 2.",
    "The paper tests clips and dimensions as if independent (p = 2e-25). Tests here exchange whole "
    "content groups; p is adjusted over the rows of a table.",
)
TABLE2 = (
    "The paper's MERT-95M has 12 layers: what its row 13–24 read is not known.",
    "Its interval of MERT 1–6, [.391, .445], is not centred on its value, .397.",
    "Ridge on standardised layers by default; --head mlp is the paper's perceptron.",
)
POOLING = (
    "The paper's mean gives .405 here and .533 in Table 1; which encoder and layers these were is "
    "not said. Only differences between its rows can be compared.",
)
LOSSES = (
    "The paper gives no number for hybrid losses, and its MSE is .405 here and .533 in Table 1.",
)
SOUNDFONTS = (
    "The paper averages over six held-out Pianoteq presets (± is the spread over them). Whether a "
    "clip's other renders were in training is not said; here all renders of a take stay on one "
    "side.",
)
FUSION = (
    "The paper does not say how its weights were chosen; here on inner folds of the training side.",
    "Errors of two models share the noise of the labels: 'noise alone' is the correlation that two "
    "models would have whose own errors have nothing in common.",
)
DIMENSIONS = (
    "The paper's mean over dimensions is .601 for MuQ in figure 3 and .533 in Table 1, with the "
    "same symbolic .347: its gains add up to more than its headline.",
)
DIFFICULTY = (
    "The paper takes 508 pieces of PSyllabus (levels 0–10); here pieces of ASAP with Henle levels "
    "(1–9). Its p takes pieces of one composer as independent; our interval resamples works.",
    "It does not say what notes a second and tempo alone would give; the partial correlation does.",
)
PERFORMERS = (
    "The paper has 206 pieces and 631 recordings of ASAP linked to MAESTRO; here the same excerpt "
    "of every performer, so that the music is the same bar by bar.",
    "A spread says nothing without the spread between pieces and the noise of a label: both stand "
    "beside it.",
)
ZERO_SHOT = (
    "The paper calls 500 recordings of MAESTRO 'reasonable' without a number. Here: how far they "
    "lie from the training clips, and which are refused.",
)
BEYOND = (
    "The paper has no such rows. .577 and .171 are what three plain models on symbolic features "
    "give on segment and movement folds; .62 and .25 are this project's aims.",
)
