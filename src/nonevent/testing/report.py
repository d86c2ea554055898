"""What became of the requests of a load."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field

FIRST_LOSSES = 50
"""How many losses are kept with time and detail; all are counted."""

CAUSES = ("connect", "reset", "closed", "short", "timeout", "status", "echo", "protocol")
"""Why a request counts as lost.

No connection; a reset; closed before the answer; closed within the answer; no whole answer in
time; a status that is not 2xx; not what was uploaded; not HTTP.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One lost request; ``time`` is in UTC, ISO 8601 with milliseconds."""

    time: str
    after: float
    """Seconds from the start of the load until the loss was seen."""
    kind: str
    cause: str
    detail: str
    kept: bool
    """Whether it was sent on a connection that is kept alive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds from when a request was due until its answer was complete."""

    median: float = 0.0
    p95: float = 0.0
    longest: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome of a load: ``sent`` is ``answered`` and all of ``lost`` together."""

    seconds: float
    sent: int
    answered: int
    lost: dict[str, int]
    """By cause, of :data:`CAUSES`; causes that did not occur are left out."""
    reconnected: int
    """Connections whose end was seen before a request was written on them: nothing was lost."""
    behind: float
    """Seconds that the load generator itself was late at worst."""
    latency: dict[str, Latency]
    """By kind of request, answered ones only."""
    releases: dict[str, int]
    """Answers by the release that they named."""
    losses: tuple[Loss, ...]
    """The first ones."""

    @property
    def lost_count(self) -> int:
        """How many requests were lost."""
        return sum(self.lost.values())

    def as_dict(self) -> dict[str, object]:
        """The report as JSON carries it."""
        return asdict(self)

    def __str__(self) -> str:
        """A few lines for people."""
        lines = [
            f"{self.sent} sent in {self.seconds:.1f} s",
            f"  {self.answered} answered, {self.lost_count} lost",
            f"  {self.reconnected} connections closed by the other side while idle",
        ]
        lines += [f"  lost by {cause}: {count}" for cause, count in self.lost.items()]
        lines += [
            f"  {kind}: median {1000 * each.median:.0f} ms, 95 % {1000 * each.p95:.0f} ms, "
            f"longest {1000 * each.longest:.0f} ms"
            for kind, each in self.latency.items()
        ]
        lines += [f"  release {name}: {count}" for name, count in self.releases.items()]
        lines += [f"  {each.time} {each.kind} {each.cause}: {each.detail}" for each in self.losses]
        return "\n".join(lines)


def report_from(raw: dict[str, object]) -> Report:
    """The report in what :meth:`Report.as_dict` made and JSON carried.

    Raises:
        TypeError: where it is not one.
    """
    values = dict(raw)
    losses, latency = values.pop("losses"), values.pop("latency")
    if not isinstance(losses, list) or not isinstance(latency, dict):
        raise TypeError(raw)
    return Report(
        losses=tuple(Loss(**each) for each in losses),
        latency={kind: Latency(**each) for kind, each in latency.items()},
        **values,  # type: ignore[arg-type]
    )


@dataclass(slots=True, kw_only=True)
class Tally:
    """The running count while a load is under way."""

    sent: int = 0
    reconnected: int = 0
    behind: float = 0.0
    lost: Counter[str] = field(default_factory=Counter)
    releases: Counter[str] = field(default_factory=Counter)
    losses: list[Loss] = field(default_factory=list)
    latencies: dict[str, list[float]] = field(default_factory=dict)

    @property
    def answered(self) -> int:
        """How many requests were answered as they must be."""
        return sum(len(each) for each in self.latencies.values())

    def answer(self, kind: str, *, latency: float, release: str) -> None:
        """Count a good answer; an empty release is not counted by release."""
        self.latencies.setdefault(kind, []).append(latency)
        if release:
            self.releases[release] += 1

    def lose(self, loss: Loss) -> None:
        """Count a loss."""
        self.lost[loss.cause] += 1
        if len(self.losses) < FIRST_LOSSES:
            self.losses.append(loss)

    def report(self, *, seconds: float) -> Report:
        """What has been counted."""
        return Report(
            seconds=round(seconds, 3),
            sent=self.sent,
            answered=self.answered,
            lost=dict(sorted(self.lost.items())),
            reconnected=self.reconnected,
            behind=round(self.behind, 4),
            latency={kind: spread(each) for kind, each in sorted(self.latencies.items())},
            releases=dict(sorted(self.releases.items())),
            losses=tuple(self.losses),
        )


def spread(latencies: list[float]) -> Latency:
    """Median, 95th percentile (nearest rank) and longest; zeros where there are none."""
    ranked = sorted(latencies)
    if not ranked:
        return Latency()
    last = len(ranked) - 1
    return Latency(
        median=round(ranked[last // 2], 4),
        p95=round(ranked[-(-95 * len(ranked) // 100) - 1], 4),
        longest=round(ranked[-1], 4),
    )
