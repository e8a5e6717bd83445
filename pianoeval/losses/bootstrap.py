r"""Bootstrapped targets: a label is softened by what the model itself predicts.

Reed et al. 2014 (arXiv:1412.6596, section 3.2) train classifiers on noisy labels t with

* soft: :math:`-\sum_k [\beta t_k + (1 - \beta) q_k] \log q_k`,
* hard: :math:`-\sum_k [\beta t_k + (1 - \beta) z_k] \log q_k`, z one-hot where q is largest,

q the predicted distribution. The soft second term is the entropy of q: predictions are drawn to
certainty. They used :math:`\beta = .95` (soft) and :math:`.8` (hard).

``bootstrap`` is the form that has been proposed for regression,
:math:`\beta\,\mathrm{MSE}(y, \hat y) + (1 - \beta)\,\mathrm{MSE}(\hat y, \hat y)`. **Its
second term is 0, so it is** :math:`\beta\,\mathrm{MSE}`: the same minimum, a smaller gradient, to
whose size Adam is blind but for its weight decay, which then counts 1/β-fold. Nor does anything
else follow from Reed et al. for squared errors: with the softened target :math:`\beta y + (1 -
\beta) \hat y` the error is :math:`\beta (y - \hat y)`, and of a Gaussian of fixed width the entropy
is constant.

``bootstrap_soft`` and ``bootstrap_hard`` are Reed's own forms, for two classes: a rating is
taken as the chance that the playing is above the average, :math:`t = \sigma(y)`,
:math:`q = \sigma(\hat y)` (y standardised, :math:`\sigma` the logistic function), a dimension at a
time. At :math:`\beta = 1` both are the cross-entropy, least where :math:`\hat y = y`; below, the
least is farther from the mean than y, which counteracts the shrinking of predictions to the mean.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from pianoeval.losses.rows import mean


def squared(output: Tensor, target: Tensor, counted: Tensor, beta: float) -> Tensor:
    """The form for regression: ``beta`` times the mean squared error."""
    return beta * mean((output - target).square(), counted)


def soft(output: Tensor, target: Tensor, counted: Tensor, beta: float) -> Tensor:
    """Reed's soft form; the gradient flows through the prediction in the target too."""
    return _cross_entropy(output, beta * target.sigmoid() + (1 - beta) * output.sigmoid(), counted)


def hard(output: Tensor, target: Tensor, counted: Tensor, beta: float) -> Tensor:
    """Reed's hard form; a prediction at the mean counts as above it."""
    certain = (output >= 0).to(output.dtype)
    return _cross_entropy(output, beta * target.sigmoid() + (1 - beta) * certain, counted)


def _cross_entropy(output: Tensor, chance: Tensor, counted: Tensor) -> Tensor:
    return mean(-chance * logsigmoid(output) - (1 - chance) * logsigmoid(-output), counted)
