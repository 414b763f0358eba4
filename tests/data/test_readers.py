import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from mer_lightning.config.groups import DataConfig
from mer_lightning.config.registry import READERS
from mer_lightning.data.corpus import Utterance
from mer_lightning.data.readers.registry import odd_tests, read_corpus
from mer_lightning.data.readers.store import write_store
from mer_lightning.data.readers.synthetic import LEVELS, SEED, SHARED, make_synthetic
from mer_lightning.errors import UserError
from tests.conftest import composed
from tests.data.helpers import LABELS, data_config, feature_folder, same_utterances, small_corpus

CONF = Path(__file__).parents[2] / "conf"
HEAD, *ROWS = LABELS.splitlines()


def synthetic(**changes: object) -> DataConfig:
    return data_config("synthetic", **({"levels": [*LEVELS], "shared": [*SHARED]} | changes))


def test_folder_and_the_store_made_from_it_agree(tmp_path: Path) -> None:
    corpus = read_corpus(data_config(root=feature_folder(tmp_path / "folder")))
    write_store(corpus, tmp_path / "store")
    stored = read_corpus(data_config("store", tmp_path / "store", levels=[], shared=[]))
    assert same_utterances(stored.utterances, corpus.utterances)
    assert (stored.levels, stored.shared, stored.classes) == (corpus.levels, corpus.shared, corpus.classes)
    for name, array in corpus.features.items():
        np.testing.assert_array_equal(stored.features[name], array)


def test_synthetic_takes_the_sets_asked_for() -> None:
    made = make_synthetic("small", SEED)
    corpus = read_corpus(synthetic(levels=["acoustic_high"], shared=[], tests=[], group=""))
    assert corpus.dimensions == {"acoustic_high": 128}
    assert corpus.synthetic
    assert corpus.classes == made.classes
    assert {(u.split, u.group) for u in corpus.utterances} == {("train", "")}
    np.testing.assert_array_equal(corpus.features["acoustic_high"], made.features["acoustic_high"])


@pytest.mark.parametrize(
    ("labels", "changes", "says"),
    [
        (
            [row.replace("train", "test1").replace("val", "test1") for row in ROWS],
            {},
            "no utterance in Train&Val",
        ),
        ([row.replace("happy", "").replace("sad", "") for row in ROWS], {}, "training needs emotions"),
        (
            [*ROWS[:2], *(f"{row.split(',')[0]},odd,,test1,," for row in ROWS[2:])],
            {},
            "'odd' of 'u2'.*'test1'",
        ),
        ([], {}, "no utterances"),
        (ROWS, {"labels": "x.csv"}, "x.csv: no such file"),
    ],
)
def test_refuses_labels_one_cannot_train_on(
    tmp_path: Path, labels: list[str], changes: dict[str, object], says: str
) -> None:
    root = feature_folder(tmp_path, "\n".join([HEAD, *labels]) + "\n")
    with pytest.raises(UserError, match=says):
        read_corpus(data_config(root=root, **changes))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (lambda: synthetic(root="my/data"), "data.root=my/data"),
        (lambda: synthetic(labels="x.csv"), "data.labels=x.csv"),
        (lambda: synthetic(group="actor"), "data.group=actor"),
        (lambda: data_config("mertools", "x", group="actor"), "data.group=actor"),
        (lambda: data_config("store", "x", labels="x.csv"), "data.labels=x.csv"),
        (lambda: synthetic(levels=["acoustic"]), "'acoustic'; did you mean 'acoustic_"),
        (lambda: synthetic(classes=["happy"]), "'angry'"),
        (lambda: synthetic(tests=["test2"]), "'test2'.*test1"),
        (lambda: data_config(root="x", levels=[]), "data.levels is empty"),
    ],
)
def test_refuses_settings_that_do_nothing_or_harm(config, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_corpus(config())


@pytest.mark.parametrize("reader", READERS)
def test_a_shipped_configuration_says_only_what_differs(reader: str) -> None:
    text = (CONF / "data" / f"{reader}.yaml").read_text(encoding="utf-8")
    assert f"# python -m mer_lightning +experiment=pnao data={reader}" in text
    usual = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))["data"]
    assert not [key for key, value in yaml.safe_load(text).items() if usual.get(key, ...) == value]


def test_the_shipped_synthetic_data_can_be_read() -> None:
    assert len(read_corpus(composed("data=synthetic").data).utterances) == 1440


def test_readers_import_without_torch_and_scikit_learn() -> None:
    code = "import sys, mer_lightning.data.readers.registry, mer_lightning.data.folds; "
    code += "print([m for m in ('torch', 'lightning', 'sklearn', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_fold_of_the_labels_as_the_test_set(tmp_path: Path) -> None:
    rows = [row.rstrip(",") + f",{i % 3}" if row.endswith(",") else row for i, row in enumerate(ROWS)]
    root = feature_folder(tmp_path, "\n".join([HEAD, *rows]))
    corpus = read_corpus(data_config(root=root, test_fold=1))
    assert [u.id for u in corpus.utterances if u.split == "fold_1"] == [
        u.id for u in corpus.utterances if u.fold == 1
    ]
    assert {u.split for u in corpus.utterances if u.fold != 1} == {"train"}
    with pytest.raises(UserError, match="no such fold"):
        read_corpus(data_config(root=root, test_fold=7))
    with pytest.raises(UserError, match="give only one"):
        data_config(root=root, test_fold=1, tests=["test1"])


@pytest.mark.parametrize("name", ["dev", "valid", "validation", "development", "Val", "DEV"])
@pytest.mark.parametrize("tests", [None, ["test1"]])
def test_other_names_of_the_validation_set_are_taken_for_val(
    tmp_path: Path, name: str, tests: list[str] | None
) -> None:
    root = feature_folder(tmp_path)
    plain = read_corpus(data_config(root=root, tests=tests))
    labels = (root / "labels.csv").read_text().replace(",val,", f",{name},")
    (root / "labels.csv").write_text(labels)
    corpus = read_corpus(data_config(root=root, tests=tests))
    assert same_utterances(corpus.utterances, plain.utterances)
    assert corpus.notes == (f"split {name} is taken for val; as a test set: data.tests=[NAME]",)
    meant = read_corpus(data_config(root=root, tests=[name]))
    assert {u.split for u in meant.utterances} == {"train", name}
    assert any("has the name of a validation set" in note for note in meant.notes)


def test_a_test_set_that_looks_like_none_is_warned_of() -> None:
    splits = ["train", "train", "train2", "train2", "test", "test", "semi", "semi"]
    emotions = ["a", "b", "a", "b", "a", "a", "", ""]
    named = zip(splits, emotions, strict=True)
    corpus = small_corpus([Utterance(f"u{i}", e, split=s) for i, (s, e) in enumerate(named)])
    assert odd_tests(corpus) == [
        "test set semi: no emotion is known, so it is predicted and not scored",
        "test set test: all 2 utterances are a: placeholders?",
        "test set train2 has no test set's name; leave it out with data.tests=[NAME,...]",
    ]
    assert odd_tests(make_synthetic("small", SEED)) == []
