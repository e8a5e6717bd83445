"""Convolutional blocks against ``torch.nn``; chunks, pairs, components and statistics by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from head_toys import fold, head
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from torch import nn

from pianoeval.errors import ConfigError
from pianoeval.features.sequences import Sequences
from pianoeval.heads import conv, statistics
from pianoeval.heads.components import components, components_of
from pianoeval.heads.networks import Layout, follow
from pianoeval.heads.sampling import Material, grid_of, mean_of_owner, pairs_of
from pianoeval.heads.statistics import clip_statistics, fit_statistics


def blocks_of(net: nn.Sequential) -> list[conv.Block]:
    return [
        conv.Block(
            net[i].weight.detach().permute(0, 2, 1).reshape(len(net[i].bias), -1).contiguous(),
            net[i].bias.detach(), net[i + 1].weight.detach(), net[i + 1].bias.detach(),
        )
        for i in range(0, len(net), 3)
    ]  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    kernel=st.integers(1, 8), stride=st.integers(1, 4), spare=st.integers(0, 40),
    clips=st.integers(2, 19), widths=st.lists(st.integers(1, 5), min_size=2, max_size=4),
)  # fmt: skip
def test_blocks_as_torch_has_them(kernel, stride, spare, clips, widths) -> None:
    torch.manual_seed(0)
    frames = 2
    for _ in widths[1:]:
        frames = (frames - 1) * stride + kernel
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Conv1d(n_in, n_out, kernel, stride), nn.BatchNorm1d(n_out), nn.ReLU()]
        nn.init.uniform_(layers[-2].weight, 0.5, 2)
        nn.init.uniform_(layers[-2].bias, 0.1, 1)
    net = nn.Sequential(*layers).double()
    x = torch.randn(clips, widths[0], frames + spare).double()
    wanted = net(x)
    slope = torch.randn_like(wanted)
    wanted.backward(slope)

    single = nn.Sequential(*layers).float()
    blocks, lanes = blocks_of(single), x.float().permute(2, 1, 0).contiguous()
    running = [conv.Moments(torch.zeros(w), torch.ones(w)) for w in widths[1:]]
    out, traces, moments = conv.forward(lanes, blocks, stride)
    follow(running, moments)
    found = conv.backward(slope.float().permute(2, 1, 0), traces, blocks, stride)

    near = {"rtol": 2e-3, "atol": 2e-3}
    torch.testing.assert_close(out.permute(2, 1, 0), wanted.float(), **near)
    for number, made in enumerate(found):
        layer, norm = layers[3 * number], layers[3 * number + 1]
        w = layer.weight.grad.permute(0, 2, 1).reshape(made.w.shape)
        scale = float(w.abs().max()) + 1
        torch.testing.assert_close(made.w / scale, w.float() / scale, **near)
        torch.testing.assert_close(made.gain / scale, norm.weight.grad.float() / scale, **near)
        torch.testing.assert_close(made.shift / scale, norm.bias.grad.float() / scale, **near)
        torch.testing.assert_close(running[number].mean, norm.running_mean.float(), **near)
        torch.testing.assert_close(running[number].variance, norm.running_var.float(), **near)
    judged = conv.infer(lanes, blocks, running, stride)
    torch.testing.assert_close(judged.permute(2, 1, 0), single.eval()(x.float()), **near)


def test_chunks_of_a_grid() -> None:
    owner, first = grid_of(np.array([10, 3, 4, 7]), 4, 3)
    assert owner.tolist() == [0, 0, 0, 1, 2, 3, 3]
    assert first.tolist() == [0, 3, 6, 0, 0, 0, 3]
    owner, first = grid_of(np.array([9]), 4, 3)
    assert first.tolist() == [0, 3, 5]  # the last one ends where the clip does
    mean = mean_of_owner(torch.tensor([[1.0], [3.0], [5.0]]), [0, 0, 1], 2)
    assert mean.tolist() == [[2.0], [5.0]]


def test_a_batch_holds_what_lies_in_the_clips() -> None:
    one, params = fold(), head("joint")
    material = Material(one, params)
    places, starts = [], set()
    for chunks, where in material.batches(4, 1):
        assert chunks.shape == (60, 1, len(where))
        assert chunks.is_contiguous()
        for lane, place in enumerate(where):
            clip = one.frames.values[one.frames.rows(int(material.fit[place]))][:, 0]
            got = chunks[:, 0, lane].numpy()
            if len(clip) <= 60:
                assert np.array_equal(got, np.pad(clip, (0, 60 - len(clip))))
            else:
                found = [s for s in range(len(clip) - 59) if np.array_equal(clip[s : s + 60], got)]
                assert len(found) == 1
                starts |= {(int(place), found[0])}
        places += where.tolist()
    assert sorted(places) == [*range(len(material.fit))]
    again = [where.tolist() for _, where in material.batches(4, 1)]
    other = [where.tolist() for _, where in material.batches(4, 2)]
    assert [p for part in again for p in part] == places
    assert other != again
    assert len(starts) > 5
    assert len({s for _, s in starts}) > 3


def test_every_start_can_be_drawn_and_no_other() -> None:
    values = np.arange(1, 6, dtype=np.float32)[:, None] / 10
    frames = Sequences(np.tile(values, (4, 1)), np.arange(4) * 5, np.full(4, 5))
    toy = fold()
    one = type(toy)("p/0", frames, np.arange(3), np.array([3]), toy.y[:3], (np.arange(2), [2]))
    material = Material(
        one, head("joint", channels=[1], kernel=3, chunk_frames=4, hop_frames=4, batches=1)
    )
    drawn = {
        round(float(v) * 10) for epoch in range(40) for chunks, _ in material.batches(0, epoch)
        for v in chunks[0, 0]
    }  # fmt: skip
    assert drawn == {1, 2}


def test_pitch_is_shifted_where_there_is_one() -> None:
    one = fold()
    plain = Material(one, head("joint"))
    moved = Material(one, head("joint", pitch_shift_semitones=2.0))
    for (still, _), (shifted, _) in zip(plain.batches(0, 1), moved.batches(0, 1), strict=True):
        apart = ((shifted - still) * 127).numpy()[:, 0]
        voiced = still.numpy()[:, 0] != 0
        assert (apart[~voiced] == 0).all()
        for lane in range(apart.shape[1]):
            here = apart[voiced[:, lane], lane]
            assert np.ptp(here) < 1e-4
            assert 0 < abs(here[0]) <= 2
    columns = head("joint", columns=["voiced"])
    columns = columns.model_copy(update={"pitch_shift_semitones": 2.0})
    unmoved = Material(one, columns)
    for (still, _), (same, _) in zip(plain.batches(0, 1), unmoved.batches(0, 1), strict=True):
        assert torch.equal(still, same)


def test_pairs_are_neighbours_in_a_random_sequence() -> None:
    pairs = pairs_of(0, 1, 2, 9).numpy()
    assert pairs.shape == (9, 2)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert sorted(pairs[:, 0]) == sorted(pairs[:, 1]) == [*range(9)]
    assert not np.array_equal(pairs, pairs_of(0, 1, 3, 9).numpy())


def test_initial_weights_are_those_of_torch() -> None:
    layout = Layout(head("joint", channels=[40, 60]), 8, 2)
    row = layout.initial(0)
    for name, fan_in in (("0.w", 40), ("0.bias", 40), ("1.w", 200), ("linear.w", 60)):
        values = layout.get(row, name).flatten() * fan_in**0.5
        assert values.abs().max() <= 1
        assert values.abs().max() > 0.9
        assert abs(float(values.var()) - 1 / 3) < 0.12
    assert (layout.get(row, "1.gain") == 1).all()
    assert (layout.get(row, "1.shift") == 0).all()
    assert all(part.start % 16 == 0 for part in layout.parts.values())
    assert not torch.equal(row, layout.initial(1))


def test_components_as_sklearn_has_them() -> None:
    one = fold(width=5)
    train = one.train
    rows = np.concatenate([one.frames.values[one.frames.rows(int(c))] for c in train])
    oracle = PCA(3).fit(rows.astype(np.float64))
    found = components(one.frames, train, 3)
    wanted = oracle.transform(one.frames.values.astype(np.float64))
    wanted /= wanted[np.isin(np.repeat(np.arange(30), one.frames.length), train), 0].std()
    signs = np.sign((found * wanted).sum(axis=0))
    np.testing.assert_allclose(found * signs, wanted, atol=1e-4)
    with pytest.raises(ConfigError, match="6 components"):
        components(one.frames, train, 6)
    assert components_of(one, 3) is components_of(one, 3)
    assert np.array_equal(components_of(one, 3), found)
    assert components_of(one, 2).shape[1] == 2
    assert not np.array_equal(components_of(fold(width=5, seed=1), 3)[:50], found[:50])


def test_statistics_of_a_clip_by_hand() -> None:
    pitch = np.array([0.5, 0.6, 0.0, 0.4, 0.5], np.float32)[:, None]
    found = clip_statistics(pitch, 0)
    voiced = np.array([0.5, 0.6, 0.4, 0.5])
    assert found[0] == pytest.approx(voiced.mean())
    assert found[1] == pytest.approx(voiced.std())
    assert found[2:7] == pytest.approx(np.quantile(voiced, (0.05, 0.25, 0.5, 0.75, 0.95)))
    assert found[7] == pytest.approx(0.1)  # between voiced neighbours alone
    assert found[-2] == pytest.approx(0.2)  # share of unvoiced frames
    mixed = np.column_stack([np.linspace(0, 1, 5), pitch[:, 0]]).astype(np.float32)
    assert np.array_equal(clip_statistics(mixed, 1)[len(found) :], found)
    assert np.array_equal(clip_statistics(mixed, 1)[: len(found)], clip_statistics(mixed[:, :1]))
    silent = clip_statistics(np.zeros((4, 1), np.float32), 0)
    assert np.isnan(silent[:7]).all()
    assert silent[-2] == 1
    assert clip_statistics(pitch)[0] == pytest.approx(0.4)  # of other values zeros are values


def test_the_control_is_ridge_of_sklearn() -> None:
    one, params = fold(60), head("statistics")
    made = fit_statistics([one], params, [0, 7])[0]
    table = np.stack([clip_statistics(clip, 0) for clip in one.frames]).astype(np.float64)
    fit, held = one.validation
    for d in range(2):
        errors = []
        for share in statistics.PENALTIES:
            scaler = StandardScaler().fit(table[one.train[fit]])
            ridge = Ridge(share * len(fit)).fit(
                scaler.transform(table[one.train[fit]]), one.y[fit, d]
            )
            guess = ridge.predict(scaler.transform(table[one.train[held]]))
            errors.append(np.square(guess - one.y[held, d]).mean())
        share = statistics.PENALTIES[int(np.argmin(errors))]
        assert made.selection["lambda"][0, d] == share
        assert made.validation[1, d] == pytest.approx(min(errors), rel=1e-4)
        scaler = StandardScaler().fit(table[one.train])
        ridge = Ridge(share * len(one.train)).fit(scaler.transform(table[one.train]), one.y[:, d])
        wanted = ridge.predict(scaler.transform(table[one.test]))
        np.testing.assert_allclose(made.predicted[0, d], wanted, rtol=1e-4)
    assert np.array_equal(made.predicted[0], made.predicted[1])
