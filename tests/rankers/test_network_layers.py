"""Batched layers and Adam against torch's own, a replica at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pianoeval.rankers.adam import Adam
from pianoeval.rankers.networks import Initial, pick, projection


def test_projection_is_the_module_of_torch() -> None:
    drawn = [Initial(seed) for seed in (1, 2, 3)]
    for one in drawn:
        one.projection("p", 5, 7, 4)
    weights = {name: torch.stack([one.weights[name] for one in drawn]) for name in drawn[0].weights}
    weights["p.norm.gain"] += torch.rand(3, 7)
    weights["p.norm.shift"] += torch.rand(3, 7)
    x = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0))
    found = projection(weights, "p", x)
    for replica in range(3):
        module = torch.nn.Sequential(
            torch.nn.Linear(5, 7), torch.nn.LayerNorm(7), torch.nn.GELU(), torch.nn.Linear(7, 4)
        )
        names = ["p.in.w", "p.in.b", "p.norm.gain", "p.norm.shift", "p.out.w", "p.out.b"]
        with torch.no_grad():
            for parameter, name in zip(module.parameters(), names, strict=True):
                parameter.copy_(weights[name][replica])
        torch.testing.assert_close(found[replica], module(x[replica]), rtol=1e-5, atol=1e-6)


def test_first_outputs_begin_alike_whatever_their_number() -> None:
    few, many = Initial(7), Initial(7)
    few.linear("head", 4, 3)
    many.linear("head", 4, 9)
    assert torch.equal(few.weights["head.w"], many.weights["head.w"][:3])
    assert torch.equal(few.weights["head.b"], many.weights["head.b"][:3])
    assert few.weights["head.w"].abs().max() <= 0.5  # 1/√4


def test_streams_of_layers_differ() -> None:
    start = Initial(7)
    start.linear("a", 4, 3)
    start.linear("b", 4, 3)
    assert not torch.equal(start.weights["a.w"], start.weights["b.w"])


@pytest.mark.parametrize("decay", [(0.0, 0.0, 0.0), (0.1, 0.0, 0.5)])
def test_adam_is_one_optimiser_a_replica(decay: tuple[float, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {"w": torch.randn(3, 4, 2, generator=generator)}
    rates = torch.tensor([0.1, 0.01, 0.3])
    alone = [torch.nn.Parameter(w.clone()) for w in weights["w"]]
    optimisers = [
        torch.optim.Adam([parameter], lr=float(rate), weight_decay=one)
        for parameter, rate, one in zip(alone, rates, decay, strict=True)
    ]
    adam = Adam(weights, rates, torch.tensor(decay))
    for step in range(6):
        active = 2 if step in (1, 4) else 3  # the last replica waits: its moments must not move
        gradient = torch.randn(active, 4, 2, generator=generator)
        adam.step({"w": gradient})
        for number in range(active):
            alone[number].grad = gradient[number].clone()
            optimisers[number].step()
    for number in range(3):
        torch.testing.assert_close(weights["w"][number], alone[number].data, rtol=1e-5, atol=1e-6)


def test_adam_goes_on_without_the_replicas_that_stopped() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {"w": torch.randn(3, 4, generator=generator)}
    gradients = torch.randn(5, 3, 4, generator=generator)
    whole = {"w": weights["w"].clone()}
    settings = torch.tensor([0.1, 0.2, 0.3]), torch.zeros(3)
    kept = torch.tensor([True, False, True])
    all_along, cut = Adam(whole, *settings), Adam(weights, *settings)
    for step, gradient in enumerate(gradients):
        all_along.step({"w": gradient})
        if step == 2:
            weights = {"w": weights["w"][kept]}
            cut.keep(kept, weights)
        cut.step({"w": gradient if step < 2 else gradient[kept]})
    torch.testing.assert_close(weights["w"], whole["w"][kept], rtol=0, atol=0)


def test_pick_takes_rows_of_each_replica() -> None:
    values = torch.randn(2, 5, 3)
    index = torch.tensor([[4, 0], [1, 1]])
    expected = np.stack([values[0][[4, 0]].numpy(), values[1][[1, 1]].numpy()])
    np.testing.assert_array_equal(pick(values, index).numpy(), expected)
