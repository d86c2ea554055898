"""The bed itself: other tests rely on it, so that what it promises is proved here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bed.claim import RUN
from bed.network import NETNS

if TYPE_CHECKING:
    from bed import Bed, Host

NOTE = "/srv/note"


@pytest.fixture(scope="module")
def hosts(bed: Bed) -> tuple[Host, ...]:
    """Three hosts that are up."""
    return bed.hosts("web1", "web2", "lb")


def test_three_hosts_are_up_with_systemd(hosts: tuple[Host, ...]) -> None:
    """Three hosts booted, systemd is their first process, and it says that no unit failed."""
    for host in hosts:
        state = host.run(("systemctl", "is-system-running"), check=False).stdout.strip()
        assert state == "running", host.run(("systemctl", "--failed")).stdout
        assert (
            host.run(("cat", "/proc/1/comm", "/etc/hostname")).stdout == f"systemd\n{host.name}\n"
        )


def test_ssh_logs_in_as_a_user_without_rights(hosts: tuple[Host, ...]) -> None:
    """The user of the configuration is `deploy`, who cannot become root."""
    web1 = hosts[0]
    assert web1.ssh(("id", "-un")).stdout == "deploy\n"
    assert web1.ssh(("id", "-un"), user="root").stdout == "root\n"
    assert web1.ssh(("sudo", "-n", "true"), check=False).returncode == 1


def test_root_on_a_host_has_no_rights_over_the_machine(hosts: tuple[Host, ...]) -> None:
    """Root is the same on a host, with and without ssh: it cannot set the machine's clock."""
    show = ("grep", "CapEff", "/proc/self/status")
    without = hosts[0].run(show).stdout
    assert without == hosts[0].ssh(show, user="root").stdout
    clock = 25  # CAP_SYS_TIME, capabilities(7)
    assert not int(without.split()[1], 16) >> clock & 1


def test_hosts_reach_each_other_by_name(bed: Bed, hosts: tuple[Host, ...]) -> None:
    """A host's sshd answers another host, and a program in the bed's network, by its name."""
    script = "import socket; print(socket.create_connection(('web1', 22), 5).recv(4).decode())"
    assert hosts[2].run(("python3", "-c", script)).stdout == "SSH-\n"
    inside = bed.exec_in_network(("python3", "-c", script.replace("web1", hosts[0].address)))
    assert inside.stdout == "SSH-\n", inside.stderr


def test_a_restart_keeps_the_disk(hosts: tuple[Host, ...]) -> None:
    """After a restart in order a host runs anew and has the files it had."""
    web2 = hosts[1]
    web2.put(NOTE, "kept\n")
    before = _boot_id(web2)
    web2.reboot()
    assert _boot_id(web2) != before
    assert web2.ssh(("cat", NOTE)).stdout == "kept\n"


def test_a_power_cut_ends_all_and_keeps_the_disk(bed: Bed, hosts: tuple[Host, ...]) -> None:
    """A power cut leaves no process and no answer; booted again, the host has what it had."""
    web2 = hosts[1]
    web2.put(NOTE, "kept\n")
    web2.power_cut()
    assert web2.leader() == 0
    web2.put("/srv/later", "written while it was off\n")
    with pytest.raises(TimeoutError):
        bed.connect(web2, 22, timeout=0.5)
    web2.boot()
    assert web2.ssh(("cat", NOTE)).stdout == "kept\n"
    assert web2.read("/srv/later") == "written while it was off\n"


def test_a_reset_empties_the_disk(hosts: tuple[Host, ...]) -> None:
    """A reset host is as if it had never been used, yet it knows the others, and they know it."""
    web2 = hosts[1]
    web2.put(NOTE, "gone\n")
    web2.reset()
    assert web2.ssh(("test", "-e", NOTE), check=False).returncode == 1
    assert hosts[0].address in web2.read("/etc/hosts")


def test_a_cut_host_is_silent_until_mended(bed: Bed, hosts: tuple[Host, ...]) -> None:
    """A connection to a host that is cut off gets no answer at all; mended, it answers."""
    web1, _, lb = hosts
    bed.cut(web1)
    with pytest.raises(TimeoutError):
        bed.connect(web1, 22, timeout=0.5)
    bed.connect(lb, 22).close()
    bed.mend(web1)
    bed.connect(web1, 22).close()


def test_a_slow_host_takes_longer(bed: Bed, hosts: tuple[Host, ...]) -> None:
    """The delay of a link is added once to a round trip."""
    web1 = hosts[0]
    bed.slow(web1, delay=200)
    ping = "import socket,time; t=time.monotonic(); socket.create_connection(('{}', 22), 5)\n"
    script = ping.format(web1.address) + "print(time.monotonic() - t)"
    seconds = float(bed.exec_in_network(("python3", "-c", script)).stdout)
    bed.mend(web1)
    assert 0.2 <= seconds < 1.0


def test_a_host_says_what_it_used(hosts: tuple[Host, ...]) -> None:
    """Processor time of a command on a host is counted for that host."""
    web1 = hosts[0]
    before = web1.cpu_seconds
    web1.run(("python3", "-c", "import time\nwhile time.process_time() < 0.3: pass"))
    assert web1.cpu_seconds - before >= 0.3
    assert web1.memory_peak > 10_000_000


def test_nothing_is_left_over(bed: Bed) -> None:
    """The next bed clears away what a killed process left, and its own, and no other bed."""
    killed = _python(
        "import os, signal\nfrom bed import Bed\nbed = Bed()\nbed.host('web1')\n"
        "print(bed.index, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    assert _left(killed) == ["folder", "namespace", "mount", "cgroup"]
    key = (RUN / killed / "key.pub").read_text()
    ended = _python("from bed import Bed\nwith Bed() as bed: print(bed.index)")
    for index in {killed, ended}:  # Another process may have taken the number since.
        file = RUN / index / "key.pub"
        assert not _left(index) or (file.exists() and file.read_text() != key)
    assert bed.host("web1").leader()


def _python(script: str) -> str:
    """What a script prints that runs in a process of its own."""
    done = subprocess.run(
        (sys.executable, "-c", script),
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        timeout=90,
    )
    assert done.stdout, done.stderr
    return done.stdout.strip()


def _left(index: str) -> list[str]:
    """What a bed of this number has on the machine."""
    name = f"nonevent-bed-{index}"
    cgroups = Path("/sys/fs/cgroup")
    found = {
        "folder": (RUN / index).exists(),
        "namespace": (NETNS / name).exists(),
        "mount": f"/hosts/{index}/" in Path("/proc/self/mountinfo").read_text(),
        "cgroup": bool([*cgroups.glob(f"**/{name}")]),
    }
    return [kind for kind, there in found.items() if there]


def _boot_id(host: Host) -> str:
    return host.read("/proc/sys/kernel/random/boot_id")
