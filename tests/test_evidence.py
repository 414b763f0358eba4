"""The evidence command on tiny data, in this process: resumed, compared, and found wrong in a document."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from sklearn.metrics import f1_score

from experiments.evidence import __main__ as command
from experiments.evidence import documents, tables
from experiments.evidence.answers import ask
from experiments.evidence.grid import read_systems
from experiments.evidence.plan import Grid, Plan, Question, Wanted, read_plan, search_sweeps, sweeps, wanted
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import fit
from tests.conftest import composed, write_folder

PLAN = """
margin: 0.01
systems:
  enf: {settings: once}
  entropy_calibrated: {settings: once, experiment: enf, with: fusion=entropy_calibrated}
  pnao: {settings: rounds, like: enf}
  rewind_only: {settings: unpruned, like: enf}
questions:
  - {ask: "Is PNAO smaller?", first: pnao, second: rewind_only, same_round: true, no_loss: true}
  - {ask: "Is calibration worth it?", first: entropy_calibrated, second: pnao}
  - {ask: "Was this run?", first: pnao, second: mean}
drawn: [pnao, rewind_only, random]
full:
  dropouts: [0.2, 0.6]
  full_size: data=synthetic data.levels=[acoustic_low] data.shared=[visual_face] data.folds=3
  every: protocol=nested network.dimension=8 folds.workers=1 trainer.epochs=1
  settings:
    rounds: pnao.rounds=1 pnao.rate=0.3 pnao.min_width=2
    unpruned: pnao.rounds=1
    once: trainer.batch_size=64
  sets:
    tiny: {seeds: 1, outer: 2, data: "data.levels=[low,high] data.shared=[face] data.folds=column"}
    absent: {seeds: 1, data: "data.levels=[low]"}
"""


@pytest.fixture(scope="module", autouse=True)
def _no_pages() -> Iterator[None]:
    """Each run's own page with its pictures is another test's concern, and takes longer than the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "write_run_report", lambda run: None)
        yield


class Launcher:
    """Sweeps in this process; counts the runs it was asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, overrides: Sequence[str]) -> int:
        settings = dict(override.split("=", 1) for override in overrides)
        folder, name = Path(settings.pop("hydra.sweep.dir")), settings.pop("hydra.sweep.subdir")
        swept = [k for k in settings if k in ("seed", "data.test_fold", "network.dropout", "+experiment")]
        for values in product(*(settings[key].split(",") for key in swept)):
            config = composed(
                *(f"{k}={v}" for k, v in (settings | dict(zip(swept, values, strict=True))).items())
            )
            places = {"experiment_name": config.experiment_name, "seed": config.seed}
            places |= {"data.test_fold": config.data.test_fold, "network.dropout": config.network.dropout}
            run = name
            for key, value in places.items():
                run = run.replace(f"${{{key}}}", str(value))
            fit.run(config, RunDirectory(folder / run))
            self.asked += 1
        return 0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one data set of four folds by speaker."""
    root = tmp_path_factory.mktemp("data")
    labels = write_folder(root / "tiny") / "labels.csv"
    rows = list(csv.DictReader(labels.open(encoding="utf-8")))
    with labels.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0], "fold"])
        writer.writeheader()
        writer.writerows(row | {"fold": str(int(row["speaker"][1:]) % 4)} for row in rows)
    return root


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    path = tmp_path_factory.mktemp("plan") / "plan.yaml"
    path.write_text(PLAN, encoding="utf-8")
    return read_plan(path=path)


@pytest.fixture(scope="module")
def made(plan: Plan, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tables.Tables]:
    output = tmp_path_factory.mktemp("evidence")
    return output, command.evidence(plan, whole(plan), data, output, True, Launcher())


def whole(plan: Plan) -> dict[Grid, Wanted]:
    """Everything that is planned."""
    return {grid: wanted(plan, grid) for grid in plan.sets.values()}


def test_the_same_command_does_what_is_left_and_gives_the_same_tables(
    plan: Plan, data: Path, made: tuple[Path, tables.Tables]
) -> None:
    output, first = made
    again = Launcher()
    assert command.evidence(plan, whole(plan), data, output, True, again) == first
    assert again.asked == 0
    (chosen_run(output, first, "pnao", 1) / "results.json").unlink()  # as if killed before its end
    assert command.evidence(plan, whole(plan), data, output, True, again) == first
    assert 1 <= again.asked <= 2  # the sweep of that system, a finished run of which is left alone


def chosen_run(output: Path, made: tables.Tables, system: str, fold: int) -> Path:
    """The folder of a run with the dropout that was found for it, or for ``enf``."""
    rows = [row for row in made["settings"] if row["chosen"] and row["test_fold"] == fold]
    dropouts = {row["system"]: row["dropout"] for row in rows}
    dropout = dropouts.get(system, dropouts["enf"])
    return output / f"runs/tiny/{system}_d{dropout}_f{fold}_s0"


def test_the_dropout_with_the_best_validation_score_is_taken(made: tuple[Path, tables.Tables]) -> None:
    output, found = made
    for system, fold in product(["enf", "entropy_calibrated"], [0, 1]):
        scores = {
            dropout: RunDirectory(output / f"runs/tiny/{system}_d{dropout}_f{fold}_s0").read_results()
            for dropout in (0.2, 0.6)
        }
        best = max(scores, key=lambda dropout: scores[dropout].rounds[0].selection)
        assert chosen_run(output, found, system, fold).name == f"{system}_d{best}_f{fold}_s0"
        assert chosen_run(output, found, "pnao", fold).is_dir()
        config = RunDirectory(chosen_run(output, found, "pnao", fold)).read_config()
        assert config["network"]["dropout"] == float(
            chosen_run(output, found, "enf", fold).name.split("_")[1][1:]
        )


def test_runs_with_other_settings_are_not_read(
    plan: Plan, data: Path, made: tuple[Path, tables.Tables]
) -> None:
    output, grid = made[0] / "runs/tiny", plan.sets["tiny"]
    dropouts = {("enf", test): 0.2 for test in grid.tests}
    assert "enf" in read_systems(plan, grid, dropouts, output)
    changed = replace(plan.systems["enf"], settings=("protocol=nested", "trainer.epochs=7"))
    other = replace(plan, systems=plan.systems | {"enf": changed})
    assert "enf" not in read_systems(other, grid, dropouts, output)


def test_a_question_without_a_common_seed_has_no_answer(plan: Plan, made: tuple[Path, tables.Tables]) -> None:
    output, grid = made[0] / "runs/tiny", plan.sets["tiny"]
    enf = read_systems(plan, grid, {("enf", test): 0.2 for test in grid.tests}, output)["enf"]
    question = Question("?", "a", "b")
    assert ask(question, {"a": enf, "b": {1: enf[0]}}) is None
    assert ask(question, {"a": enf, "b": enf}) is not None


def test_a_part_of_the_plan(plan: Plan) -> None:
    grid = plan.sets["tiny"]
    part = wanted(plan, grid, ["rewind_only"], 1)
    assert [s.name for s in part.systems] == ["enf", "rewind_only"]
    assert [s.name for s in part.searched] == ["enf"]
    (search,) = search_sweeps(plan, grid, part, (Path("data"), Path("out")))
    assert "network.dropout=0.2,0.6" in search.overrides
    found = {("enf", 0): 0.2, ("enf", 1): 0.6}
    names = [p.name for s in sweeps(grid, part, found, (Path("data"), Path("out"))) for p in s.paths(Path())]
    assert names == ["enf_d0.2_f0_s0", "enf_d0.6_f1_s0", "rewind_only_d0.2_f0_s0", "rewind_only_d0.6_f1_s0"]
    with pytest.raises(UserError, match="--system enff: the plan has enf"):
        wanted(plan, grid, ["enff"])


def test_tables_hold_what_the_runs_predicted(made: tuple[Path, tables.Tables]) -> None:
    output, found = made
    true, predicted = [], []
    for fold in (0, 1):
        path = chosen_run(output, found, "entropy_calibrated", fold) / "predictions.csv"
        with path.open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == f"fold_{fold}"]
        true += [row["emotion"] for row in rows]
        predicted += [row["predicted_emotion"] for row in rows]
    scores = {row["system"]: row for row in found["scores"]}
    assert scores["entropy_calibrated"]["dis"] == pytest.approx(
        f1_score(true, predicted, average="weighted"), abs=1e-6
    )
    assert scores["entropy_calibrated"]["utterances"] == len(true)
    assert int(scores["pnao"]["ensemble_parameters"] or 0) == 3 * int(scores["pnao"]["parameters"] or 0)
    smaller, calibration = found["answers"]  # the third was not run
    assert calibration["difference"] == pytest.approx(
        float(scores["entropy_calibrated"]["com"] or 0) - float(scores["pnao"]["com"] or 0), abs=2e-6
    )
    assert {smaller["answer"], calibration["answer"]} == {"too few speakers to tell"}
    ends = {(row["system"], row["round"]): row["left"] for row in found["rounds"]}
    assert ends["rewind_only", 1] == 1 > float(ends["pnao", 1] or 1)
    assert tables.blocks(tables.read(output)) == tables.blocks(found)


def test_what_was_run_is_told(made: tuple[Path, tables.Tables]) -> None:
    told = tables.blocks(made[1])["runs"].splitlines()
    assert told[2].startswith("| tiny | each of 2 folds | 1 of 1 | none | ")
    assert told[3] == "| absent | one split | - | all | 0.0 |"


def test_sizes_in_full_size_are_told_round_by_round(made: tuple[Path, tables.Tables]) -> None:
    first, last = made[1]["sizes"]
    assert (first["left"], first["round"], last["round"]) == (1, 0, 1)
    assert float(last["parameters"] or 0) < float(first["parameters"] or 0)
    assert (
        tables.blocks(made[1])["sizes"]
        .splitlines()[2]
        .startswith(f"| 0 | {first['parameters']:,} | 100.0 % |")
    )


def test_every_file_is_there(made: tuple[Path, tables.Tables]) -> None:
    output, _ = made
    names = {path.name for path in output.iterdir()}
    assert {"scores.csv", "answers.csv", "rounds.csv", "quality_light.png", "quality_dark.png"} <= names
    assert '"skipped": [\n  "absent"\n ]' in (output / "evidence.json").read_text()


def test_a_changed_figure_in_a_document_is_found(tmp_path: Path, made: tuple[Path, tables.Tables]) -> None:
    found = tables.blocks(made[1])
    path = tmp_path / "README.md"
    path.write_text("# Title\n\n<!-- evidence: scores tiny -->\n<!-- end -->\n\nafter\n")
    assert documents.check([path], found)
    documents.write([path], found)
    text = path.read_text()
    assert documents.check([path], found) == []
    assert text.startswith("# Title\n")
    assert text.endswith("\n\nafter\n")

    dis = tables.plain(made[1]["scores"][1]["dis"])
    path.write_text(text.replace(f"`entropy_calibrated` | {dis}", "`entropy_calibrated` | .9999"))
    (mistake,) = documents.check([path], found, tmp_path)
    assert str(mistake) == f"README.md:7: .9999 where the runs give {dis} (scores tiny)"
    path.write_text(text.replace("scores tiny", "scores huge"))
    assert "no run gives 'scores huge'" in str(documents.check([path], found)[0])
    path.write_text("<!-- evidence: scores huge -->\n<!-- end -->\n")  # not run yet
    assert documents.check([path], found) == []
    path.write_text(text.replace("<!-- end -->", ""))
    assert "not closed" in str(documents.check([path], found)[0])


def test_a_failed_sweep_stops_the_command(plan: Plan, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tiny: a sweep ended with status 3"):
        command.evidence(plan, whole(plan), data, tmp_path, False, lambda overrides: 3)
    with pytest.raises(UserError, match="none of absent is in"):
        command.evidence(plan, {g: w for g, w in whole(plan).items() if g.name == "absent"}, data, tmp_path)
    assert read_systems(plan, plan.sets["tiny"], {}, tmp_path) == {}


@pytest.mark.parametrize("quick", [False, True])
def test_the_commands_of_the_plan_compose(quick: bool) -> None:
    plan = read_plan(quick)
    named = {name for question in plan.questions for name in (question.first, question.second)}
    assert {*named, *plan.drawn} <= plan.systems.keys()
    grid = next(iter(plan.sets.values()))
    want, place = wanted(plan, grid), (Path("data"), Path("out"))
    found = {(name, test): 0.5 for name in plan.systems for test in grid.tests}
    for sweep in [*search_sweeps(plan, grid, want, place), *sweeps(grid, want, found, place)]:
        swept = ("seed", "+", "data.test_fold", "network.dropout")
        first = [o.split(",")[0] if o.startswith(swept) else o for o in sweep.overrides]
        assert composed(*(o for o in first if not o.startswith("hydra."))).protocol == "nested"
