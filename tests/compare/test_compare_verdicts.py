"""The sentence follows the numbers: every case, from the numbers alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pianoeval.compare.paired import ALL_ROWS, Comparison
from pianoeval.compare.verdict import number, probability, scheme_verdict, signed

NAN = float("nan")
ROW = Comparison(
    scheme="player", a="x/ridge", b="x/ridge", value_a=0.1, value_b=0.131, difference=0.031,
    ci_low=0.012, ci_high=0.052, interval="content×player", p_permutation=0.002,
    q_permutation=NAN, smallest_p=1e-4, n_clips=100, n_clusters=20, unit="", n_units=0,
    n_units_ahead=0, n_units_behind=0, p_unit=NAN, same=False,
)  # fmt: skip


def words(**changes: object) -> str:
    return scheme_verdict([replace(ROW, **changes)], "r2_pooled", 0.95)


def test_both_must_bear_it_out() -> None:
    assert words() == "B is better on player folds: R² +.031 (95 % .012 to .052), p = .002."
    worse = words(difference=-0.031, ci_low=-0.052, ci_high=-0.012)
    assert worse == "A is better on player folds: R² −.031 (95 % −.052 to −.012), p = .002."
    assert words(p_permutation=0.08) == (
        "No difference is shown on player folds: R² +.031 (95 % .012 to .052), p = .080; the "
        "permutation test does not bear it out."
    )
    assert "p = .002; the interval does not bear it out." in words(ci_low=-0.001)
    assert "(no interval), p = .002; no interval bears it out." in words(ci_low=NAN, ci_high=NAN)
    assert words(p_permutation=0.05).startswith("B is better")  # 1 − .95 is not quite .05


def test_what_is_not_excluded_is_rounded_up() -> None:
    text = words(difference=0.004, ci_low=-0.020, ci_high=0.0291, p_permutation=0.71)
    assert text == (
        "No difference is shown on player folds: R² +.004 (95 % −.020 to .029), p = .710; "
        "that B is better by up to .03 or worse by up to .02 is not excluded."
    )
    small = words(ci_low=-0.0031, ci_high=0.001, p_permutation=0.7)
    assert "better by up to .001 or worse by up to .004 is" in small


def test_too_few_groups_are_named_before_anything_else() -> None:
    few = words(n_clusters=4, smallest_p=0.125, p_permutation=0.125)
    assert few == (
        "Too few clusters on player folds: with 4 content groups nothing below p = .125 can be "
        "found; R² +.031 (95 % .012 to .052)."
    )
    # Many groups, but the runs differ in three of them.
    assert "the few content groups (of 20) in which A and B differ nothing below p = .250" in words(
        smallest_p=0.25, p_permutation=0.25
    )


def test_other_predictions_may_score_the_same() -> None:
    text = words(difference=0.0, smallest_p=1.0, p_permutation=1.0, n_units=4, unit="movement")
    assert text == (
        "No difference is shown on player folds: A and B score the same in every content group."
    )


@pytest.mark.parametrize(
    ("units", "ahead", "text"),
    [
        (4, 3, "B is ahead in 3 of the 4 movements; 4 allow no test below p = .125, so nothing"),
        (4, 0, "B is ahead in none of the 4 movements; 4 allow"),
        (8, 8, "B is ahead in all 8 movements (exchanging whole movements: p = .008)."),
    ],
)
def test_held_out_movements_have_their_own_sentence(units: int, ahead: int, text: str) -> None:
    found = words(
        scheme="movement", unit="movement", n_units=units, n_units_ahead=ahead, p_unit=0.0078
    )
    assert found.startswith("B is better on movement folds")
    assert text in found


def test_the_held_out_movements_are_those_of_the_run_that_is_ahead() -> None:
    """One movement is level, so what B is not ahead in is not all A's."""
    units = {"unit": "movement", "n_units": 4, "n_units_ahead": 0, "n_units_behind": 3}
    text = words(difference=-0.031, ci_low=-0.052, ci_high=-0.012, **units)
    assert text.startswith("A is better on player folds")
    assert "A is ahead in 3 of the 4 movements" in text
    assert "B is ahead" not in text
    assert "B is ahead in none of the 4 movements" in words(**units)


def test_rows_are_judged_by_q_and_their_mean_by_p() -> None:
    rows = [
        replace(ROW, a="a/ridge", q_permutation=0.01),
        replace(ROW, a="b/ridge", p_permutation=0.03, q_permutation=0.06),
        replace(ROW, a="c/ridge", difference=-0.1, ci_low=-0.2, ci_high=-0.05, q_permutation=0.01),
        replace(ROW, a="d/ridge", same=True),
    ]
    mean = replace(ROW, a=ALL_ROWS, difference=-0.01, ci_low=-0.03, ci_high=0.01, p_permutation=0.5)
    assert scheme_verdict([*rows, mean], "r2_pooled", 0.95) == (
        "No difference is shown on player folds (mean of 3 rows): R² −.010 (95 % −.030 to .010), "
        "p = .500; that B is better by up to .01 or worse by up to .03 is not excluded. Row by "
        "row, adjusted for their number: B is better in 1 of 3: a/ridge +.031 (q = .010); A is "
        "better in 1 of 3: c/ridge −.100 (q = .010). 1 row predicts the same in both runs."
    )
    single = scheme_verdict([rows[1], rows[3]], "r2_pooled", 0.95)
    assert single.startswith("B is better on player folds (b/ridge alone differs): ")
    worse = scheme_verdict([rows[1], rows[2], mean], "r2_pooled", 0.95)
    assert worse.endswith("number: A is better in 1 of 2: c/ridge −.100 (q = .010); B in none.")
    none = [replace(row, q_permutation=0.5) for row in rows[:2]]
    assert "no difference is shown in any of 2, adjusted" in (
        scheme_verdict([*none, mean], "r2_pooled", 0.95)
    )


def test_significant_is_never_said_and_numbers_are_short() -> None:
    assert "significant" not in words()
    assert [signed(v) for v in (0.031, -0.02, 0.0001, -0.0001, 1.25)] == [
        "+.031", "−.020", ".000", ".000", "+1.250",
    ]  # fmt: skip
    assert number(NAN) == "–"
    assert [probability("p", v) for v in (0.0004, 0.125, 1.0)] == [
        "p < .001",
        "p = .125",
        "p = 1.000",
    ]
