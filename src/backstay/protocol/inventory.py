"""What an agent says of the data on its file server, so that the server can tell what no set covers."""

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class VolumeView(_Part):
    """A mounted file system: sizes in bytes."""

    path: str = Field(max_length=4096)
    filesystem: str = Field(max_length=64)
    bytes: int
    used: int


class FolderView(_Part):
    """A folder at the top of a volume."""

    path: str = Field(max_length=4096)


class ShareView(_Part):
    """A folder that others reach over the network."""

    name: str = Field(max_length=255)
    path: str = Field(max_length=4096)
    protocol: str = Field(max_length=16)


class Inventory(_Part):
    """All of them, as found when the agent started, and once a day."""

    volumes: list[VolumeView] = Field(default=[], max_length=1000)
    folders: list[FolderView] = Field(default=[], max_length=1000)
    shares: list[ShareView] = Field(default=[], max_length=1000)
