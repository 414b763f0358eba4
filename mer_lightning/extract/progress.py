"""How far an extraction is: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mer_lightning.extract.parts import Part

EVERY = 30.0  # seconds between two lines where there is no terminal


class Speed(ProgressColumn):
    """Clips per second."""

    def render(self, task: Task) -> Text:
        """``2.4 clips/s``."""
        return Text("" if task.speed is None else f"{task.speed:.1f} clips/s")


def shown(batches: Iterable[Sequence[Part]], total: int) -> Iterator[Part]:
    """The parts of all batches, while it is shown how many of ``total`` there were."""
    console = Console(soft_wrap=True, highlight=False)
    columns = (
        TextColumn("clips"), BarColumn(bar_width=32), MofNCompleteColumn(), Speed(),
        TextColumn("time left"), TimeRemainingColumn(), TextColumn("{task.fields[failed]}"),
    )  # fmt: skip
    began = said = time.monotonic()
    done = failed = 0
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total, failed="")
        for batch in batches:
            done += len(batch)
            failed += sum(bool(part.failure) for part in batch)
            bar.update(task, completed=done, failed=f"{failed} failed" if failed else "")
            if not console.is_terminal and time.monotonic() - said > EVERY:
                said = time.monotonic()
                speed = done / (said - began)
                left = timedelta(seconds=round((total - done) / speed))
                console.print(f"{done} of {total} clips, {speed:.2f} clips/s, {left} left, {failed} failed")
            yield from batch
