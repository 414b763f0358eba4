"""How far an extraction is: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Iterable, Iterator

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


def shown(parts: Iterable[Part], total: int) -> Iterator[Part]:
    """The same parts, while it is shown how many of ``total`` there were."""
    console = Console(soft_wrap=True, highlight=False)
    columns = (
        TextColumn("clips"), BarColumn(bar_width=32), MofNCompleteColumn(), Speed(),
        TextColumn("time left"), TimeRemainingColumn(), TextColumn("{task.fields[failed]}"),
    )  # fmt: skip
    began = said = time.monotonic()
    failed = 0
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total, failed="")
        for done, part in enumerate(parts, 1):
            failed += bool(part.failure)
            bar.update(task, completed=done, failed=f"{failed} failed" if failed else "")
            if not console.is_terminal and time.monotonic() - said > EVERY:
                said = time.monotonic()
                speed = done / (said - began)
                left = (total - done) / speed
                console.print(
                    f"{done} of {total} clips, {speed:.1f} clips/s, {left:.0f} s left, {failed} failed"
                )
            yield part
