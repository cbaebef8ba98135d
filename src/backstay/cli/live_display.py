"""The steps as a small table on a terminal, redrawn while the work goes on."""

import time
from typing import TYPE_CHECKING

from backstay.cli.output import Output
from backstay.cli.progress import Moment, figures_text, step_lines
from backstay.cli.text import counted, seconds, shown, size
from backstay.repository.details import StepRecord

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_PERIOD_SECONDS = 0.1
_FIRST_DRAWN_AFTER_SECONDS = 0.4
"""A job that is done before this is not worth loading a drawing library for."""


class LiveDisplay:
    """Draws at most ten times a second; at the end the steps stay as plain lines."""

    period = _PERIOD_SECONDS

    def __init__(self, output: Output) -> None:
        self._output = output
        self._began = time.monotonic()
        self._ended: list[StepRecord] = []
        self._live: Live | None = None

    def step_started(self, name: str) -> None:
        """Drawn with the next moment."""

    def step_ended(self, step: StepRecord) -> None:
        """Drawn with the next moment."""
        self._ended.append(step)

    def moment(self, moment: Moment) -> None:
        """Redraw."""
        if time.monotonic() - self._began < _FIRST_DRAWN_AFTER_SECONDS:
            return
        if self._live is None:
            from rich.live import Live

            self._live = Live(
                auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
            )
            self._live.start()
        self._live.update(self._table(moment), refresh=True)

    def message(self, text: str) -> None:
        """Above the table."""
        if self._live is not None:
            from rich.text import Text

            self._live.console.print(Text(shown(text)))
        else:
            self._output.line(shown(text))

    def close(self) -> None:
        """Clear the table, and leave the steps as lines."""
        if self._live is not None:
            self._live.stop()
        for step in self._ended:
            for line in step_lines(step):
                self._output.line(line)

    def _table(self, moment: Moment) -> "Table":
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), expand=True)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        for step in self._ended:
            style = "green" if step.state == "done" else "red"
            took = seconds(step.ended_ns - step.started_ns)
            table.add_row(Text(step.state, style), Text(step.name), took, Text(figures_text(step)))
        table.add_row(
            Text("running", "yellow"),
            Text(moment.step, "bold"),
            seconds(int(moment.elapsed * 1e9)),
            Text(_so_far(moment)),
        )
        table.add_row("", "", "", Text(shown(moment.path), "dim"))
        return table


def _so_far(moment: Moment) -> str:
    of_files = f" of {moment.expected_files:,}" if moment.expected_files else ""
    of_bytes = f" of {size(moment.expected_size)}" if moment.expected_size else ""
    files = f"{moment.files:,}{of_files} files" if of_files else counted(moment.files, "file")
    text = f"{files}, {size(moment.size)}{of_bytes}, {size(moment.bytes_per_second)}/s"
    if moment.seconds_left is not None:
        text += f", about {seconds(int(moment.seconds_left * 1e9))} left"
    return text
