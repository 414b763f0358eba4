import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mer_lightning.data.readers.label_npz import read_corpora
from mer_lightning.errors import UserError

TABLE = {"clip1": {"emo": "happy", "val": 1.5}, "clip2": {"emo": "sad", "val": np.float64(-2.25)}}


def with_member(path: Path, payload: bytes, key: str = "train_corpus", shape: str = "()") -> Path:
    """An npz whose one member has the given bytes where the pickle belongs."""
    header = f"{{'descr': '|O', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        magic = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
        archive.writestr(f"{key}.npy", magic + header + payload)
    return path


class Call:
    """Pickles to a call of ``function(*arguments)``."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> object:
        return self.reduced


def test_reads_what_numpy_writes(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    np.savez(path, train_corpus=np.array(TABLE, dtype=object), test1_corpus=np.array({}), other=np.arange(3))
    assert read_corpora(path) == {"train": TABLE, "test1": {}}
    np.savez_compressed(path, train_corpus=np.array(TABLE, dtype=object))
    assert read_corpora(path) == {"train": TABLE}


def test_reads_what_numpy_1_wrote(tmp_path: Path) -> None:
    pickled = pickle.dumps(np.array(TABLE, dtype=object), protocol=3)
    assert pickled.count(b"numpy._core.multiarray") == 2
    older = pickled.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert read_corpora(with_member(tmp_path / "l.npz", older)) == {"train": TABLE}


@pytest.mark.parametrize("protocol", range(6))
def test_runs_nothing_that_a_pickle_asks_for(tmp_path: Path, protocol: int) -> None:
    target = tmp_path / "owned"
    attack = np.array({"clip1": Call(Path.touch, target)}, dtype=object)
    pickle.loads(pickle.dumps(attack, protocol=protocol))  # an ordinary reader would run it
    assert target.exists()
    target.unlink()
    path = with_member(tmp_path / "labels.npz", pickle.dumps(attack, protocol=protocol))
    with pytest.raises(UserError, match=r"labels\.npz.*refused"):
        read_corpora(path)
    assert not target.exists()


@pytest.mark.parametrize(
    ("payload", "asked"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"(S'true'\nios\nsystem\n.", "os.system"),
        (b"\x80\x04\x8c\x05numpy\x8c\x04load\x93.", "numpy.load"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93.", "numpy.ndarray.dump"),
        (b"cnumpy.core.multiarray\nfromfile\n.", "numpy.core.multiarray.fromfile"),
        (b"cnumpy.testing._private.utils\nruncode\n.", "numpy.testing._private.utils.runcode"),
        (b"ccopyreg\n_reconstructor\n.", "copyreg._reconstructor"),
        (b"c__main__\n" + b"x" * 5000 + b"\n.", "__main__.xxx"),
    ],
)
def test_names_what_a_pickle_asked_for(tmp_path: Path, payload: bytes, asked: str) -> None:
    with pytest.raises(UserError) as caught:
        read_corpora(with_member(tmp_path / "labels.npz", payload))
    assert asked in str(caught.value)
    assert "train_corpus" in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b".",
        b"garbage",
        pickle.dumps(TABLE),
        pickle.dumps([1, 2]),
        pickle.dumps(np.array([TABLE, TABLE], dtype=object)),
        pickle.dumps(np.array("text", dtype=object)),
        pickle.dumps(np.array(TABLE, dtype=object))[:-5],
        b"\x80\x04P1\n.",
        b"cnumpy\nndarray\n(I1000000000000000\ntR.",
        b"cnumpy\nndarray\n}b.",
        b"cnumpy\ndtype\n(S'f8'\ntR(I-1\nI-1\nI-1\ntb.",
        b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'O8'\ntRC\x0812345678tR.",
        b"\x80\x04}r\xff\xff\xff\xff.",
    ],
)
def test_refuses_other_and_broken_pickles(tmp_path: Path, payload: bytes) -> None:
    with pytest.raises(UserError, match=r"labels\.npz") as caught:
        read_corpora(with_member(tmp_path / "labels.npz", payload))
    assert "\n" not in str(caught.value)


def test_scalars_come_back_as_numpy_made_them(tmp_path: Path) -> None:
    scalars = [np.float64(0.1), np.float32(-1.5), np.float16(2), np.int64(-3), np.uint8(200), np.bool_(True)]
    scalars += [np.str_("très"), np.array([1.5], dtype=">f8")[0]]
    for protocol in (3, 4):
        pickled = pickle.dumps(np.array({"x": scalars}, dtype=object), protocol=protocol)
        assert read_corpora(with_member(tmp_path / "l.npz", pickled)) == {"train": {"x": scalars}}


def test_damage_is_refused_and_never_crashes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = pickle.dumps(np.array(TABLE, dtype=object), protocol=4)
    refused = 0
    for _ in range(500):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        try:
            found = read_corpora(with_member(tmp_path / "labels.npz", bytes(damaged)))
        except UserError:
            refused += 1
        else:  # a letter of a name, or a digit
            assert isinstance(found["train"], dict)
    assert 100 < refused < 500


def test_refuses_a_member_with_another_shape(tmp_path: Path) -> None:
    path = with_member(tmp_path / "l.npz", pickle.dumps(np.array(TABLE, dtype=object)), shape="(1,)")
    with pytest.raises(UserError, match="0-d object array"):
        read_corpora(path)


def test_refuses_a_bomb_without_unpacking_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mer_lightning.data.readers.label_npz.LARGEST", 10**6)
    path = with_member(tmp_path / "l.npz", b"\0" * 2 * 10**6)
    assert path.stat().st_size < 10_000
    with pytest.raises(UserError, match="at most 1000000"):
        read_corpora(path)


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "truncated", "flipped", "npy", "no corpus"])
def test_refuses_broken_archives(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "labels.npz"
    np.savez(path, train_corpus=np.array(TABLE, dtype=object))
    whole = path.read_bytes()
    match kind:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("clip1,happy\n")
        case "truncated":
            path.write_bytes(whole[:-30])
        case "flipped":
            path.write_bytes(whole.replace(b"happy", b"hippy"))
        case "npy":
            with path.open("wb") as file:
                np.save(file, np.arange(3))
        case "no corpus":
            np.savez(path, labels=np.arange(3))
    with pytest.raises(UserError, match=r"labels\.npz"):
        read_corpora(path)
