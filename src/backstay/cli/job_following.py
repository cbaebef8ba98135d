"""Shows a job of the server while it goes on, as `backstay repo backup` shows one that runs here."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from backstay.cli.output import Output
from backstay.cli.progress import Display, JsonDisplay, Moment, PlainDisplay
from backstay.cli.text import counted, shown
from backstay.domain.errors import ServerUnreachable
from backstay.repository.details import StepRecord

if TYPE_CHECKING:
    from backstay.cli.server_client import ServerClient, ServerEvent

_PAUSES = (1.0, 2.0, 5.0)
_PROBLEMS_SHOWN = 20
_EXIT_CODES = {"succeeded": 0, "succeeded_with_warnings": 3}


class _Follower:
    """Turns the server's events into what a display shows."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._begun: set[str] = set()
        self._told: set[str] = set()
        self._said: set[str] = set()
        self._drawn = 0.0
        self.job: dict[str, Any] = {}

    def take(self, event: "ServerEvent") -> None:
        """Show one event."""
        if event.kind == "message" and not self._begun - {"request"}:
            # While nothing runs yet the log says what is waited for; later the steps say it themselves.
            self._say(event.data["text"])
        elif event.kind == "job":
            self.job = event.data
            for step in event.data["steps"]:
                self._step(step)
            self._moment(event.data)

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._display.message(text)

    def _step(self, step: dict[str, Any]) -> None:
        name = step["name"]
        if name not in self._begun:
            self._begun.add(name)
            self._display.step_started(name)
        if step["ended_ns"] is not None and name not in self._told:
            self._told.add(name)
            messages = [text for text in step["messages"] if text not in self._said]
            self._display.step_ended(
                StepRecord(
                    name, step["state"], step["started_ns"], step["ended_ns"], step["figures"], messages
                )
            )

    def _moment(self, job: dict[str, Any]) -> None:
        running = next((step for step in job["steps"] if step["ended_ns"] is None), None)
        if running is None or time.monotonic() - self._drawn < self._display.period:
            return
        self._drawn = time.monotonic()
        far = job["progress"] if job["progress"] and job["progress"]["step"] == running["name"] else {}
        self._display.moment(
            Moment(
                running["name"],
                max(0.0, time.time() - running["started_ns"] / 1e9),
                far.get("files", 0),
                far.get("bytes", 0),
                far.get("path", "").encode("utf-8", "surrogateescape"),
                far.get("expected_files", 0),
                far.get("expected_bytes", 0),
                far.get("seconds_left"),
            )
        )


def follow(client: "ServerClient", job_id: int, output: Output) -> int:
    """Show a job until it is over. Returns the exit code that tells how it ended.

    Where the server goes away it is asked again until it is back. Ctrl-C ends the showing, not the job.

    Raises:
        NotFound, NotSignedIn, Forbidden.
    """
    display = _display(output)
    follower = _Follower(display)
    try:
        for event in _events(client, job_id, output):
            follower.take(event)
    except KeyboardInterrupt:
        output.note(f"job {job_id} goes on; `backstay jobs cancel {job_id}` cancels it")
        return 1
    finally:
        display.close()
    return conclude(client, client.get(f"/jobs/{job_id}"), output)


def conclude(client: "ServerClient", job: dict[str, Any], output: Output) -> int:
    """Say how a job ended, and return its exit code."""
    code = _EXIT_CODES.get(job["state"], 1)
    output.event("result", job)
    state = job["state"].replace("_", " ")
    reason = f": {job['reason']}" if job["reason"] else ""
    point = f", restore point {job['restore_point'][:10]}" if job["restore_point"] else ""
    output.line(shown(f"job {job['id']} {state}{reason}{point}"))
    if job["problem_count"]:
        show_problems(client, job["id"], output)
    if code == 1 and job["hint"] and not output.as_json:
        output.line(shown(f"  hint: {job['hint']}"))
    return code


def show_problems(client: "ServerClient", job_id: int, output: Output) -> None:
    """List files that are not as they should be: the first ones, or with --verbose all that are kept."""
    limit = 1000 if output.verbose or output.as_json else _PROBLEMS_SHOWN
    query = {"limit": limit}
    page = client.get(f"/jobs/{job_id}/problems", query)
    total = page["total"]
    output.line(f"{counted(total, 'file')} with problems:")
    listed = 0
    while page["items"]:
        for one in page["items"]:
            output.event("problem", one)
            output.line(f"  {shown(one['path'])}: {shown(one['reason'])}")
        listed += len(page["items"])
        if page["next"] is None or limit == _PROBLEMS_SHOWN:
            break
        page = client.get(f"/jobs/{job_id}/problems", query | {"after": page["next"]})
    if listed < total:
        more = f"`backstay jobs show {job_id} --verbose` lists more"
        output.line(f"  … and {total - listed:,} more; {more}" if limit == _PROBLEMS_SHOWN else "  …")


def _events(client: "ServerClient", job_id: int, output: Output) -> Iterator["ServerEvent"]:
    last, failures = "", 0
    while True:
        try:
            for event in client.events(f"/jobs/{job_id}/events", last_id=last):
                failures = 0
                last = event.id or last
                yield event
                if event.kind == "end":
                    return
        except ServerUnreachable as error:
            if not failures:
                output.note(f"{error.what}; the job goes on without it, and is looked at again")
            failures += 1
        time.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])


def _display(output: Output) -> Display:
    if output.as_json:
        return JsonDisplay(output)
    if output.is_terminal:
        from backstay.cli.live_display import LiveDisplay

        return LiveDisplay(output)
    return PlainDisplay(output)
