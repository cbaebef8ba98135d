"""Coverage-guided fuzzing of every parser of the format. By hand, as it never ends:

    pip install atheris
    python tests/fuzz/fuzz_parsers.py [TARGET] [-max_total_time=SECONDS] [libFuzzer options]

Without a target the first byte of each input chooses one. What it finds becomes a case
in tests/property/test_parsers_fuzz.py.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["backstay", "parsers"]):
    from parsers import outcome, targets

TARGETS = targets()


def main() -> None:
    """Fuzz one parser, or all of them, from the good objects of each."""
    chosen = [name for name in sys.argv[1:] if name in TARGETS]
    options = [word for word in sys.argv[1:] if word not in TARGETS]
    names = chosen or list(TARGETS)

    def try_one(data: bytes) -> None:
        if data:
            outcome(TARGETS[names[data[0] % len(names)]], data[1:])

    with tempfile.TemporaryDirectory(prefix="backstay-corpus-") as corpus:
        for number, name in enumerate(names):
            for which, sample in enumerate(TARGETS[name].samples):
                (Path(corpus) / f"{number}-{which}").write_bytes(bytes([number]) + sample)
        atheris.Setup([sys.argv[0], corpus, "-rss_limit_mb=1500", *options], try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
