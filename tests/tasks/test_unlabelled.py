"""The split ``unlabelled``: learnt from by label revision, never in validation, never scored."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mer_lightning.config.groups import RevisionConfig
from mer_lightning.data.corpus import UNLABELLED
from mer_lightning.data.datamodule import FoldData
from mer_lightning.data.folds import draw_folds
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.model.base import Decision
from mer_lightning.model.decisions import RowDecisions
from mer_lightning.tasks import evaluate
from mer_lightning.training.crossval import ready
from mer_lightning.training.outcome import read_part, read_record
from mer_lightning.training.revision import flattered, most_agreed, revise_labels
from tests.conftest import SMALL, composed, folder_overrides, write_folder
from tests.tasks.helpers import table, trained

REVISED = ("revision.rounds=2", "pnao.rounds=2", "+experiment=pnao")


def with_unlabelled(folder: Path, name: str = UNLABELLED) -> Path:
    """Every fourth utterance of train in a split ``unlabelled``, its labels left in the file."""
    labels = folder / "labels.csv"
    lines = labels.read_text(encoding="utf-8").splitlines()
    hidden = [
        line.replace(",train,", f",{name},") if i % 4 == 0 and i else line for i, line in enumerate(lines)
    ]
    labels.write_text("\n".join(hidden) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_unlabelled(write_folder(tmp_path_factory.mktemp("unlabelled") / "data", n=80))


@pytest.fixture(scope="module")
def run(data: Path) -> RunDirectory:
    return trained(composed(*folder_overrides(data), *SMALL, *REVISED), data.parent / "run")


@pytest.mark.parametrize("overrides", [[], ["data.tests=[]"], ["data.tests=[test]"]])
def test_it_is_apart_from_training_and_tests(data: Path, overrides: list[str]) -> None:
    config = composed(*folder_overrides(data), *overrides)
    corpus = read_corpus(config.data)
    rows = corpus.rows([UNLABELLED])
    assert len(rows) > 10
    assert not corpus.tests or corpus.tests == ["test"]
    assert (corpus.emotions[rows] == -1).all()
    assert np.isnan(corpus.valences[rows]).all()
    folds = draw_folds(corpus, 2, 0)
    fold = FoldData(corpus, folds, 0, "paper", 8)
    for part in (fold.train_rows, fold.stopping_rows, fold.held_out_rows, fold.test_rows):
        assert not np.isin(part, rows).any()
    np.testing.assert_array_equal(fold.unlabelled_rows, rows)


def test_both_spellings_are_taken_and_it_is_no_test_set(tmp_path: Path) -> None:
    folder = with_unlabelled(write_folder(tmp_path / "data"), "Unlabeled")
    assert len(read_corpus(composed(*folder_overrides(folder)).data).rows([UNLABELLED]))
    with pytest.raises(UserError, match=r"no utterance of .* is in test set 'unlabelled'"):
        read_corpus(composed(*folder_overrides(folder), "data.tests=[unlabelled]").data)


def test_the_chosen_are_agreed_on_sure_and_balanced() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(100, 3)) * 3 + rng.normal(size=(4, 100, 3)) + np.array([2.0, 0.0, -3.0])
    log_posteriors = torch.from_numpy(logits).log_softmax(-1)
    posteriors = log_posteriors.exp().numpy()
    votes = posteriors.argmax(axis=2)
    agreed = np.flatnonzero((votes == votes[0]).all(axis=0))
    chosen = most_agreed(log_posteriors, 0.6).numpy()
    sizes = []
    for c in range(3):
        candidates = [r for r in agreed if votes[0, r] == c]
        best = sorted(candidates, key=lambda r: -posteriors[:, r, c].mean())[:20]  # 0.6 * 100 / 3
        assert set(best) == {r for r in chosen if votes[0, r] == c}
        sizes.append(len(best))
    assert sizes[0] == 20
    assert 0 < sizes[2] < 20  # rare: all that there are
    assert most_agreed(log_posteriors, 0.0).tolist() == []


def test_every_fold_learns_the_same_labels_of_unlabelled_rows(data: Path) -> None:
    corpus = read_corpus(composed(*folder_overrides(data)).data)
    fold = FoldData(corpus, draw_folds(corpus, 2, 0), 0, "paper", 8)
    n = len(corpus.utterances)
    before = []
    for seed in (0, 1):
        logits = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
        decision = Decision(
            logits.log_softmax(-1), torch.zeros(n), torch.ones(n, 1), torch.zeros(n, 0, 3), torch.zeros(n, 0)
        )
        before.append(RowDecisions(torch.arange(n), decision))
    known = fold.train_rows.copy()
    revise_labels(fold, before, 1, RevisionConfig(rounds=1, share=1.0))
    new = fold.train_rows[len(known) :]
    assert len(new)
    assert set(new) <= set(corpus.rows([UNLABELLED]))
    for part in before:
        np.testing.assert_array_equal(fold.emotion[new], part.decision.log_posterior[new].argmax(-1))
    assert np.isnan(fold.valence[new]).all()


def test_revision_then_pnao(run: RunDirectory, data: Path) -> None:
    results = run.read_results()
    assert not results.transductive
    assert "flatters Train&amp;Val, much" in run.report.read_text(encoding="utf-8")
    assert results.data.n[UNLABELLED] > 10
    assert results.test.keys() == {"test"}
    for fold in (0, 1):
        records = [read_record(run.round(fold, number)) for number in range(5)]
        prunable = [r.prunable for r in records]
        assert prunable[0] == prunable[1] == prunable[2] > prunable[3] > prunable[4]
    told = [row for row in table(run.predictions) if row["split"] == UNLABELLED]
    assert len(told) == results.data.n[UNLABELLED]  # predicted, without labels
    assert {(row["emotion"], row["fold"]) for row in told} == {("", "")}


def test_labels_that_are_there_are_not_looked_at(run: RunDirectory, data: Path, tmp_path: Path) -> None:
    blind = tmp_path / "data"
    write_folder(blind, n=80)
    lines = (data / "labels.csv").read_text(encoding="utf-8").splitlines()
    cells = [line.split(",") for line in lines]
    hidden = [[c[0], "", "", *c[3:]] if c[3] == UNLABELLED else c for c in cells]
    (blind / "labels.csv").write_text("\n".join(map(",".join, hidden)) + "\n", encoding="utf-8")
    side_by_side = composed(*folder_overrides(blind), *SMALL, *REVISED, "folds.workers=2")
    other = trained(side_by_side, tmp_path / "other")
    for fold in (0, 1):  # the same as one fold after the other
        mine, theirs = (read_part(r.round(fold, 4), "test", 80) for r in (other, run))
        torch.testing.assert_close(mine.decision.log_posterior, theirs.decision.log_posterior)


def test_a_share_of_0_is_the_control(run: RunDirectory, data: Path, tmp_path: Path) -> None:
    settings = (*folder_overrides(data), *SMALL, *REVISED, "pnao.rounds=0", "revision.share=0")
    control = trained(composed(*settings), tmp_path / "control").read_results()
    assert len(control.rounds) == 3
    assert control.rounds[0].validation == run.read_results().rounds[0].validation
    assert control.rounds[2].validation != run.read_results().rounds[2].validation


def test_an_evaluation_does_not_score_it(run: RunDirectory, data: Path, tmp_path: Path) -> None:
    config = composed(
        "task=evaluate", f"model={run.path}", f"output={tmp_path / 'out'}", *folder_overrides(data)
    )
    evaluate.run(config, RunDirectory(tmp_path))
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["splits"].keys() == {
        "train",
        "test",
    }


def test_a_round_of_revision_waits_for_all_folds() -> None:
    assert ready({0: 0, 1: 0}, last=4, revised=2) == {0, 1}
    assert ready({0: 1, 1: 0}, last=4, revised=2) == {1}
    assert ready({0: 3, 1: 2}, last=4, revised=2) == {0, 1}
    assert ready({0: 3, 1: 1}, last=2, revised=2) == {1}
    assert ready({0: 4, 1: 1}, last=4, revised=0) == {0, 1}


def test_what_flatters_trainval_is_said() -> None:
    settings = {"rounds": 2, "share": 0.8, "choose": "agreed"}
    assert flattered(settings, "paper")
    assert flattered(settings, "nested")
    assert not flattered(settings, "fixed")
    assert not flattered(settings | {"share": 0.0}, "paper")
    assert not flattered(settings | {"choose": "confident"}, "paper")


def test_controls_of_pnao_go_without(data: Path) -> None:
    with pytest.raises(UserError, match="matches a run without label revision"):
        composed(*folder_overrides(data), "+experiment=random", "revision.rounds=1")
