"""``task=extract``: a store from clips, whatever happens on the way."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from mer_lightning.data.readers.manifest import read_manifest
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.errors import UserError
from mer_lightning.extract.clips import all_clips
from mer_lightning.extract.encoder import Features
from mer_lightning.extract.parts import Parts
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import extract
from tests.conftest import composed
from tests.extract.test_pipeline import Look, Loudness, wavs, write_wav

LABELS = "utterance_id,emotion,valence,split,speaker\n" + "".join(
    f"clip_{i:02d},{'sad' if i % 2 else 'happy'},{i},{'test' if i > 5 else 'train'},s{i % 3}\n"
    for i in range(8)
)
Extract = Callable[..., None]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Eight clips with labels."""
    folder = wavs(tmp_path / "clips", 8)
    (folder / "labels.csv").write_text(LABELS)
    return folder


@pytest.fixture
def encoders(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What stands in for the pretrained models; tests may put others in."""
    made: list[Any] = [Loudness()]
    monkeypatch.setattr(extract, "make_encoders", lambda settings: made)
    return made


@pytest.fixture
def run(clips: Path, tmp_path: Path, encoders: list[Any]) -> Extract:
    """``run(OVERRIDES)``: the task, from the clips into ``store``."""

    def go(*overrides: str, output: str = "store") -> None:
        config = composed("task=extract", f"input={clips}", f"output={tmp_path / output}", *overrides)
        extract.run(config, RunDirectory(tmp_path / "run"))

    return go


def test_clips_become_a_store_to_train_on(
    run: Extract, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    corpus = read_corpus(composed("data=store", f"data.root={tmp_path / 'store'}").data)
    assert [u.id for u in corpus.utterances] == [f"clip_{i:02d}" for i in range(8)]
    assert [(u.emotion, u.valence, u.split, u.group) for u in corpus.utterances][7] == (
        "sad",
        7.0,
        "test",
        "s1",
    )
    assert corpus.levels == ("loud",)
    assert corpus.features["loud"][:, 1].tolist() == [1600] * 8
    assert corpus.extractors["loud"]["layer"] == 1
    assert not (tmp_path / "store.parts").exists()
    run()  # finished: left alone
    assert "finished already" in capsys.readouterr().out


class Interrupted(Loudness):
    """Is stopped at its second batch."""

    def encode(self, clips: Sequence[NDArray[Any]]) -> list[Features]:
        if self.seen:
            raise KeyboardInterrupt
        return super().encode(clips)


def test_goes_on_where_it_was_stopped(run: Extract, tmp_path: Path, encoders: list[Any]) -> None:
    encoders[0] = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        run("extract.clips=3")
    assert not (tmp_path / "store").exists()
    encoders[0] = Loudness()
    run("extract.clips=3")
    assert sum(encoders[0].seen) == 5  # the three that were finished are not done again
    run("extract.clips=3", output="undisturbed")
    assert hashes(tmp_path / "store") == hashes(tmp_path / "undisturbed")


def test_other_settings_do_not_go_on(run: Extract, encoders: list[Any]) -> None:
    encoders[0] = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        run("extract.clips=3")
    encoders[0] = Loudness(layer=2)
    with pytest.raises(UserError, match="loud made with layer 1, not 2"):
        run("extract.clips=3")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_shards_make_one_store_in_any_order(run: Extract, tmp_path: Path, order: tuple[int, ...]) -> None:
    run(output="whole")
    for i in order:
        assert not (tmp_path / "store").exists()
        run(f"extract.shard={i}/3")
    assert hashes(tmp_path / "store") == hashes(tmp_path / "whole")
    assert read_manifest(tmp_path / "store").features == read_manifest(tmp_path / "whole").features


def hashes(store: Path) -> list[str]:
    """Of all but the manifest, which holds the store's name."""
    return [line for line in (store / "SHA256SUMS").read_text().splitlines() if "manifest" not in line]


def failures(store: Path) -> list[tuple[str, str]]:
    with (store / "failures.csv").open() as file:
        return [(row["utterance_id"], row["reason"]) for row in csv.DictReader(file)]


def test_what_fails_is_named(
    run: Extract, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clips / "clip_02.wav").write_text("no sound")
    (clips / "clip_04.wav").unlink()
    write_wav(clips / "stranger.wav")
    run()
    assert failures(tmp_path / "store") == [
        ("clip_02", "not a media file"),
        ("clip_04", "no clip of this name"),
    ]
    shown = capsys.readouterr().out
    assert "failed: clip_02: not a media file" in shown
    assert "1 clips are not in the labels and are left out: stranger" in shown
    assert read_manifest(tmp_path / "store").utterances == 6


def test_on_error_stop_names_the_clip(run: Extract, clips: Path, tmp_path: Path) -> None:
    (clips / "clip_02.wav").write_text("no sound")
    with pytest.raises(UserError, match="clip clip_02: not a media file"):
        run("extract.on_error=stop")
    assert not (tmp_path / "store").exists()
    write_wav(clips / "clip_02.wav")
    run("extract.on_error=stop")  # mended: it goes on
    assert read_manifest(tmp_path / "store").utterances == 8


def test_a_set_that_no_clip_has(run: Extract, encoders: list[Any]) -> None:
    encoders.append(Look())
    with pytest.raises(UserError, match="no clip has look"):
        run()


def test_nothing_that_is_no_store_is_touched(run: Extract, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="is not a feature store"):
        run()
    assert (tmp_path / "store" / "thesis.tex").read_text() == "precious"


def test_the_record_of_every_clip(run: Extract, tmp_path: Path) -> None:
    run()
    with (tmp_path / "store" / "clips.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["seconds"] for row in rows} == {"0.1"}
    assert json.loads((tmp_path / "store" / "manifest.json").read_text())["features"]["loud"]["missing"] == 0


def test_a_replaced_clip_is_done_again(
    run: Extract, clips: Path, tmp_path: Path, encoders: list[Any]
) -> None:
    encoders[0] = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        run("extract.clips=3")
    write_wav(clips / "clip_00.wav", seconds=0.2)
    encoders[0] = Loudness()
    run()
    corpus = read_corpus(composed("data=store", f"data.root={tmp_path / 'store'}").data)
    assert corpus.features["loud"][0, 1] == 3200


def test_exclusion_counts_for_clips_done_before(run: Extract, tmp_path: Path, encoders: list[Any]) -> None:
    encoders.append(Look())
    with pytest.raises(UserError, match="no clip has look"):
        run()  # all parts are there, made under missing=zeros
    with pytest.raises(UserError, match="8 times no face"):
        run("extract.missing=exclude")


def test_two_at_once_and_what_is_foreign(run: Extract, clips: Path, tmp_path: Path) -> None:
    parts = Parts(tmp_path / "store", all_clips(clips))
    parts.path.mkdir()
    with parts.lock("shard_0_1"), pytest.raises(UserError, match="another process"):
        run()
    (parts.path / "notes").mkdir()
    run()
    assert [path.name for path in parts.path.iterdir()] == ["notes"]  # not ours: left alone
    for path in (tmp_path / "store").iterdir():
        assert path.stat().st_mode & 0o044, path  # others may read what is shared
