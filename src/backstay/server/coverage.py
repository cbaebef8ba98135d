"""What of a file server's data no backup set protects, by what its agent found there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from backstay.domain.coverage import CoveringSet, Verdict, judge
from backstay.protocol.inventory import FolderView, Inventory, ShareView, VolumeView
from backstay.server.previews import whole_rule
from backstay.server.tables import BackupSetRow, FileServer


@dataclass(frozen=True)
class CoverageReport:
    """Each volume, top folder and share, and how it is protected.

    Attributes:
        reported: whether the agent has said what there is; otherwise nothing is known, and nothing listed.
        sets: the sets that are switched on.
    """

    reported: bool
    volumes: Sequence[tuple[VolumeView, Verdict]]
    folders: Sequence[tuple[FolderView, Verdict]]
    shares: Sequence[tuple[ShareView, Verdict]]
    sets: Sequence[BackupSetRow]


def coverage_of(db: Session, server: FileServer, now: datetime) -> CoverageReport:
    """How what is on a file server is protected by the sets that are switched on."""
    rows = db.scalars(
        select(BackupSetRow)
        .where(
            BackupSetRow.file_server_id == server.id,
            BackupSetRow.removed_at.is_(None),
            BackupSetRow.enabled.is_(True),
        )
        .order_by(BackupSetRow.name)
        .options(joinedload(BackupSetRow.content_rule))
    ).all()
    windows = server.system.lower().startswith("win")
    sets = [_covering(row, windows) for row in rows]
    inventory = Inventory.model_validate(server.inventory or {})
    mounts = [volume.path for volume in inventory.volumes]
    now_ns = int(now.timestamp() * 1e9)

    def of(path: str) -> Verdict:
        return judge(path, sets, mounts, now_ns)

    return CoverageReport(
        reported=bool(server.inventory),
        volumes=[(one, of(one.path)) for one in inventory.volumes],
        folders=[(one, of(one.path)) for one in inventory.folders],
        shares=[(one, of(one.path)) for one in inventory.shares],
        sets=rows,
    )


def _covering(row: BackupSetRow, windows: bool) -> CoveringSet:
    rule = row.content_rule
    whole = whole_rule(
        rule.text if rule else "", default_rules=rule.default_rules if rule else True, windows=windows
    )
    return CoveringSet(row.id, tuple(row.paths), row.cross_mounts, whole)
