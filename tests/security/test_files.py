"""No name, link, clip or claim of a size reaches beyond its folder and its file."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from mer_lightning import load
from mer_lightning.data.corpus import check_id
from mer_lightning.data.readers.label_npz import read_corpora
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.data.readers.store import read_store, write_store
from mer_lightning.errors import UserError
from mer_lightning.files.checksums import write_checksums
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import fit, predict
from tests.conftest import composed, folder_overrides, write_folder
from tests.security.helpers import trained_config

ESCAPES = (
    "../x",
    "/etc/passwd",
    "..",
    ".hidden",
    "a/b",
    "a\\b",
    "a\0b",
    "a\nb",
    "",
    " ",
    "x" * 300,
    "\u202ex",
    "\ud800",
)


@pytest.mark.parametrize("name", ESCAPES, ids=ascii)
def test_names_cannot_leave_their_folder(trained: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError):
        check_id(name, "here")
    model = shutil.copytree(trained / "runs" / "run" / "model", tmp_path / "model")
    description = json.loads((model / "model.json").read_text(encoding="utf-8"))
    description["networks"][0]["file"] = name
    (model / "model.json").write_text(json.dumps(description), encoding="utf-8")
    write_checksums(model)
    with pytest.raises(UserError, match=r"cannot name a file|hex escape"):
        load(model)
    config = composed(*folder_overrides(write_folder(tmp_path / "data")))
    store = write_store(read_corpus(config.data), tmp_path / "store")
    manifest = json.loads((store / "manifest.json").read_text(encoding="utf-8"))
    manifest["features"][name] = manifest["features"].pop("low")
    (store / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    write_checksums(store)
    with pytest.raises(UserError, match=r"cannot name a file|hex escape"):
        read_store(composed("data=store", f"data.root={store}").data)


@pytest.mark.parametrize(
    "name", ["\uff0fetc\uff0fpasswd", "\u2024\u2024", "a\u0301", "CON", "-rf", "=1+1", "x" * 200]
)
def test_look_alikes_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{check_id(name, 'here')}.txt").touch()
    assert [p.name for p in tmp_path.iterdir()] == [f"{name}.txt"]


def test_links_in_a_strangers_run_cannot_have_things_outside_replaced(trained: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "round_0").mkdir(parents=True)
    (precious / "round_0" / "thesis.txt").write_text("years of work")
    run = RunDirectory(shutil.copytree(trained / "runs" / "run", tmp_path / "run"))
    config = trained_config(trained)
    for name in ("fold_0", "model", "figures", "reference"):
        planted = RunDirectory(shutil.copytree(run.path, tmp_path / f"planted {name}"))
        planted.results.unlink()
        planted.report.unlink()
        shutil.rmtree(planted.path / name, ignore_errors=True)
        (planted.path / name).symlink_to(precious)
        with pytest.raises(UserError, match="link"):
            fit.run(config, planted)
        assert (precious / "round_0" / "thesis.txt").read_text() == "years of work"
        assert sorted(p.name for p in precious.rglob("*")) == ["round_0", "thesis.txt"]
    shutil.rmtree(run.path / "fold_0" / "round_0")
    (run.path / "fold_0" / "round_0").symlink_to(precious / "round_0")
    run.results.unlink()
    with pytest.raises(UserError, match="link"):
        fit.run(config, run)
    (run.path / ".x.unfinished").symlink_to(precious)
    run.sweep_up()
    assert not (run.path / ".x.unfinished").is_symlink()
    assert (precious / "round_0" / "thesis.txt").read_text() == "years of work"


def test_a_folder_that_is_no_run_keeps_what_others_are_writing(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").touch()
    (tmp_path / ".store.x1.unfinished").mkdir()
    with pytest.raises(UserError, match="holds no run"):
        fit.run(trained_config(trained), RunDirectory(tmp_path))
    assert (tmp_path / ".store.x1.unfinished").is_dir()


def test_an_output_that_is_a_link_leaves_the_file_behind_it_alone(trained: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("years of work")
    output = tmp_path / "predicted.csv"
    output.symlink_to(precious)
    config = composed("task=predict", "model=x", f"input={tmp_path}", f"output={output}")
    with pytest.raises(UserError, match="is not a prediction file to replace"):
        predict.run(config, RunDirectory(tmp_path / "unused"))
    assert precious.read_text() == "years of work"


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{file}\n#EXT-X-ENDLIST\n",
    "remote": "#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {file}\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", [".mp4", ".wav", ".ts"])
def test_a_clip_cannot_make_the_demo_read_other_files(tmp_path: Path, kind: str, suffix: str) -> None:
    pytest.importorskip("av")
    from tests.extract.test_pipeline import write_wav
    from tests.tasks.test_demo import explainer

    other = write_wav(tmp_path / "private.wav")
    clip = tmp_path / f"clip{suffix}"
    clip.write_text(PLAYLISTS[kind].format(file=other), encoding="utf-8")
    with pytest.raises(UserError, match="cannot be used"):
        explainer()(clip)


def test_a_huge_claim_takes_no_memory(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data")
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (60, 1000000000000), }\n"
    (data / "low.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 64
    )
    with pytest.raises(UserError, match=r"low\.npy"):
        read_corpus(composed(*folder_overrides(data)).data)


def test_a_pickle_cannot_take_memory_on_its_word(tmp_path: Path) -> None:
    from tests.data.test_label_npz import with_member

    bytearray8 = b"\x80\x05\x96" + (2**62).to_bytes(8, "little") + b"."
    with pytest.raises(UserError) as caught:
        read_corpora(with_member(tmp_path / "labels.npz", bytearray8))
    assert not isinstance(caught.value.__cause__, MemoryError)


@pytest.mark.parametrize(
    "how", ["as a key", "in a set", "of a dtype", "keys that collide", "numbers that collide", "long scalars"]
)
def test_a_small_pickle_cannot_take_forever(tmp_path: Path, how: str) -> None:
    """Tuples of the same tuple twice, sixty deep: hashing or printing one takes 2^60 steps.

    Multiples of 2^61 - 1 have one hash: a dict of 50,000 takes a minute. A text of 10,000 letters made again
    and again of the same bytes takes all memory.
    """
    from tests.data.test_label_npz import Call, with_member

    deep: object = ()
    for _ in range(60):
        deep = (deep, deep)
    text = pickle.dumps({"key": deep}, 4)  # the tuple is shared in it
    tuples = text[text.index(b"key") + 4 : -2]
    payload = {
        "as a key": b"\x80\x04}" + tuples + b"K\x01s.",
        "in a set": b"\x80\x04\x8f(" + tuples + b"\x90.",
        "keys that collide": pickle.dumps({n * (2**61 - 1): 0 for n in range(2)}, 4),
        "numbers that collide": b"\x80\x04Np%d\n." % (2**61 - 1),
        "long scalars": pickle.dumps({"a": np.str_("x" * 10_000)}, 4),
        "of a dtype": pickle.dumps(Call(np._core.multiarray.scalar, np.dtype("f8"), b"\0" * 8), 4).replace(
            b"\x8c\x02f8\x94", tuples
        ),
    }[how]
    with pytest.raises(UserError):
        read_corpora(with_member(tmp_path / "labels.npz", payload))
