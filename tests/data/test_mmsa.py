"""MMSA's pickles, imitated: what is read, and what is refused."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mer_lightning.data.corpus import Corpus
from mer_lightning.data.readers import pickles
from mer_lightning.data.readers.pickles import read_arrays
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.errors import UserError
from tests.conftest import composed

N = {"train": 6, "valid": 2, "test": 3}
DIMENSIONS = {"text": (4, 5), "vision": (7, 3), "audio": (7, 2)}


def imitation(seed: int = 0) -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(seed)
    made: dict[str, dict[str, Any]] = {}
    for split, n in N.items():
        valence = rng.uniform(-3, 3, n).astype(np.float32)
        made[split] = {
            "raw_text": np.array(["WELL"] * n, dtype=object),
            "id": [f"{split}{i // 2}$_${i}" for i in range(n)],
            "regression_labels": valence,
            "classification_labels": np.sign(valence) + 1,
            "annotations": ["Negative" if v < 0 else "Positive" for v in valence],
            "audio_lengths": [7] * n,
            **{name: rng.normal(size=(n, *shape)).astype(np.float32) for name, shape in DIMENSIONS.items()},
        }
    made["train"]["annotations"][:2] = ["Negative", "Positive"]
    return made


def written(root: Path, content: object, protocol: int = 4) -> Path:
    (root / "unaligned_50.pkl").write_bytes(pickle.dumps(content, protocol))
    return root


def corpus_of(root: Path, *changes: str) -> Corpus:
    return read_corpus(composed("data=mmsa", f"data.root={root}", *changes).data)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_what_is_read(tmp_path: Path, protocol: int) -> None:
    made = imitation()
    made["valid"]["audio"][1, 4:] = 0  # padded behind
    made["test"]["audio"][0, :3] = 0  # and before
    made["test"]["vision"][2] = 0  # no face
    made["train"]["audio"][0, 0, 0] = -np.inf
    corpus = corpus_of(written(tmp_path, made, protocol))
    assert corpus.levels == ("audio",)
    assert corpus.shared == ("vision", "text")
    assert corpus.classes == ("Negative", "Positive")
    names = [name for split in made for name in made[split]["id"]]
    assert [u.id for u in corpus.utterances] == names
    assert [u.split for u in corpus.utterances] == ["train"] * 6 + ["val"] * 2 + ["test"] * 3
    assert [u.group for u in corpus.utterances[:3]] == ["train0", "train0", "train1"]
    assert [u.emotion for u in corpus.utterances] == [e for split in made for e in made[split]["annotations"]]
    valences = np.concatenate([made[split]["regression_labels"] for split in made])
    np.testing.assert_array_equal(corpus.valences, valences)
    audio = corpus.features["audio"]
    np.testing.assert_allclose(audio[2:6], made["train"]["audio"][2:].mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(audio[7], made["valid"]["audio"][1, :4].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(audio[8], made["test"]["audio"][0, 3:].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(audio[0, 0], made["train"]["audio"][0, 1:, 0].sum() / 7, atol=1e-6)
    assert np.isnan(corpus.features["vision"][10]).all()
    assert np.isfinite(corpus.features["vision"][:10]).all()
    assert "1 numbers of audio are NaN or infinite, and taken for 0" in corpus.notes
    assert "features are means over each clip's frames that are not all zero" in corpus.notes


def test_classes_without_names_and_sims_ids(tmp_path: Path) -> None:
    made = imitation()
    for split in made:
        del made[split]["annotations"]
        made[split]["id"] = np.array([name.replace("$_$", "/") for name in made[split]["id"]])
        made[split]["regression_labels"] = made[split]["regression_labels"][:, None]
        made[split]["classification_labels"] = np.arange(N[split]) % 3.0
    corpus = corpus_of(written(tmp_path, made), "data.tests=[test]", "data.shared=[text]")
    assert corpus.classes == ("0", "1", "2")
    assert corpus.utterances[0].id == "train0$_$0"
    assert corpus.utterances[0].group == "train0"
    assert set(corpus.features) == {"audio", "text"}


class Call:
    def __reduce__(self) -> object:
        return print, ("run",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("train"), "not a pickle of MMSA"),
        (lambda m: m.update(test=3), "not a pickle of MMSA"),
        (lambda m: m["test"].pop("id"), "test: no list of 'id'"),
        (lambda m: m["test"].update(id=[1, 2, 3]), "test: ids are text, found a int"),
        (lambda m: m["test"].update(id=["..", "a", "b"]), "cannot name a file"),
        (lambda m: m["test"].update(id=["a", "a", "b"]), "some id is there twice"),
        (lambda m: m["test"].update(id=["a", "b"]), "test: 2 ids, 3 valences and 3 emotions"),
        (lambda m: m["test"].update(annotations=["a", None, "b"]), "an emotion of type NoneType"),
        (lambda m: m["test"].update(regression_labels=[1.0, "x", 2.0]), "regression label that is no number"),
        (lambda m: m["test"].update(audio=m["test"]["audio"][:2]), "test: 2 rows of 'audio' for 3 ids"),
        (lambda m: m["test"].update(audio=m["test"]["audio"][:, :, :1]), "'audio' has different dimensions"),
        (lambda m: m["valid"].pop("vision"), "valid: no feature set 'vision'"),
        (lambda m: m["train"].update(audio=m["train"]["audio"].astype(object)), "no feature set 'audio'"),
        (lambda m: m["train"].update(more=Call()), "refused, the pickle in it asks for 'builtins.print'"),
        (lambda m: m["train"].update(more={1: 2}), "a key of type int"),
        (lambda m: m["train"].update(more={"a set"}), "cannot be read as a pickle of arrays"),
    ],
)
def test_what_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    made = imitation()
    change(made)
    with pytest.raises(UserError, match=r"unaligned_50\.pkl") as caught:
        corpus_of(written(tmp_path, made))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damage_and_false_sizes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pickle.dumps(imitation(), 4)
    path = tmp_path / "x.pkl"
    claims = b"\x80\x04\x8e" + (2**50).to_bytes(8, "little") + b"a."  # bytes that are not there
    for content in (
        b"",
        b"text",
        whole[:-100],
        whole[: len(whole) // 2],
        claims,
        claims.replace(b"\x8e", b"\x96"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"x\.pkl: cannot be read as a pickle of arrays"):
            read_arrays(path)
    path.write_bytes(whole)
    monkeypatch.setattr(pickles, "LARGEST_REST", 1000)
    with pytest.raises(UserError, match=r"more than 1000 bytes"):
        read_arrays(path)
    with pytest.raises(UserError, match=r"no such file"):
        corpus_of(tmp_path)
