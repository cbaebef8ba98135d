"""Makes the standalone Windows agent: dist/backstay-agent-windows.zip, by PyInstaller under wine.

    python packaging/agent_windows.py CACHE DIST

The program in it is tried before it is packed: it backs up and restores a file that the native chunker has
to cut.
"""

import hashlib
import shutil
import sys
import zipfile
from pathlib import Path

from backstay.testing.wine import Unavailable, Wine

_NAME = "backstay"
_LEFT_OUT = ("backstay.testing", "backstay.server", "backstay.mount", "pytest", "_pytest", "PyInstaller")
_ENTRY = "from backstay.cli.main import run\nrun()\n"
_SECONDS = 1800.0


def main(cache: Path, dist: Path) -> int:
    """Build, try and pack; returns the exit code."""
    try:
        wine = Wine(cache)
    except Unavailable as reason:
        print(f"the Windows agent cannot be built here: {reason}", file=sys.stderr)
        return 1
    work = wine.folder / "build"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    entry = work / "entry.py"
    entry.write_text(_ENTRY)
    options = ["--noconfirm", "--onedir", "--console", "--name", _NAME]
    for option, folder in (("--distpath", "dist"), ("--workpath", "work"), ("--specpath", ".")):
        options += [option, wine.path(work / folder)]
    for module in _LEFT_OUT:
        options += ["--exclude-module", module]
    for package in ("backstay", "pyfastcdc", "win32"):
        options += ["--collect-submodules", package]
    options += ["--collect-data", "backstay", "--collect-data", "tzdata", "--hidden-import", "servicemanager"]
    print("building the Windows agent; this takes some minutes ...", flush=True)
    told = wine.python(["-m", "PyInstaller", *options, wine.path(entry)], seconds=_SECONDS)
    built = work / "dist" / _NAME
    if told.returncode or not (built / f"{_NAME}.exe").exists():
        print(told.stdout[-3000:], file=sys.stderr)
        return 1
    if wrong := _try(wine, built / f"{_NAME}.exe"):
        print(f"the program that was built does not work: {wrong}", file=sys.stderr)
        return 1
    dist.mkdir(exist_ok=True)
    packed = dist / "backstay-agent-windows.zip"
    _pack(built, packed)
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    print(f"{packed}: {packed.stat().st_size / 1e6:.1f} MB, SHA-256 {digest}")
    return 0


def _try(wine: Wine, program: Path) -> str:
    """What the program does not do, or nothing."""
    place = wine.drive / "trial"
    shutil.rmtree(place, ignore_errors=True)
    (place / "source").mkdir(parents=True)
    content = bytes(range(256)) * 12_000
    (place / "source" / "large.bin").write_bytes(content)
    environment = {"BACKSTAY_PASSPHRASE": "a trial"}
    for name in ("state", "cache"):
        environment[f"BACKSTAY_{name.upper()}"] = wine.path(place / name)
    repository = wine.path(place / "repository")
    for words in (
        ["--version"],
        ["repo", "init", repository, "--recovery-sheet", wine.path(place / "sheet.txt")],
        ["repo", "backup", repository, wine.path(place / "source")],
        ["repo", "restore", repository, "latest", "--to", wine.path(place / "out")],
        ["agent", "install", "--print"],
    ):
        done = wine.run([str(program), *words], environment)
        if done.returncode:
            return f"{' '.join(words)}: {done.stdout[-500:]}"
    restored = place / "out" / "C" / "trial" / "source" / "large.bin"
    failed = not restored.exists() or restored.read_bytes() != content
    shutil.rmtree(place)
    return "a file came back as another" if failed else ""


def _pack(folder: Path, into: Path) -> None:
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
