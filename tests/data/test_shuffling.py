"""Training from a memory map: what an epoch reads, in which order, and how much of it stays in memory."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from mer_lightning.data import memmap as mapped_sets
from mer_lightning.data import shuffling as blocks
from mer_lightning.data.corpus import Corpus, Utterance, count_missing
from mer_lightning.data.datamodule import BatchLoader, FoldData
from mer_lightning.data.memmap import gather, release
from mer_lightning.data.readers.store import read_store, write_store
from mer_lightning.data.shuffling import shuffled_loads
from mer_lightning.data.standardise import fit_standardisation
from tests.data.helpers import data_config

CPU = torch.device("cpu")
N, BATCH = 4000, 16
FOLDS = np.arange(N) % 3


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def resident_bytes(path: Path) -> int:
    """How much of a file's map is in this process's memory."""
    inside, total = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:  # a mapping's first line; the others begin with a name and a colon
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


needs_smaps = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="memory is counted on Linux")


@pytest.fixture(params=["float16", "float32"])
def corpus(request: pytest.FixtureRequest) -> Corpus:
    """Its rows can be told apart: column 0 of ``a`` is the row's number."""
    rng = np.random.default_rng(0)
    a = rng.normal(2, 5, (N, 3)).astype(request.param)
    a[:, 0] = np.arange(N) / 2048 if request.param == "float32" else np.arange(N) % 2048
    b = rng.normal(-1, 3, (N, 20)).astype(request.param)
    b[::7] = np.nan
    utterances = tuple(Utterance(f"u{i}", "xy"[i % 2], i / N) for i in range(N))
    return Corpus("made", utterances, {"a": a, "b": b}, ("a",), ("b",), ("x", "y"))


@pytest.fixture
def mapped(corpus: Corpus, tmp_path: Path) -> Corpus:
    root = write_store(corpus, tmp_path / "store")
    found = read_store(data_config("store", root, levels=[], shared=[], resident_gb=0))
    assert all(isinstance(array, np.memmap) for array in found.features.values())
    return found


def loader(corpus: Corpus, seed: int | None = 0, rank: int = 0, ranks: int = 1, fold: int = 1) -> BatchLoader:
    data = FoldData(corpus, FOLDS, fold, "paper", BATCH, seed=0)
    data.valence = corpus.valences  # not standardised: they tell the rows
    return BatchLoader(data.table(CPU), data.train_rows, BATCH, seed, rank, ranks)


def rows_of(batches: BatchLoader) -> list[int]:
    """The rows an epoch yields, in order, told by their valence."""
    return [round(v * N) for batch in batches for v in batch.valence.tolist()]


@pytest.mark.parametrize("size", [0, 1, 16, 500, 1601, 4000])
@pytest.mark.parametrize("buffer", [1, 700, 10_000])
def test_loads_are_a_permutation_that_fits(size: int, buffer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BUFFER", 4 * buffer)
    rows = torch.from_numpy(np.random.default_rng(1).permutation(9999)[:size])
    loads = shuffled_loads(rows, BATCH, 4, seeded())
    assert torch.cat(loads).sort().values.equal(rows.sort().values)
    assert all(len(load) <= max(buffer, BATCH) for load in loads)
    assert all(len(load) % BATCH == 0 for load in loads[:-1])


def test_what_fits_is_shuffled_as_resident_data_are() -> None:
    rows = torch.arange(300)
    for row_bytes in (0, 10):
        (load,) = shuffled_loads(rows, BATCH, row_bytes, seeded())
        assert load.equal(torch.randperm(300, generator=seeded()))


def test_an_order_is_well_mixed_and_each_epoch_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    n, buffer = 40_000, 5_000
    monkeypatch.setattr(blocks, "BUFFER", buffer)
    generator = seeded()
    first, second = (torch.cat(shuffled_loads(torch.arange(n), BATCH, 1, generator)) for _ in range(2))
    assert first.equal(torch.cat(shuffled_loads(torch.arange(n), BATCH, 1, seeded())))
    assert abs(spearmanr(first, second).statistic) < 0.15
    assert abs(spearmanr(first, np.arange(n)).statistic) < 0.15  # 512 blocks: deviation 0.044
    assert abs(spearmanr(first[:-1], first[1:]).statistic) < 0.1  # neighbours are strangers
    for load in torch.split(first, buffer):  # from everywhere, as 64 random places are
        spread = np.histogram(load, bins=8, range=(0, n))[0] / buffer
        assert spread.min() > 0.03
        assert spread.max() < 0.3
    batch_means = torch.stack([b.double().mean() for b in torch.split(first, BATCH)])
    uniform = n / np.sqrt(12 * BATCH)  # deviation of the mean of so many independent rows
    assert float(batch_means.std()) == pytest.approx(uniform, rel=0.2)  # a tenth more, for 64 places a load


@pytest.mark.parametrize("buffer", [3_000, 1_000_000])
def test_an_epoch_from_the_map_is_an_epoch_of_resident_rows(
    corpus: Corpus, mapped: Corpus, buffer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BUFFER", buffer)
    monkeypatch.setattr(mapped_sets, "STROKE", 500)
    lazy, resident = loader(mapped), loader(corpus)
    epochs = [rows_of(lazy) for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == np.flatnonzero(FOLDS != 1).tolist()
    assert epochs[0] != epochs[1]
    assert (epochs[0] == rows_of(resident)) == (buffer == 1_000_000)  # all fits: nothing differs
    assert rows_of(loader(mapped)) == epochs[0]
    batches = list(loader(mapped))
    assert len(batches) == len(lazy)
    assert {len(b.emotion) for b in batches[:-1]} == {BATCH}
    rows = torch.tensor(epochs[0])
    everything = resident.table[rows]
    for name in corpus.features:
        found = torch.cat([b.features[name] for b in batches])
        torch.testing.assert_close(found, everything.features[name])
        assert found.dtype == torch.float32
    assert torch.cat([b.emotion for b in batches]).equal(everything.emotion)


def test_ranks_share_the_batches_of_one_process(mapped: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BUFFER", 3_000)
    shares = [list(loader(mapped, rank=rank, ranks=3)) for rank in range(3)]
    for step, batch in enumerate(loader(mapped)):
        for rank in range(3):
            assert shares[rank][step].features["a"].equal(batch.features["a"][rank::3])
            assert shares[rank][step].valence.equal(batch.valence[rank::3])


def test_evaluation_keeps_the_order(mapped: Corpus) -> None:
    assert rows_of(loader(mapped, seed=None)) == np.flatnonzero(FOLDS != 1).tolist()


@pytest.mark.parametrize("block", [100, 8192])
def test_statistics_of_a_map_are_those_of_the_array(
    corpus: Corpus, mapped: Corpus, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mer_lightning.data.standardise.BLOCK", block)
    rows = np.random.default_rng(0).permutation(N)[:3000]
    found = fit_standardisation(mapped.features, rows)
    for name, array in corpus.features.items():
        exact = array[rows].astype(np.float64)
        torch.testing.assert_close(found.mean[name].double(), torch.from_numpy(np.nanmean(exact, axis=0)))
        torch.testing.assert_close(found.deviation[name].double(), torch.from_numpy(np.nanstd(exact, axis=0)))


def test_a_far_mean_costs_no_precision_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mer_lightning.data.standardise.BLOCK", 64)
    x = (1e4 + np.random.default_rng(0).normal(0, 1, (N, 2))).astype(np.float32)
    found = fit_standardisation({"x": x}, np.arange(N)).deviation["x"]
    np.testing.assert_allclose(found, x.astype(np.float64).std(axis=0), rtol=1e-6)


def test_a_slice_of_a_map_is_gathered_by_its_own_rows(mapped: Corpus, corpus: Corpus) -> None:
    rows = np.array([5, 0, 5, 1999])
    found = gather(mapped.features["b"][1000:3000], rows)
    np.testing.assert_array_equal(found, corpus.features["b"][1000:3000][rows])
    assert type(found) is np.ndarray


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """20 MB."""
    path = tmp_path / "large.npy"
    np.save(path, np.random.default_rng(0).random((5_000, 1000), dtype=np.float32))
    return path


@needs_smaps
def test_little_of_a_map_is_ever_in_memory(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped_sets, "STROKE", 2_000_000)
    monkeypatch.setattr("mer_lightning.data.standardise.BLOCK", 500)
    monkeypatch.setattr("mer_lightning.data.corpus.BLOCK", 500)
    peaks: list[int] = []

    def watched(array: np.ndarray) -> None:
        peaks.append(resident_bytes(large))
        release(array)

    for module in ("memmap", "corpus"):
        monkeypatch.setattr(f"mer_lightning.data.{module}.release", watched)
    array = np.load(large, mmap_mode="r")
    everyone = np.arange(len(array))
    count_missing("x", array, large)
    assert 0 < max(peaks) < 10_000_000
    fit_standardisation({"x": array}, everyone)
    for rows in (everyone[::2], np.random.default_rng(0).permutation(2000)):
        np.testing.assert_array_equal(gather(array, rows)[-1], array[rows[-1]])
    assert len(peaks) > 25
    assert max(peaks) < 10_000_000  # systems map megabytes at a time
    release(array)
    assert resident_bytes(large) == 0
    assert array.sum(dtype=np.float64) > 0
    assert resident_bytes(large) > 18_000_000  # the measure does see a map that is not released


def test_a_map_that_was_written_to_keeps_what_was_written(large: Path) -> None:
    array = np.load(large, mmap_mode="c")
    array[3] = 7
    release(array)
    assert (array[3] == 7).all()


def test_the_labels_of_learnt_rows_come_with_their_features(
    mapped: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BUFFER", 3_000)
    data = FoldData(replace(mapped), FOLDS, 1, "paper", BATCH, seed=0)
    data.valence = mapped.valences  # not standardised: they tell the rows
    data.train_rows = data.train_rows[::-1].copy()  # learn_from appends: rows need not be sorted
    table = data.table(CPU)
    for batch in BatchLoader(table, data.train_rows, BATCH, seed=0):
        rows = torch.tensor([round(v * N) for v in batch.valence.tolist()])
        torch.testing.assert_close(batch.features["b"], table[rows].features["b"])
