"""The sentences say what the intervals bear, and no more."""

from dataclasses import replace

import numpy as np
import pytest

from mer_lightning.report.costs import Cost
from mer_lightning.report.pairs import Comparison, corrected
from mer_lightning.report.power import Reach
from mer_lightning.report.prose import cost_sentence, power_sentence, verdict_sentence
from mer_lightning.report.statistics import Components, Difference, holm


def difference(low: float, high: float, seeds: int = 5, clusters: int = 100) -> Difference:
    """One whose 95 % interval is as given."""
    half = (high - low) / 2 / (Difference(0, Components(0, 1, 0), 1, clusters).interval()[1])
    one = Difference((low + high) / 2, Components(0, half**2, 0), 1, clusters)
    assert one.interval() == pytest.approx((low, high))
    return replace(one, seeds=seeds)


def comparison(low: float, high: float, **others: int) -> Comparison:
    differences = {"dis": None, "dim": None, "com": difference(low, high, **others)}
    return Comparison("pnao", "enf", "?", "test1", "com", [0], differences, "speakers", [])


def cost(low: float, high: float, **others: int) -> Cost:
    return Cost(**vars(comparison(low, high, **others)), rounds=(3, 4), parameters_ratio=0.6)


def test_sentences_never_claim_more_than_the_corrected_interval() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        c = replace(comparison(*np.sort(rng.normal(0, 0.02, 2))), alpha=rng.uniform(0.001, 0.05))
        assert c.difference is not None
        low, high = c.difference.interval(c.alpha)
        sentence = verdict_sentence(c)
        if low <= 0 <= high:
            assert "better" not in sentence
            assert "worse" not in sentence
            assert sentence.startswith("No difference shown between pnao and enf")
            assert ("loss" in sentence) == (low > -0.01)
            assert ("gain of 0.01 or more is ruled out" in sentence) == (high < 0.01)
        else:
            assert sentence.startswith(f"pnao is {'better' if low > 0 else 'worse'} than enf")


@pytest.mark.parametrize(
    ("lacking", "counts"), [("speakers", {"clusters": 9}), ("seeds", {"seeds": 2}), ("seeds", {"seeds": 1})]
)
def test_too_little_gives_no_verdict(lacking: str, counts: dict[str, int]) -> None:
    for c in (comparison(0.1, 0.2, **counts), cost(0.1, 0.2, **counts)):
        assert c.verdict == f"too few {lacking} to tell"
        assert c.p is None
    sentence = verdict_sentence(comparison(0.1, 0.2, **counts))
    assert sentence.startswith(f"Too few {lacking} to tell pnao and enf apart: Com +0.1500")
    assert "interval" not in sentence
    assert f"too few {lacking} to tell" in cost_sentence(cost(0.1, 0.2, **counts))
    nothing = replace(comparison(0, 1), measure="dis")
    assert "cannot be compared" in verdict_sentence(nothing)


def test_a_family_is_corrected_together_without_what_has_no_test() -> None:
    tests = [
        comparison(0.001, 0.02), comparison(0.01, 0.02), comparison(0, 1, clusters=5), cost(-0.009, 0.02),
    ]  # fmt: skip
    found = corrected(tests)
    ps = [test.p for test in tests if test.p is not None]
    assert [c.alpha for c in found if c.p is not None] == holm(ps)
    assert {c.family for c in found} == {3}
    assert tests[0].verdict == "better"
    assert [c.verdict for c in found] == [
        "no difference shown", "better", "too few speakers to tell", "not shown",
    ]  # fmt: skip


def test_no_loss_is_one_that_is_ruled_out() -> None:
    assert cost(-0.009, 0.02).verdict == "yes"
    assert cost(-0.011, 0.02).verdict == "not shown"
    assert cost(-0.03, -0.011).verdict == "no"
    sentence = cost_sentence(cost(-0.009, 0.02))
    assert "keeps 60.0% of its parameters" in sentence
    assert "(3, 4): a loss of 0.01 Com or more against enf is ruled out." in sentence
    assert "is not ruled out" in cost_sentence(cost(-0.02, 0.02))
    assert "a loss of 0.01 Com or more against enf is shown." in cost_sentence(cost(-0.03, -0.011))


def test_power_is_told_with_its_numbers() -> None:
    rows = [Reach("speakers", 24, 5, 0.003, 0.0213), Reach("clips", 411, 20, 0.003, 0.0312)]
    sentence = power_sentence(rows, "com")
    assert "0.0213 Com with 24 speakers and 5 seeds; 0.0312 Com with 411 clips and 20 seeds" in sentence
