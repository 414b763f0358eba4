"""Damaged inputs by the thousand: ``python -m tests.reliability.fuzz --seed 0 --count 2000``.

Every input must be accepted or refused as the contract says (see ``judge``). Prints how many were, and every
break of the contract with the case's number; ``--only N`` runs that case alone, and shows the traceback.
"""

import argparse
import faulthandler
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path
from random import Random

from tests.reliability.judge import SECONDS, FoundError, judged
from tests.reliability.targets import Bench, Target

MEMORY = 2 * 2**30  # bytes that a case may take beyond what the program has


def limit_memory() -> None:
    """Of this process: what it has now, and MEMORY."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def run_case(seed: int, number: int, targets: list[Target], root: Path) -> tuple[str, str, str]:
    """Target, what was damaged, and ``accepted``, ``refused`` or what is wrong."""
    rng = Random(f"{seed} {number}")
    target = rng.choices(targets, [t.share for t in targets])[0]
    work = root / f"case {number}"
    about = target.case(rng, work)
    faulthandler.dump_traceback_later(6 * SECONDS, exit=True)  # a hang that no signal ends
    try:
        return target.name, about, judged(lambda: target.call(work), work)
    except FoundError as found:
        found.add_note(about)
        return target.name, about, f"FOUND {found}\n{''.join(traceback.format_exception(found))}"
    finally:
        faulthandler.cancel_dump_traceback_later()
        shutil.rmtree(work, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--only", type=int)
    parser.add_argument("--target")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        targets = [t for t in Bench(root).targets() if given.target in (None, t.name)]
        limit_memory()
        numbers = range(given.count) if given.only is None else [given.only]
        for number in numbers:
            name, about, outcome = run_case(given.seed, number, targets, root)
            counts[name, outcome if outcome in ("accepted", "refused") else "FOUND"] += 1
            if outcome.startswith("FOUND"):
                text = outcome if given.only is not None else outcome.splitlines()[0][:400]
                print(f"case {number}: {name}, {about}: {text}", flush=True)
    for (name, outcome), n in sorted(counts.items()):
        print(f"{n:6d} {name}: {outcome}")
    found = sum(n for (_, outcome), n in counts.items() if outcome == "FOUND")
    print(f"{sum(counts.values())} inputs, {found} break the contract")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
