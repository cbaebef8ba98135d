import pytest

from backstay.domain.errors import StorageError, UsageError
from backstay.storage.local import LocalStorage
from backstay.storage.registry import open_storage


@pytest.mark.parametrize("write", [str, "file://{}".format, "file://localhost{}".format, "FILE://{}".format])
def test_local_folders(tmp_path, write):
    """A plain path and a file URL open the same folder."""
    storage = open_storage(write(tmp_path / "store"), create=True)
    assert isinstance(storage, LocalStorage)
    assert storage.location == str(tmp_path / "store")


def test_percent_encoding(tmp_path):
    """A file URL is decoded; a plain path is taken as it is."""
    assert open_storage(f"file://{tmp_path}/a%20b", create=True).location == f"{tmp_path}/a b"
    assert open_storage(f"{tmp_path}/a%20b", create=True).location == f"{tmp_path}/a%20b"


def test_not_created_unasked(tmp_path):
    """Without `create` a missing folder is an error."""
    with pytest.raises(StorageError, match="no storage folder"):
        open_storage(str(tmp_path / "absent"))


def test_unknown_scheme():
    """An unknown scheme is a wrong use; the hint lists those that are known."""
    with pytest.raises(UsageError, match="ftp") as caught:
        open_storage("ftp://host/path")
    assert "file://" in caught.value.hint


@pytest.mark.parametrize("location", ["", "file://host/path", "file://"])
def test_not_a_location(location):
    """An empty location, or a file URL of another machine, is a wrong use."""
    with pytest.raises(UsageError):
        open_storage(location)
