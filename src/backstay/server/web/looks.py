"""What a content rule leaves out of a folder on a file server's own disk: asked of its agent, live.

Where the agent is not connected, the newest copy of that folder is looked at instead, and called that.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.datastructures import FormData
from starlette.responses import Response

from backstay.domain.errors import BackstayError, Conflict
from backstay.protocol.report import LookAnswer, LookedEntry
from backstay.server import browsing, content_rules, fleet, looks, previews, rule_effects
from backstay.server.access import Permission
from backstay.server.set_paths import shown_path
from backstay.server.tables import BackupSetRow, FileServer, RestorePointRow
from backstay.server.web.visit import PageRoute, SentForm, Visit, changing, seeing, text_of, texts_of

router = APIRouter(route_class=PageRoute, include_in_schema=False, prefix="/looks")

_NEWEST_LOOKED_AT = 50


@dataclass(frozen=True)
class _Asked:
    """What a form asks: the fields of a content rule's page, or of a backup set's.

    Attributes:
        folders: those to choose from, as in a set; `path`: the one to look at.
        asked_for: what was chosen when the person went into a folder; in another place that is forgotten.
    """

    server: FileServer
    folders: list[str]
    path: str
    asked_for: str
    text: str
    default_rules: bool
    cross_mounts: bool


@router.post("")
def ask(visit: Annotated[Visit, Depends(changing(Permission.EDIT))], form: SentForm) -> Response:
    """Ask the agent of the chosen file server; the answer is fetched when it is there."""
    number = text_of(form, "on_server") or text_of(form, "server")
    if not number.isdecimal() or len(number) > 15:
        return visit.part("look.html", asked=None)
    with visit.control.database.read() as db:
        asked = _asked(db, form, int(number))
    if not asked.path:
        return visit.part("look.html", asked=None)
    question = looks.Question(
        asked.server.id, asked.path, asked.text, asked.default_rules, asked.cross_mounts
    )
    given: dict[str, Any] = {"asked": asked, "look": None, "error": None, "copy": None, "effect": None}
    try:
        with visit.control.database.begin() as db:
            given["look"] = looks.ask(db, visit.actor, question, now=visit.now)
        visit.control.wakeups.wake()
    except Conflict as error:
        given |= {"error": error} | _in_newest_copy(visit, asked)
    except BackstayError as error:
        given["error"] = error
    return visit.part("look.html", **given)


def _asked(db: Session, form: FormData, server_id: int) -> _Asked:
    server = fleet.get_file_server(db, server_id)
    text, default_rules = _rule(db, form)
    if "paths" in form:
        folders = texts_of(form, "paths")
        path = folders[0] if folders else ""
    else:
        sets = db.scalars(
            select(BackupSetRow)
            .where(BackupSetRow.file_server_id == server_id, BackupSetRow.removed_at.is_(None))
            .order_by(BackupSetRow.id)
        )
        folders = [shown_path(path) for one in sets for path in one.paths]
        path = text_of(form, "path") or (folders[0] if folders else "")
    asked_for = f"{server_id} {path}"
    if text_of(form, "look_for") == asked_for:
        path = text_of(form, "look") or path
    return _Asked(
        server, folders[:20], path, asked_for, text, default_rules, text_of(form, "cross_mounts") == "true"
    )


def _rule(db: Session, form: FormData) -> tuple[str, bool]:
    """The lines in the form, or those of the rule that is chosen in it."""
    if "text" in form:
        text = form.get("text")
        lines = text.replace("\r\n", "\n") if isinstance(text, str) else ""
        return lines, text_of(form, "default_rules") == "true"
    number = text_of(form, "rule")
    if not number.isdecimal() or len(number) > 15:
        return "", True
    rule = content_rules.get_rule(db, int(number))
    return rule.text, rule.default_rules


def _in_newest_copy(visit: Visit, asked: _Asked) -> dict[str, Any]:
    """What the rule would leave out of the newest copy that has the folder; nothing where there is none."""
    with visit.control.database.read() as db:
        newest = db.scalars(
            select(RestorePointRow)
            .where(RestorePointRow.file_server_id == asked.server.id, RestorePointRow.expired_at.is_(None))
            .order_by(RestorePointRow.committed_at.desc())
            .limit(_NEWEST_LOOKED_AT)
        )
        copy = next((row for row in newest if _has(row.backup_set, asked.path)), None)
    if copy is None:
        return {}
    try:
        rule = previews.whole_rule(
            asked.text, default_rules=asked.default_rules, windows=_is_windows(asked.server)
        )
        opened = browsing.open_point(visit.control, copy.repository_id, copy.id)
        return {"copy": copy, "effect": rule_effects.effect_on(opened, rule)}
    except BackstayError as error:
        return {"error": error}


def _has(backup_set: BackupSetRow, path: str) -> bool:
    wanted = path.rstrip("/\\") + "/"
    kept = [shown_path(one).rstrip("/\\") + "/" for one in backup_set.paths]
    return any(wanted.startswith(one) or one.startswith(wanted) for one in kept)


def _is_windows(server: FileServer) -> bool:
    return server.system.lower() == "windows"


@router.get("/{look_id}")
def show(visit: Annotated[Visit, Depends(seeing(Permission.EDIT))], look_id: int) -> Response:
    """The answer, or that it is still to come, or that it did not come."""
    with visit.control.database.read() as db:
        row, answer = looks.answer_of(db, visit.actor, look_id)
        server = fleet.get_file_server(db, row.file_server_id)
    return visit.part(
        "look_answer.html",
        look=row,
        answer=answer,
        server=server,
        late=visit.now - row.asked_at > looks.PATIENCE,
        rows=_rows(answer.entries, server) if answer else [],
        way=_rows(answer.above, server) if answer else [],
        deeper=_deeper(answer) if answer else [],
    )


def _rows(entries: list[LookedEntry], server: FileServer) -> list[tuple[LookedEntry, bytes, str]]:
    """Each entry with its name, and with its path as it would stand in a backup set."""
    return [(one, one.path.rpartition(b"/")[2], _place_of(one, server)) for one in entries]


def _deeper(answer: LookAnswer) -> list[LookedEntry]:
    """What is left out, but is not among the entries that are listed."""
    listed = {one.path for one in answer.entries}
    return [one for one in answer.left_out if one.path not in listed]


def _place_of(entry: LookedEntry, server: FileServer) -> str:
    """A path as it would stand in a backup set; empty where it cannot."""
    kept = entry.path.decode("utf-8", "surrogateescape")
    if not _is_windows(server):
        return shown_path(kept)
    return kept.lstrip("/").replace("/", "\\") if kept.isprintable() else ""
