"""Deploys and rollbacks on a real host that are cut off at random moments, under constant load.

See ``tests/cut_off.py`` for what is done and what must be true then. The exit status is 1 where
anything was not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from measure import Result, Table, Times, conclude, say

if TYPE_CHECKING:
    from cut_off import Chaos


def result(chaos: Chaos, seed: int) -> Result:
    """The outcome as tables and figures."""
    for line in chaos.wrong:
        print(line)
    count = sum(chaos.happened.values())
    rows = tuple(
        (kind, str(chaos.happened[kind]), str(Times(seconds=chaos.converged[kind])))
        for kind in sorted(chaos.happened)
    )
    summary = Table(
        title=f"{count} commands that were cut off, and {count + 1} that were not, seed {seed}",
        head=("", ""),
        rows=(
            ("requests sent", str(chaos.sent)),
            ("requests lost while the host had power", str(chaos.lost["otherwise"])),
            ("requests lost around a power cut", str(chaos.lost["without power"])),
            ("how what was cut off ended", str(dict(chaos.outcomes))),
            ("what went wrong", str(len(chaos.wrong))),
        ),
    )
    kinds = Table(title="Disturbances", head=("", "times", "until whole"), rows=rows)
    figures: dict[str, object] = {
        "seed": seed, "sent": chaos.sent, "lost": dict(chaos.lost), "wrong": chaos.wrong,
        "outcomes": dict(chaos.outcomes), "happened": dict(chaos.happened),
        "converged": chaos.converged,
    }  # fmt: skip
    return Result(name="chaos", tables=(summary, kinds), figures=figures, good=not chaos.wrong)


def main(argv: list[str]) -> int:
    """Measure, show and keep. Exit status: 1 where anything went wrong."""
    from cut_off import story

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--disturbances", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--standby", default="0s", help="how long releases stand by")
    chosen = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="ne-") as folder:
        chaos = story(
            Path(folder) / "chaos" / "shop",
            disturbances=chosen.disturbances,
            seed=chosen.seed,
            standby=chosen.standby,
            say=say,
        )
    return conclude(result(chaos, chosen.seed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
