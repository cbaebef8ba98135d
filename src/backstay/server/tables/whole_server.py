"""What is one for all processes of a server."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from backstay.server.tables.base import Base


class Turn(Base):
    """What one server process does for all: when it was last done, and what is remembered until the next."""

    __tablename__ = "turns"
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    taken_at: Mapped[datetime]
    memory: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Setting(Base):
    """Settings that administrators change while the server runs, by name."""

    __tablename__ = "settings"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[Any] = mapped_column(JSON)
    updated_at: Mapped[datetime]
