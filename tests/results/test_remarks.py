"""What is said of scores that hide something."""

from dataclasses import replace

from mer_lightning.files.recorded import AllScores, Data, Results, Round
from mer_lightning.results.remarks import score_remarks
from tests.scores import made_scores


def results_of(*validation: AllScores, test: AllScores | None = None) -> Results:
    """A run with these rounds, the last the chosen one."""
    sets = {"test": test or made_scores()}
    rounds = [
        Round(i, 9, 1.0, 1, 1, 1.0, [1], 0.5, 0.0, s, [s], sets, 0.0, []) for i, s in enumerate(validation)
    ]
    return Results(
        experiment="pnao", seed=0, folds=2, protocol="paper", transductive=False,
        data=Data("made", False, ["angry", "sad"], {"a": 1}, {}, {"train": 1, "test": 1}),
        rounds=rounds, best_round=len(rounds) - 1, chosen_by="best", validation=validation[-1], test=sets,
        single={}, versions={}, seconds=1.0,
    )  # fmt: skip


def test_nothing_is_said_of_good_scores() -> None:
    assert score_remarks(results_of(made_scores()), "Train&Val") == []
    assert score_remarks(results_of(made_scores(dim=None, com=None)), "Train&Val") == []


def test_emotions_never_recognised_are_named_and_missing_ones_are_not() -> None:
    blind = replace(
        made_scores(), recall={"angry": 0.0, "sad": 0.0}, f1={"angry": 0.0, "sad": 0.0, "joy": 0.0}
    )
    (said,) = score_remarks(results_of(made_scores(), test=blind), "Train&Val")
    assert said.startswith("angry and sad are never recognised on test: UAR is 0.5000")


def test_valence_worse_than_a_constant_is_said_so() -> None:
    (said,) = score_remarks(results_of(replace(made_scores(), skill=-0.2)), "Train&Val")
    assert said.startswith("Valence on Train&Val is worse than a constant")
    assert "skill -0.200" in said


def test_where_dim_outweighs_dis_com_is_said_to_follow_the_units() -> None:
    (large,) = score_remarks(results_of(made_scores(dim=3.0)), "Train&Val")
    assert large.startswith("0.25 Dim is larger than Dis (0.7500 against 0.5000)")
    (varied,) = score_remarks(results_of(made_scores(dim=1.4), made_scores(dis=0.51)), "Train&Val")
    assert "varies more over the rounds" in varied
    assert score_remarks(results_of(made_scores(dim=1.04), made_scores(dis=0.6)), "Train&Val") == []
