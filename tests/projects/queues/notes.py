"""What happened, line by line, in the folder that survives releases."""

import fcntl
import os
import pathlib
import time

DATA = pathlib.Path(os.environ.get("NONEVENT_DATA", "."))
RELEASE = os.environ.get("NONEVENT_RELEASE", "0")


def note(what, name):
    """One write to a file opened for appending: lines of several processes do not mix."""
    line = f"{what} {name} {RELEASE} {os.getpid()} {time.time()}\n"
    with (DATA / "notes").open("ab", buffering=0) as file:
        file.write(line.encode())


def work(name):
    """A task that is called long goes on until it may end."""
    note("begin", name)
    while name.startswith("long") and not (DATA / "go").exists():
        time.sleep(0.05)
    note("end", name)


def alone(name):
    """Hold this name until the file that is returned is closed; note it where another has it."""
    file = (DATA / f"{name}.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note("twice", name)
    return file
