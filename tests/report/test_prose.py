"""The sentences say what the intervals bear, and no more."""

from dataclasses import replace

import numpy as np

from mer_lightning.report.pairs import Comparison, SizeStep
from mer_lightning.report.prose import pair_cautions, size_answer, verdict_sentence
from mer_lightning.report.statistics import Difference, Estimate


def comparison(low: float, high: float, measure: str = "com") -> Comparison:
    d = Difference((low + high) / 2, low, high, 0.1)
    return Comparison(
        "pnao", "enf", "?", "test1", [0], {"dis": None, "dim": None, "com": None} | {measure: d},
        {"dis": None, "dim": None, "com": None}, "utterances", 100, [],
    )  # fmt: skip


def test_sentences_never_claim_more_than_the_interval() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        low, high = np.sort(rng.normal(0, 0.02, 2))
        measure = ("dis", "dim", "com")[rng.integers(3)]
        sentence = verdict_sentence(comparison(low, high, measure), measure)
        if low <= 0 <= high:
            assert "better" not in sentence
            assert "worse" not in sentence
            assert sentence.startswith("No difference shown between pnao and enf")
            if "loss of 0.01 or more is ruled out" in sentence:
                assert low > -0.01
        else:
            good = (low > 0) != (measure == "dim")
            assert sentence.startswith(f"pnao is {'better' if good else 'worse'} than enf")


def test_what_an_empty_interval_rules_out() -> None:
    assert "A loss or a gain of 0.01 or more is ruled out." in verdict_sentence(
        comparison(-0.005, 0.005), "com"
    )
    assert "A loss of 0.01" in verdict_sentence(comparison(-0.005, 0.05), "com")
    assert "ruled out" not in verdict_sentence(comparison(-0.05, 0.05), "com")
    assert "ruled out" not in verdict_sentence(comparison(-0.005, 0.005, "dim"), "dim")
    assert "cannot be compared" in verdict_sentence(comparison(0, 1, "dis"), "com")


def test_the_smallest_size_is_one_whose_loss_is_ruled_out() -> None:
    steps = [
        SizeStep(1, 0.8, Difference(0.0, -0.005, 0.005, 0.5)),
        SizeStep(2, 0.6, Difference(0.0, -0.009, 0.009, 0.5)),
        SizeStep(3, 0.4, Difference(0.01, -0.02, 0.04, 0.3)),
    ]
    answer = size_answer("pnao", steps, "test1", "com")
    assert answer.verdict == "60.0%"
    assert "round 2" in answer.sentence
    assert size_answer("pnao", steps[2:], "test1", "com").verdict == "not shown"


def test_a_difference_that_seeds_alone_do_not_show_is_marked() -> None:
    sure = comparison(0.01, 0.02)
    assert pair_cautions(sure, "com") == []
    wide = replace(sure, by_seed={"com": Estimate(0.015, 0.03, 3)})
    assert "more seeds would settle it" in pair_cautions(wide, "com")[0]
    assert pair_cautions(replace(sure, by_seed={"com": Estimate(0.015, 0.01, 3)}), "com") == []
    other = replace(sure, other_settings=["trainer.epochs: 30 and 10"])
    assert "trainer.epochs: 30 and 10" in pair_cautions(other, "com")[0]
