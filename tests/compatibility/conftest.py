"""Lets the tests here import the second reader, which belongs to no package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
