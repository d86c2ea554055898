"""What was observed on a host, before anything is decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.dataclass import dataclass, field
from nonevent.model.ledger import History

if TYPE_CHECKING:
    from nonevent.model.instance import Instance, InstanceId
    from nonevent.model.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that a plan depends on."""

    history: History = field(default_factory=History)
    manifests: tuple[tuple[int, Manifest], ...] = ()
    """The releases that are complete on disk, by number."""
    instances: tuple[Instance, ...] = ()
    links: tuple[tuple[str, InstanceId], ...] = ()
    """Per web service, the instance that its socket link names."""
    current_link: int | None = None
    """The release that the link ``current`` names."""
    front: tuple[str, int] | None = None
    """Address and port that the embedded front holds."""
    keeper: bool = False
    """Whether the keeper runs."""
    standby: int | None = None
    """The release that stands by, its time not being over."""
    in_use: frozenset[int] = frozenset()
    """The releases that any process runs: instances, timers, a shell."""
    orphans: tuple[str, ...] = ()
    """Layers, config versions and the like that nothing refers to."""

    def manifest(self, release: int) -> Manifest | None:
        """The manifest of a release that is on disk, or None."""
        return dict(self.manifests).get(release)

    def link(self, service: str) -> InstanceId | None:
        """The instance that serves a web service, or None."""
        return dict(self.links).get(service)
