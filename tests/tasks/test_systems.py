"""The other systems of Table 1: combinations, the transformer, label revision."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mer_lightning import load
from mer_lightning.config.schema import Config
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.data.readers.store import write_store
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.model.base import Architecture, Decision, count_parameters
from mer_lightning.model.build import build
from mer_lightning.model.decisions import EnsembleWeights, RowDecisions, ensemble_decision
from mer_lightning.model.losses import emotion_loss
from mer_lightning.report.calibration import run_reliability
from mer_lightning.report.runs import read_run
from mer_lightning.tasks import fit, import_data
from mer_lightning.tasks.combine import fit_weights, on_simplex
from mer_lightning.training.outcome import read_record
from mer_lightning.training.revision import most_confident
from tests.conftest import SMALL, composed
from tests.tasks.helpers import table

Small = Callable[..., Config]


def trained(config: Config, path: Path) -> RunDirectory:
    run = RunDirectory(path)
    fit.run(config, run)
    return run


def check_predictor_gives_the_test_rows(run: RunDirectory, folder: Path) -> None:
    features = {name: np.load(folder / f"{name}.npy") for name in ("low", "high", "face")}
    predictor = load(run.path)
    prediction = predictor.predict(features)
    np.testing.assert_allclose(prediction.weights.sum(1), 1, atol=1e-5)
    for i, row in enumerate(table(run.predictions)):
        if row["split"] == "test":
            posterior = [float(row[f"posterior_{c}"]) for c in predictor.classes]
            np.testing.assert_allclose(posterior, prediction.posterior[i], atol=1e-5)
            weights = [float(row[f"weight_{v}"]) for v in predictor.branch_names]
            np.testing.assert_allclose(weights, prediction.weights[i], atol=1e-5)
            assert float(row["predicted_valence"]) == pytest.approx(float(prediction.valence[i]), abs=1e-4)


def test_ustc_qw_is_the_mean_of_one_network_per_level(small: Small, folder: Path, tmp_path: Path) -> None:
    run = trained(small("+experiment=ustc_qw", "pnao.rounds=0"), tmp_path / "run")
    parts = [RunDirectory(run.members / level) for level in ("low", "high")]
    own = table(run.predictions)
    theirs = [table(p.predictions) for p in parts]
    for i, row in enumerate(own):
        mean = np.mean([float(t[i]["posterior_sad"]) for t in theirs])
        assert float(row["posterior_sad"]) == pytest.approx(mean, abs=2e-5)
        assert (row["weight_low"], row["weight_high"]) == ("0.5", "0.5")
    results = run.read_results()
    sizes = [p.read_results().rounds[0].parameters for p in parts]
    assert results.rounds[0].parameters == sum(sizes)
    assert list(run_reliability(read_run(run.path))) == ["fused"]  # no branch is in all systems
    check_predictor_gives_the_test_rows(run, folder)


def test_final_takes_finished_runs_and_fits_its_weights(small: Small, folder: Path, tmp_path: Path) -> None:
    runs = [trained(small(f"+experiment={name}"), tmp_path / name) for name in ("pnao_attention", "pnao")]
    given = f"combine.runs=[{runs[0].path},{runs[1].path}]"
    run = trained(small("+experiment=final", given), tmp_path / "final")
    assert not run.members.exists()
    own, parts = run.read_results(), [member.read_results() for member in runs]
    assert own.seconds == pytest.approx(sum(p.seconds for p in parts), abs=0.1)
    full, left = (sum(p.rounds[r].parameters for p, r in zip(parts, rounds, strict=True))
                  for rounds in ((0, 0), [p.best_round for p in parts]))  # fmt: skip
    assert own.rounds[0].parameters == pytest.approx(left, abs=2)
    assert own.rounds[0].parameters_ratio == pytest.approx(left / full, abs=1e-4)
    assert run.folds.read_bytes() == runs[0].folds.read_bytes()
    check_predictor_gives_the_test_rows(run, folder)
    assert list(run_reliability(read_run(run.path))) == ["fused", "low", "high"]  # in both systems
    beside = trained(small("+experiment=final"), tmp_path / "beside")  # as a sweep lays them out
    assert not beside.members.exists()
    assert beside.read_results().validation == run.read_results().validation
    other = trained(small("+experiment=pnao", "seed=4"), tmp_path / "other")
    mixed = small("+experiment=final", f"combine.runs=[{runs[0].path},{other.path}]")
    with pytest.raises(UserError, match="other folds"):
        fit.run(mixed, RunDirectory(tmp_path / "mixed"))
    turned = trained(small("+experiment=pnao", "data.classes=[sad,happy,angry]"), tmp_path / "turned")
    mixed = small("+experiment=final", f"combine.runs=[{runs[0].path},{turned.path}]")
    with pytest.raises(UserError, match="the labels are not those"):
        fit.run(mixed, RunDirectory(tmp_path / "turned classes"))
    with pytest.raises(UserError, match="not a finished run"):
        fit.run(small("+experiment=final", "combine.runs=[nowhere,nowhere]"), RunDirectory(tmp_path / "none"))


def test_ustc_qw_takes_its_levels_from_a_store(small: Small, tmp_path: Path) -> None:
    made = {"high": {"encoder": "hubert", "layer": 18}, "face": {"encoder": "manet"}}
    first, store = write_store(read_corpus(small().data), tmp_path / "first", made), tmp_path / "store"
    copy = composed("task=import", "data=store", f"data.root={first}", f"output={store}")
    import_data.run(copy, RunDirectory(tmp_path / "none"))
    overrides = ("data=store", f"data.root={store}", "data.folds=2", *SMALL, "pnao.rounds=0")
    run = trained(composed(*overrides, "+experiment=ustc_qw"), tmp_path / "run")
    assert load(run.path).branch_names == ("low", "high")
    assert load(run.path).extractors == {"low": {}} | made


def test_fitted_weights_find_the_minimum_on_the_simplex() -> None:
    target = torch.tensor([0.7, 0.3, 0.0], dtype=torch.float64)
    found = on_simplex(lambda w: (w - target).square().sum(), 3)
    np.testing.assert_allclose(found, target, atol=1e-4)
    corner = on_simplex(lambda w: (w - torch.tensor([-1.0, 2.0])).square().sum(), 2)
    np.testing.assert_allclose(corner, [0, 1], atol=1e-4)


@pytest.mark.parametrize("ensemble", ["posterior", "logit"])
def test_weights_are_fitted_for_the_way_they_are_used(small: Small, folder: Path, ensemble: str) -> None:
    config = small("+experiment=final", f"ensemble={ensemble}")
    corpus = read_corpus(config.data)
    emotions, n = torch.from_numpy(corpus.emotions), len(corpus.utterances)
    torch.manual_seed(0)

    def system(sharpness: float) -> list[RowDecisions]:
        logits = sharpness * (torch.randn(n, 3) + 0.7 * torch.eye(3)[emotions])
        log_posterior, one = logits.log_softmax(dim=1), torch.ones(n, 1)
        decision = Decision(log_posterior, torch.zeros(n), one, log_posterior[:, None], 0 * one)
        return 2 * [RowDecisions(torch.arange(n), decision)]  # one fold, and the test sets

    systems = [system(0.5), system(3.0)]

    def loss(first: float) -> float:
        weights = EnsembleWeights(torch.tensor([first, 1 - first]).float(), torch.ones(2))
        found = ensemble_decision([test.decision for _, test in systems], weights, ensemble)
        return float(emotion_loss(found.log_posterior, emotions))

    fitted = float(fit_weights(systems, corpus, config, leave_out=1).posterior[0])
    best = min(np.linspace(0, 1, 201), key=loss)
    assert fitted == pytest.approx(best, abs=0.01)
    assert 0.05 < fitted < 0.95


def test_transformer_trains_and_predicts(small: Small, folder: Path, tmp_path: Path) -> None:
    run = trained(small("+experiment=transformer", "pnao.rounds=0"), tmp_path / "run")
    assert load(run.path).branch_names == ("low", "high", "face")
    check_predictor_gives_the_test_rows(run, folder)


def test_transformer_counts_by_hand() -> None:
    a = Architecture(
        {"a": 5}, {"x": 4}, classes=3, kind="transformer", dimension=8, options={"layers": 1, "heads": 2}
    )
    network = build(a)
    decoder, decoder_bias = 8 * 3 + 8 + 3 + 2, 3 + 1 + 1 + 1
    encoders, layer = 5 * 8 + 4 * 8, 4 * 8 * 8 + 2 * 8 * 16
    biases = 2 * 8 + 3 * decoder_bias + (3 * 8 + 8 + 16 + 8) + 1
    norms_and_kinds = 2 * 2 * 8 + 2 * 8
    assert count_parameters(network) == encoders + 3 * decoder + layer + 8 + biases + norms_and_kinds
    assert network.macs() == encoders + 3 * decoder + 2 * layer + 2 * 2 * 2 * 8 + 2 * 8


def test_pnao_refuses_the_transformer(small: Small) -> None:
    with pytest.raises(UserError, match="hierarchical networks"):
        small("network=transformer", "loss.supervision=both")
    with pytest.raises(UserError, match="does not train"):
        small("network=transformer", "pnao.rounds=0")


def test_an_attention_that_is_narrow_from_the_start_is_so_in_revised_rounds(
    small: Small, tmp_path: Path
) -> None:
    narrow = ("pnao.rounds=0", "revision.rounds=1", "network.attention=3")
    run = trained(small("+experiment=label_revision", *narrow), tmp_path / "run")
    for number in (0, 1):
        widths = read_record(run.round(0, number)).widths
        assert {width for group, width in widths.items() if "attention" in group} == {3}


def test_label_revision_learns_from_the_test_set_but_not_its_labels(
    small: Small, folder: Path, tmp_path: Path
) -> None:
    run = trained(small("+experiment=label_revision", "pnao.rounds=0", "revision.rounds=2"), tmp_path / "run")
    results = run.read_results()
    assert results.transductive
    assert len(results.rounds) == 3
    labels = folder / "labels.csv"
    labels.write_text("\n".join(_hide(line) for line in labels.read_text().splitlines()) + "\n")
    blind = trained(
        small("+experiment=label_revision", "pnao.rounds=0", "revision.rounds=2"), tmp_path / "blind"
    )
    for mine, theirs in zip(table(run.predictions), table(blind.predictions), strict=True):
        assert mine["posterior_sad"] == theirs["posterior_sad"]
    with pytest.raises(UserError, match="needs an unlabelled set"):
        fit.run(
            small("+experiment=label_revision", "pnao.rounds=0", "data.tests=[]"),
            RunDirectory(tmp_path / "no tests"),
        )


def _hide(line: str) -> str:
    """A line of labels.csv without the labels of a test utterance."""
    cells = line.split(",")
    return ",".join([cells[0], "", "", *cells[3:]]) if cells[3] == "test" else line


def test_the_most_confident_are_chosen() -> None:
    log_posterior = torch.tensor([[0.5, 0.5], [0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]).log()
    assert most_confident(log_posterior, 0.5).tolist() == [1, 2]
    assert most_confident(log_posterior, 0.0).tolist() == []
