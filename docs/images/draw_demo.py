"""Draws demo.svg: a real run of the demo, as it looks in a terminal.

    python docs/images/draw_demo.py [SOURCE]

Needs nothing but Backstay itself. SOURCE is the tree to back up; its path is visible in the picture.
"""

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

_COLUMNS = 118
_PICTURE = Path(__file__).with_name("demo.svg")


def main() -> None:
    """Run the demo, and draw what it printed."""
    source = ["--source", sys.argv[1]] if len(sys.argv) > 1 else []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "backstay.cli", "demo", *source]
        printed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
        printed = printed.replace(f"{folder}/", "")
    console = Console(record=True, width=_COLUMNS, file=io.StringIO())
    console.print(Text(f"$ make demo{f' SRC={sys.argv[1]}' if source else ''}", "bold"))
    for line in printed.splitlines():
        console.print(_styled(line))
    without_web_font = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    console.save_svg(str(_PICTURE), title="make demo", code_format=without_web_font)


def _styled(line: str) -> Text:
    text = Text(line)
    if line.startswith("=="):
        text.stylize("bold cyan")
    elif line.lstrip().startswith("$"):
        text.stylize("bold")
    text.highlight_regex(r"^done|the same:|nothing is damaged", "green")
    return text


if __name__ == "__main__":
    main()
