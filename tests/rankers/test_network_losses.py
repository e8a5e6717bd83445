"""What the networks of rankers compute, against literal twins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from rank_toys import small, toy_fold, with_frames
from torch.nn import functional

from pianoeval.losses import contrastive as contrasts
from pianoeval.losses import listwise, mixed, ordinal, pairwise
from pianoeval.losses.imbalance import FeatureSmoothing
from pianoeval.rankers.contrastive import (
    POSITIVE_SHARE,
    TRIPLET_MARGIN,
    Contrastive,
    contrast,
)
from pianoeval.rankers.networks import Weights, projection
from pianoeval.rankers.replicas import Job, Replicas
from pianoeval.rankers.sampling import Batch, Material
from pianoeval.rankers.siamese import disagreement, list_pairs, make_siamese


def _start(network: Any, **changes: Any) -> tuple[Weights, Batch]:
    """Weights and a first batch of three replicas: two of one fold, one of another."""
    params = network.params
    folds = [with_frames(toy_fold(seed=s, n_test=n), s) for s, n in ((1, 3), (0, 6))]
    material = Material(folds, params, network.reads_frames)
    jobs = [Job(0, 0, 1), Job(1, 0, 2), Job(0, 1, 1)]
    points = [params, params.model_copy(update=changes)]
    replicas = Replicas(network, material, points, jobs)
    return replicas.weights, replicas.batch(1, 0, 3)


def _siamese(comparison: str, **changes: Any) -> Any:
    return make_siamese(small(approach="siamese", comparison=comparison, dropout=0.0, **changes))


def test_antisymmetric_is_odd_to_the_bit() -> None:
    network = _siamese("antisymmetric")
    weights, batch = _start(network)
    codes = projection(weights, "shared", batch.takes.x)
    first, second = list_pairs(batch)
    ahead, back = network.logits(weights, codes, first, second)
    again = network.logits(weights, codes, second, first)[0]
    assert torch.equal(ahead, -back)
    assert torch.equal(again, -ahead)
    assert network.margins(weights, batch.takes, first, second).abs().max() > 0
    literal = (codes[2, first[2, 3]] - codes[2, second[2, 3]]) @ weights["head.w"][2].T
    torch.testing.assert_close(ahead[2, 3], literal, rtol=1e-4, atol=1e-6)


def test_concatenation_is_the_layer_of_four_blocks() -> None:
    network = _siamese("concatenation")
    weights, batch = _start(network)
    codes = projection(weights, "shared", batch.takes.x)
    first, second = list_pairs(batch)
    both = network.logits(weights, codes, first, second)
    for (a, b), found in zip(((first, second), (second, first)), both, strict=True):
        for replica in range(3):
            za, zb = codes[replica, a[replica]], codes[replica, b[replica]]
            joined = torch.cat([za, zb, za - zb, za * zb], dim=1)
            hidden = functional.gelu(
                functional.linear(
                    joined, weights["between.w"][replica], weights["between.b"][replica]
                )
            )
            literal = functional.linear(
                hidden, weights["head.w"][replica], weights["head.b"][replica]
            )
            torch.testing.assert_close(found[replica], literal, rtol=1e-4, atol=1e-5)


def test_bilinear_is_a_form_a_dimension() -> None:
    network = _siamese("bilinear")
    weights, batch = _start(network)
    codes = projection(weights, "shared", batch.takes.x)
    first, second = list_pairs(batch)
    ahead, back = network.logits(weights, codes, first, second)
    for replica in range(3):
        za, zb = codes[replica, first[replica]], codes[replica, second[replica]]
        form = weights["form"][replica]
        for found, expected in (
            (ahead, torch.einsum("pi,dij,pj->pd", za, form, zb)),
            (back, torch.einsum("pi,dij,pj->pd", zb, form, za)),
        ):
            torch.testing.assert_close(found[replica], expected, rtol=1e-4, atol=1e-6)


def _literal_beside(weights: Weights, replica: int, a: torch.Tensor, b: torch.Tensor) -> Any:
    """s(A|B) of two takes, frames (T, k) without padding, a frame at a time."""
    parts = []
    for frame in a:
        share = torch.softmax(b @ frame / a.shape[1] ** 0.5, dim=0)
        found = (share[:, None] * b).sum(dim=0)
        parts.append(torch.cat([frame, found, frame * found]))
    mean = torch.stack(parts).mean(dim=0)
    hidden = weights["between.w"][replica] @ mean + weights["between.b"][replica]
    return weights["head.w"][replica] @ functional.gelu(hidden)


def test_attention_frame_by_frame() -> None:
    network = _siamese("attention")
    weights, batch = _start(network)
    first, second = list_pairs(batch)
    found = network.margins(weights, batch.takes, first, second)
    codes, real = network._frames(weights, batch.takes)
    flat = batch.mask.flatten(1)
    checked = 0
    for replica in range(3):
        for pair in range(0, first.shape[1], 7):
            i, j = int(first[replica, pair]), int(second[replica, pair])
            if not (flat[replica, i] and flat[replica, j]):
                continue
            a, b = codes[replica, i][real[replica, i]], codes[replica, j][real[replica, j]]
            literal = _literal_beside(weights, replica, a, b) - _literal_beside(
                weights, replica, b, a
            )
            torch.testing.assert_close(found[replica, pair], literal, rtol=1e-3, atol=1e-5)
            checked += 1
    assert checked > 5


@pytest.mark.parametrize("comparison", ["antisymmetric", "concatenation", "bilinear", "attention"])
@pytest.mark.parametrize("loss", ["logistic", "margin"])
def test_pairs_are_learned_in_both_orders(comparison: str, loss: str) -> None:
    network = _siamese(comparison, loss=loss)
    weights, batch = _start(network)
    first, second = list_pairs(batch)
    if comparison == "attention":
        ahead = network.margins(weights, batch.takes, first, second)
        back = -ahead
    else:
        codes = projection(weights, "shared", batch.takes.x)
        ahead, back = network.logits(weights, codes, first, second)
    total, n = torch.zeros(3), torch.zeros(3)
    sign = 2 * batch.target.flatten(1, 2) - 1
    for logit, wanted in ((ahead, sign), (back, -sign)):
        margin = 0.2 - wanted * logit
        cost = margin.relu() if loss == "margin" else functional.softplus(-wanted * logit)
        weight = batch.weight.flatten(1, 2)
        total += (cost * weight).sum(dim=(1, 2))
        n += weight.sum(dim=(1, 2))
    found = network.loss(weights, batch)
    torch.testing.assert_close(found, total / n, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("comparison", ["antisymmetric", "concatenation", "bilinear", "attention"])
def test_replicas_do_not_mix(comparison: str) -> None:
    network = _siamese(comparison)
    weights, batch = _start(network)
    leaves = {name: value.clone().requires_grad_() for name, value in weights.items()}
    network.loss(leaves, batch)[1].backward()
    for leaf in leaves.values():
        assert leaf.grad is not None
        assert leaf.grad[[0, 2]].abs().max() == 0
    assert max(float(leaf.grad[1].abs().max()) for leaf in leaves.values()) > 0  # type: ignore[index]


def test_disagreement_counts_signs() -> None:
    ahead = torch.tensor([[[1.0, -1.0], [2.0, 0.5]]])
    back = torch.tensor([[[2.0, -3.0], [-1.0, 0.0]]])
    assert disagreement(ahead, back).tolist() == [0.5]
    network = _siamese("concatenation")
    weights, batch = _start(network)
    asymmetry = network.asymmetry(weights, batch.takes, *list_pairs(batch))
    assert ((asymmetry >= 0) & (asymmetry <= 1)).all()


def _score_losses(batch: Batch, scores: torch.Tensor) -> dict[str, torch.Tensor]:
    first, second = pairwise.all_pairs(scores.shape[2])
    apart = scores[:, :, first] - scores[:, :, second]
    y, mask, k = batch.y, batch.mask, batch.knobs
    margins = (apart, batch.target, batch.weight)
    return {
        "logistic": pairwise.logistic_loss(*margins),
        "margin": pairwise.margin_loss(*margins, k["margin"]),
        "listnet": listwise.listnet(scores, y, mask),
        "listmle": listwise.listmle(scores, y, mask),
        "lambdarank": listwise.lambdarank(scores, y, mask),
        "mse": mixed.squared(scores, y, mask),
        "mixed": mixed.mixed(scores, y, mask, k["alpha"], k["margin"], None, batch.weight),
        "ccc": mixed.anchored(scores, y, mask, k["alpha"], k["margin"], batch.weight),
    }


@pytest.mark.parametrize(
    "loss", ["logistic", "margin", "listnet", "listmle", "lambdarank", "mse", "mixed", "ccc"]
)
def test_every_loss_of_scores_is_the_one_that_is_named(loss: str) -> None:
    network = Contrastive(small(loss=loss, contrast="none", dropout=0.0))
    weights, batch = _start(network, margin=0.7, alpha=0.9)
    scores = network.scores(weights, batch.takes).reshape(batch.y.shape)
    named = _score_losses(batch, scores)
    torch.testing.assert_close(network.loss(weights, batch), named[loss])
    assert len({round(float(value[0]), 5) for value in named.values()}) == len(named)


@pytest.mark.parametrize("loss", ["coral", "corn"])
def test_ordinal_heads_have_borders_of_their_fold(loss: str) -> None:
    network = Contrastive(small(loss=loss, contrast="none", dropout=0.0))
    weights, batch = _start(network)
    scores = network.scores(weights, batch.takes)
    edges = weights["edges"]
    assert edges.shape == (3, 2, 6)
    assert torch.equal(edges[0], edges[1])
    assert not torch.equal(edges[1], edges[2])
    assert (scores >= edges[:, None, :, 0]).all()
    assert (scores <= edges[:, None, :, -1]).all()
    logits = network._logits(weights, projection(weights, "shared", batch.takes.x))
    found = ordinal.levels(batch.y.flatten(1, 2), edges)
    named = {"coral": ordinal.coral_loss, "corn": ordinal.corn_loss}[loss]
    expected = named(logits, found, batch.mask.flatten(1))
    torch.testing.assert_close(network.loss(weights, batch), expected)


@pytest.mark.parametrize("loss", ["coral", "corn"])
def test_ordinal_heads_begin_at_the_shares_of_levels(loss: str) -> None:
    """Without any weight the expected label is nearly the mean of the binned labels."""
    network = Contrastive(small(loss=loss, contrast="none"))
    weights, batch = _start(network)
    weights["head.w"].zero_()
    found = network.scores(weights, batch.takes)[0, 0]
    fold = toy_fold(seed=1, n_test=3)
    assert fold.validation is not None
    y = fold.y[fold.validation[0]]
    y = (y - y.mean(axis=0)) / y.std(axis=0)
    for d in range(2):
        borders = np.linspace(y[:, d].min(), y[:, d].max(), 6)
        middles = (borders[1:] + borders[:-1]) / 2
        level = np.clip(np.searchsorted(borders, y[:, d]) - 1, 0, 4)
        assert abs(float(found[d]) - middles[level].mean()) < 0.1


@pytest.mark.parametrize("positives", ["piece", "labels"])
@pytest.mark.parametrize("kind", ["infonce", "supcon", "triplet"])
def test_contrast_is_the_one_that_is_named(kind: Any, positives: Any) -> None:
    params = small(contrast=kind, positives=positives, dropout=0.0)
    network = Contrastive(params)
    weights, batch = _start(network, temperature=0.5, contrast_weight=2.0)
    codes = projection(weights, "shared", batch.takes.x)
    valid, piece = batch.single.flatten(1), batch.piece.flatten(1)
    same = piece[:, :, None] == piece[:, None, :]
    if positives == "labels":
        same = contrasts.label_positives(batch.y.flatten(1, 2), same, POSITIVE_SHARE, valid)
    tau = torch.tensor([0.1, 0.5, 0.1])
    expected = {
        "infonce": lambda: contrasts.info_nce(codes, same, valid, tau),
        "supcon": lambda: contrasts.supcon(codes, same, valid, tau),
        "triplet": lambda: contrasts.triplet(codes, same, valid, TRIPLET_MARGIN),
    }[kind]()
    torch.testing.assert_close(contrast(params, codes, batch), expected)
    plain = Contrastive(small(contrast="none", dropout=0.0)).loss(weights, batch)
    weight = torch.tensor([0.3, 2.0, 0.3])
    torch.testing.assert_close(network.loss(weights, batch), plain + weight * expected)


def test_smoothed_features_follow_their_statistics() -> None:
    params = small(loss="mse", contrast="none", imbalance="fds", dropout=0.0)
    network = Contrastive(params)
    weights, batch = _start(network)
    y = batch.y.flatten(1, 2).mean(dim=2)
    plain = Contrastive(small(loss="mse", contrast="none", dropout=0.0))
    torch.testing.assert_close(network.loss(weights, batch), plain.loss(weights, batch))
    network.after_epoch(weights, lambda: iter([batch, batch]))
    twin = FeatureSmoothing(weights["fds.edges"], 3, params.projection)
    codes, valid = projection(weights, "shared", batch.takes.x), batch.mask.flatten(1)
    twin.update(*(torch.cat([one, one], dim=1) for one in (codes, y, valid)))
    for name, value in twin.state().items():
        torch.testing.assert_close(weights[f"fds.{name}"], value)
    calibrated = twin.calibrate(codes, y)
    assert not torch.allclose(calibrated, codes)
    scores = calibrated @ weights["head.w"].transpose(1, 2) + weights["head.b"][:, None]
    expected = mixed.squared(scores.reshape(batch.y.shape), batch.y, batch.mask)
    torch.testing.assert_close(network.loss(weights, batch), expected)


def test_smoothed_labels_weigh_the_squared_error() -> None:
    network = Contrastive(small(loss="mse", contrast="none", imbalance="lds", dropout=0.0))
    weights, batch = _start(network)
    assert batch.label_weight is not None
    scores = network.scores(weights, batch.takes).reshape(batch.y.shape)
    weight = batch.label_weight * batch.mask[..., None]
    expected = ((scores - batch.y).square() * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))
    torch.testing.assert_close(network.loss(weights, batch), expected)
    assert np.ptp(batch.label_weight[batch.mask].numpy()) > 0.1
