"""What the timer runs; slow where it is told to be."""

import time

from notes import DATA, alone, note

with alone("report"):
    note("begin", "report")
    while (DATA / "slow").exists():
        time.sleep(0.05)
    note("end", "report")
