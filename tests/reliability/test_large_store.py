"""``make soak``: a store of 12 GB trains within 2 GB of memory."""

import shutil
from pathlib import Path

import pytest

from tests.reliability.large_store import train, write_large_store

STORE, BOUND = 12_000_000_000, 2_000_000_000


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is counted on Linux")
def test_a_store_of_12_gb_trains_within_2_gb(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 1.5 * STORE:
        pytest.skip(f"too little space below {tmp_path}")
    try:
        write_large_store(tmp_path / "store", STORE)
        assert 0 < train(tmp_path / "store", tmp_path / "run").peak_bytes < BOUND
        assert (tmp_path / "run" / "results.json").is_file()
    finally:
        shutil.rmtree(tmp_path / "store", ignore_errors=True)  # pytest would keep it
