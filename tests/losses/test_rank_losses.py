"""What holds of every loss of rankers: gradients, replicas, padding, and inputs that are alike."""

from __future__ import annotations

import pytest
import torch

from tests.losses.rank_cases import NAMES, REPLICAS, case

EACH = pytest.mark.parametrize("name", NAMES)


@EACH
@pytest.mark.parametrize("seed", range(2))
def test_gradcheck(name: str, seed: int) -> None:
    one = case(name, seed)
    assert torch.autograd.gradcheck(one.value, one.x.clone().requires_grad_())


@EACH
def test_one_number_a_replica_and_replicas_do_not_mix(name: str) -> None:
    together = case(name)
    value, gradient = together.value(), together.gradient()
    assert value.shape == (REPLICAS,)
    for replica in range(REPLICAS):
        alone = together.of(replica)
        torch.testing.assert_close(alone.value()[0], value[replica])
        torch.testing.assert_close(alone.gradient()[0], gradient[replica])
    assert gradient[0].abs().max() > 0


@EACH
@pytest.mark.parametrize("junk", [1e6, torch.nan, torch.inf])
def test_what_padding_holds_is_not_read(name: str, junk: float) -> None:
    one = case(name)
    padding = ~one.takes.reshape(*one.takes.shape, *([1] * (one.x.ndim - one.takes.ndim)))
    filled = one.at(one.x.masked_fill(padding, junk))
    assert torch.equal(filled.value(), one.value())
    found = filled.gradient()
    assert torch.equal(found, one.gradient())
    assert (found.masked_select(padding) == 0).all()


@EACH
def test_nothing_counted_is_nothing(name: str) -> None:
    one = case(name).of(2)
    assert one.value().tolist() == [0.0]
    assert (one.gradient() == 0).all()


@EACH
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("fill", [0.0, 1.0, -50.0])
def test_finite_where_all_is_alike(name: str, kind: torch.dtype, fill: float) -> None:
    one = case(name)
    level = one.at(torch.full_like(one.x, fill).to(kind))
    assert level.x.dtype == level.value().dtype == kind
    assert torch.isfinite(level.value()).all()
    assert torch.isfinite(level.gradient()).all()


@EACH
def test_finite_where_it_is_certain(name: str) -> None:
    """Scores far apart, in single precision: exponentials would overflow."""
    one = case(name)
    for scale in (1e2, 1e4):
        far = one.at((one.x * scale).float())
        assert torch.isfinite(far.value()).all()
        assert torch.isfinite(far.gradient()).all()


@EACH
def test_single_precision_is_double_rounded(name: str) -> None:
    one = case(name)
    torch.testing.assert_close(
        one.at(one.x.float()).value().double(), one.value(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    "name", ["margin", "ordered", "mixed", "anchored", "info_nce", "supcon", "triplet"]
)
def test_parameters_of_replicas_are_those_of_the_replica(name: str) -> None:
    """A number and a tensor of one number a replica are the same."""
    one = case(name)
    n = sum(part.ndim == 1 for part in one.rest)
    for replica in range(2):
        alone = one.of(replica)
        plain = tuple(float(part[0]) for part in alone.rest[-n:])
        found = one.loss(alone.x, *alone.rest[:-n], *plain)
        torch.testing.assert_close(found, alone.value())
        other = one.loss(alone.x, *alone.rest[:-n], *(2 * value for value in plain))
        assert (other - found).abs().max() > 1e-6
