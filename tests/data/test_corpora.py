"""Published folders of clips, imitated: their labels.csv, and the clips that task=extract finds by it."""

import csv
import math
from pathlib import Path

import pytest

from mer_lightning.config.registry import CORPORA
from mer_lightning.data.clips import Clip
from mer_lightning.data.corpora.cremad import read_cremad
from mer_lightning.data.corpora.iemocap import read_iemocap
from mer_lightning.data.corpora.meld import read_meld
from mer_lightning.data.corpora.ravdess import FOLDS, read_ravdess
from mer_lightning.errors import UserError
from mer_lightning.extract.clips import find_clips
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import import_data
from tests.conftest import composed
from tests.data.helpers import RAVDESS, needs_ravdess

MELD_HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
)
EVALUATION = """\
% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes02F_impro01_M000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
[10.0100 - 11.3925]\tSes02F_impro01_F001\texc\t[4.5000, 3.5000, 2.5000]
[12.0000 - 13.0000]\tSes02F_impro01_F002\txxx\t[3.0000, 3.5000, 2.5000]
[14.0000 - 15.0000]\tSes02F_impro01_F003\tfru\t[2.0000, 3.5000, 2.5000]
"""


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def by_id(clips: list[Clip]) -> dict[str, Clip]:
    assert len({c.id for c in clips}) == len(clips)
    return {c.id: c for c in clips}


@pytest.fixture
def meld(tmp_path: Path) -> Path:
    for part, folder in {
        "train": "train/train_splits",
        "dev": "dev_splits_complete",
        "test": "output_repeated_splits_test",
    }.items():
        rows = [
            '1,"Oh, it\x92s lost.",Joey,joy,positive,0,0,1,1,"00:00:01,000","00:00:02,000"',
            '2,No.,Ross,anger,negative,0,1,1,1,"00:00:01,000","00:00:02,000"',
        ]
        (tmp_path / f"{part}_sent_emo.csv").write_text("\n".join([MELD_HEADER, *rows]), encoding="utf-8")
        touch(tmp_path / folder / "dia0_utt0.mp4", tmp_path / folder / "._dia0_utt1.mp4")
    touch(tmp_path / "dev_splits_complete" / "dia0_utt1.mp4")
    return tmp_path


@pytest.fixture
def iemocap(tmp_path: Path) -> Path:
    dialog = tmp_path / "Session2" / "dialog"
    for folder in ("EmoEvaluation", "transcriptions"):
        (dialog / folder).mkdir(parents=True)
    (dialog / "EmoEvaluation" / "Ses02F_impro01.txt").write_text(EVALUATION)
    (dialog / "EmoEvaluation" / "._Ses02F_impro01.txt").write_bytes(b"\0\5\x16")
    (dialog / "transcriptions" / "Ses02F_impro01.txt").write_text(
        "Ses02F_impro01_M000 [006.2901-008.2357]: Excuse me.\n"
    )
    touch(dialog / "avi" / "DivX" / "Ses02F_impro01.avi", dialog / "wav" / "Ses02F_impro01.wav")
    for turn in ("M000", "F001", "F002", "F003"):
        touch(tmp_path / "Session2" / "sentences" / "wav" / "Ses02F_impro01" / f"Ses02F_impro01_{turn}.wav")
    return tmp_path


@pytest.fixture
def cremad(tmp_path: Path) -> Path:
    for name in ("1001_DFA_ANG_XX", "1002_IEO_SAD_HI", "1003_TAI_FEA_XX"):
        touch(tmp_path / "AudioWAV" / f"{name}.wav", tmp_path / "AudioMP3" / f"{name}.mp3")
    touch(tmp_path / "VideoFlash" / "1001_DFA_ANG_XX.flv")
    (tmp_path / "processedResults").mkdir()
    (tmp_path / "processedResults" / "summaryTable.csv").write_text(
        '"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"\n'
        '"1","1001_DFA_ANG_XX","N","71","D","57","D","57"\n'
        '"2","1002_IEO_SAD_HI","N","60","S","51","N:S","63:63"\n'
        '"3","1003_TAI_FEA_XX","F","60","F","51","F","63"\n'
    )
    return tmp_path


@pytest.fixture
def ravdess(tmp_path: Path) -> Path:
    for name in ("01-01-06-01-02-01-12", "02-01-06-01-02-01-12", "01-02-03-01-01-01-12"):
        touch(tmp_path / "Actor_12" / f"{name}.mp4")
    for name in ("03-01-06-01-02-01-12", "03-01-02-01-01-02-12"):
        touch(tmp_path / "Actor_12" / f"{name}.wav", tmp_path / "again" / "Actor_12" / f"{name}.wav")
    return tmp_path


def test_meld_keeps_its_parts_apart(meld: Path) -> None:
    clips = by_id(read_meld(meld))
    assert {name: c.utterance.split for name, c in clips.items()} == {
        "train_dia0_utt0": "train",
        "dev_dia0_utt0": "val",
        "dev_dia0_utt1": "val",
        "train_dia0_utt1": "train",
        "test_dia0_utt1": "test",
        "test_dia0_utt0": "test",
    }
    first, second = clips["dev_dia0_utt0"], clips["dev_dia0_utt1"]
    assert first.utterance[1:5] == ("joy", 1.0, "val", "Joey")
    assert second.utterance[1:5] == ("anger", -1.0, "val", "Ross")
    assert first.transcript == "Oh, it\u2019s lost."
    assert first.path == meld / "dev_splits_complete" / "dia0_utt0.mp4"


def test_iemocap_has_sessions_for_folds_and_the_speaker_for_group(iemocap: Path) -> None:
    clips = by_id(read_iemocap(iemocap, ["neutral", "happy", "sad", "angry"]))
    him, her = clips["Ses02F_impro01_M000"], clips["Ses02F_impro01_F001"]
    assert him.utterance[1:] == ("neutral", 2.5, "train", "Ses02M", 1)
    assert her.utterance[1:] == ("happy", 4.5, "train", "Ses02F", 1)
    assert him.transcript == "Excuse me."
    assert clips["Ses02F_impro01_F002"].utterance.emotion == ""
    assert by_id(read_iemocap(iemocap))["Ses02F_impro01_F001"].utterance.emotion == "excited"


def test_cremad_takes_video_and_what_was_acted_or_seen(cremad: Path) -> None:
    clips = by_id(read_cremad(cremad))
    assert {c.id: (c.utterance.emotion, c.utterance.group, c.path.suffix) for c in clips.values()} == {
        "1001_DFA_ANG_XX": ("anger", "1001", ".flv"),
        "1002_IEO_SAD_HI": ("sad", "1002", ".wav"),
        "1003_TAI_FEA_XX": ("fear", "1003", ".wav"),
    }
    assert clips["1002_IEO_SAD_HI"].transcript == "It's eleven o'clock."
    voted = by_id(read_cremad(cremad, "processedResults/summaryTable.csv"))
    assert [c.utterance.emotion for c in voted.values()] == ["disgust", "", "fear"]


def test_ravdess_is_read_from_names(ravdess: Path) -> None:
    clips = by_id(read_ravdess(ravdess))
    assert sorted(clips) == [
        "01-01-06-01-02-01-12",
        "03-01-02-01-01-02-12",
    ]  # no song, no silence, none twice
    seen, heard = clips["01-01-06-01-02-01-12"], clips["03-01-02-01-01-02-12"]
    assert (seen.utterance.emotion, heard.utterance.emotion) == ("fearful", "calm")
    assert (seen.transcript, heard.transcript) == (
        "Dogs are sitting by the door.",
        "Kids are talking by the door.",
    )
    assert seen.utterance[4:] == ("12", 2)
    assert sorted(actor for fold in FOLDS for actor in fold) == list(range(1, 25))


@needs_ravdess
def test_ravdess_as_others_read_it(tmp_path: Path) -> None:
    with (RAVDESS / "labels.csv").open() as file:
        rows = {row["utterance_id"]: row for row in csv.DictReader(file)}
    touch(*(tmp_path / f"{name}.wav" for name in rows))
    clips = by_id(read_ravdess(tmp_path))
    assert clips.keys() == rows.keys()
    for name, row in rows.items():
        u = clips[name].utterance
        assert (u.emotion, int(u.group), u.fold) == (row["emotion"], int(row["speaker"]), int(row["fold"]))


@pytest.mark.parametrize(("name", "kept"), [("meld", 4), ("iemocap", 2), ("cremad", 3), ("ravdess", 2)])
def test_from_the_folder_to_the_clips_that_are_extracted(
    name: str, kept: int, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    root: Path = request.getfixturevalue(name)
    config = composed("task=import", f"data={name}", f"data.root={root}", f"output={root}/labels.csv")
    import_data.run(config, RunDirectory(root / "none"))
    said = capsys.readouterr().out
    assert ("note: 2 clips that the labels name are not there: train_dia0_utt1, test" in said) == (
        name == "meld"
    )
    assert ("note: 2 clips with other emotions" in said) == (name == "iemocap")
    assert f"go on with task=extract input={root} output=STORE" in said
    found = find_clips(root)
    assert len(found.clips) == kept
    assert found.without_clip == found.without_label == []
    read = CORPORA.make(name, root, **vars(config.data))
    for clip in found.clips:
        (same,) = (c for c in read if c.id == clip.id)
        assert (repr(same.utterance), same.path) == (repr(clip.utterance), clip.path)
        assert clip.path.is_file()
    with pytest.raises(UserError, match=r"labels.csv: exists already"):
        import_data.run(config, RunDirectory(root / "none"))


@pytest.mark.parametrize("name", CORPORA)
def test_another_folder_and_a_fit_are_refused(name: str, tmp_path: Path) -> None:
    touch(tmp_path / "clip_01.mp4", tmp_path / "train" / "x-y.wav")
    (tmp_path / "labels.csv").write_text("utterance_id\nx\n")
    config = composed("task=import", f"data={name}", f"data.root={tmp_path}", f"output={tmp_path}/new.csv")
    with pytest.raises(UserError, match=f"^{tmp_path}: not the folder of [A-Z-]+, [^\n]*$"):
        import_data.run(config, RunDirectory(tmp_path / "none"))
    with pytest.raises(UserError, match=f"^data={name} names clips and labels, no features"):
        composed(f"data={name}", f"data.root={tmp_path}")
    assert not (tmp_path / "new.csv").exists()


def test_damaged_labels_are_refused(meld: Path) -> None:
    table = meld / "dev_sent_emo.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("positive", "great"), encoding="utf-8")
    with pytest.raises(UserError, match=r"dev_sent_emo.csv, line 2: sentiment 'great' is none of MELD's"):
        read_meld(meld)
    table.write_text("Utterance,Speaker\nx,y\n")
    with pytest.raises(UserError, match=r"dev_sent_emo.csv, line 1: no column 'Emotion'"):
        read_meld(meld)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("\tneu\t", "\tglad\t", "has the emotion 'glad'"), ("[", "(", "no label such as")],
)
def test_damaged_evaluations_are_refused(iemocap: Path, old: str, new: str, message: str) -> None:
    table = iemocap / "Session2" / "dialog" / "EmoEvaluation" / "Ses02F_impro01.txt"
    table.write_text(EVALUATION.replace(old, new))
    with pytest.raises(UserError, match=message):
        read_iemocap(iemocap)


def test_no_clip_of_the_wanted_classes_is_a_mistake(cremad: Path) -> None:
    settings = ("task=import", "data=cremad", f"data.root={cremad}", "data.classes=[glad]")
    with pytest.raises(UserError, match=r"3 of the 3 clips that the labels name are there, and none has"):
        import_data.run(composed(*settings, f"output={cremad}/labels.csv"), RunDirectory(cremad / "none"))
    taken = f"output={cremad}/AudioWAV/1003_TAI_FEA_XX.wav/labels.csv"
    with pytest.raises(UserError, match=r"labels\.csv: cannot be written"):
        import_data.run(composed(*settings[:3], taken), RunDirectory(cremad / "none"))
    with pytest.raises(UserError, match=r"labels are written into a .csv file"):
        import_data.run(composed(*settings, f"output={cremad}/labels"), RunDirectory(cremad / "none"))


def test_a_clip_file_stays_below_the_clips(tmp_path: Path) -> None:
    for bad in ("../a.wav", "/etc/passwd"):
        (tmp_path / "labels.csv").write_text(f"utterance_id,clip_file\na,{bad}\n")
        with pytest.raises(UserError, match=r"line 2: clip_file .* is no path below the clips"):
            find_clips(tmp_path)
    (tmp_path / "labels.csv").write_text("utterance_id,clip_file\na,b/a.wav\nc,\n")
    with pytest.raises(UserError, match=r"none of the files that its column clip_file names"):
        find_clips(tmp_path)
    touch(tmp_path / "b" / "a.wav", tmp_path / "a.wav")
    found = find_clips(tmp_path)
    assert [(c.id, c.path) for c in found.clips] == [("a", tmp_path / "b" / "a.wav")]
    assert found.without_clip == ["c"]
    assert math.isnan(found.clips[0].utterance.valence)
