"""What a server says, for people."""

from datetime import datetime

from backstay.cli.text import local_time


def moment(text: str | None) -> str:
    """A time of the API by this machine's clock and zone; a dash where there is none."""
    if text is None:
        return "-"
    return local_time(int(datetime.fromisoformat(text).timestamp() * 1e9))


def path_text(path: str | dict[str, str]) -> str:
    """A path of the API, which is text or its bytes in base64."""
    if isinstance(path, str):
        return path
    import base64

    return base64.b64decode(path["base64"]).decode("utf-8", "surrogateescape")


def path_given(path: str) -> str | dict[str, str]:
    """A path of the command line, as the API takes it."""
    import base64
    import os

    raw = os.fsencode(path)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode()}
