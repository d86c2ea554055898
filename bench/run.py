"""Run measurements: ``build``, ``local`` and ``switches``, or those that are named.

``ship``, ``chaos`` and ``fleet`` are others, which need root for a bed; the last two take an hour.

Tables go to standard output, figures to ``bench/results/NAME.json``. The exit status is 1 where
a measurement shows something that must not be, e.g. a lost request.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

USUAL = ("build", "local", "switches")
NAMES = (*USUAL, "ship", "chaos", "fleet")
LIMIT = 7200


def main(words: list[str]) -> int:
    """Run one after the other, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--write", action="store_true", help="`ship` alone: into the page as well")
    asked = parser.parse_args(words)
    names = asked.names or USUAL
    if unknown := set(names) - set(NAMES):
        parser.error(f"there is no measurement {', '.join(sorted(unknown))}")
    here = Path(__file__).parent
    statuses = []
    for name in names:
        more = ("--write",) if asked.write and name == "ship" else ()
        argv = (sys.executable, str(here / f"{name}.py"), *more)
        statuses.append(subprocess.run(argv, check=False, timeout=LIMIT).returncode)
    return max(statuses)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
