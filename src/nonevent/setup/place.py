"""Where an app is to live on a host: what its units, its site and its rules are filled with."""

from __future__ import annotations

from dataclasses import dataclass

from nonevent.model.layout import KEPT


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An app on one host."""

    app: str
    environment: str
    root: str
    deployer: str
    """The user who logs in and deploys."""
    python: str
    """The host's own interpreter, that runs the agent."""
    proxy: str
    """What stands in front, a key of :data:`nonevent.setup.proxy.PROXIES`."""
    proxy_user: str
    """Who it runs as."""
    proxy_root: str = ""
    """The folder that it sees as ``/``; empty where that is the host's own."""
    domains: tuple[str, ...]
    certificate: str = ""
    """The file of a certificate on the host; ``none``; or empty, where the proxy decides."""
    key: str = ""
    address: str = ""
    port: int | None = None
    """What a bare port listens on; a site has its own ports."""
    static: bool
    """Whether the app has static files."""
    keys: tuple[str, ...]
    """Public keys that may deploy this app and nothing else."""
    agent: str
    """The digest of the agent that they find."""
    web: str
    """The service that the site leads to; empty where there is none."""

    @property
    def site(self) -> str:
        """The group that may enter the app's folder and its sockets: the proxy is one of it.

        No app can have this name, and secrets belong to another group, the app's own.
        """
        return f"{self.app}_site"

    @property
    def door(self) -> str:
        """The socket link that leads to the release that serves."""
        return f"{self.root}/run/front.sock"

    @property
    def files(self) -> tuple[str, ...]:
        """The folders below the root to look for a static file in, one after the other.

        A page that is still open asks for the files that it came with.
        """
        return ("current", "previous", *(f"kept/{number}" for number in range(KEPT)))

    @property
    def tls(self) -> bool:
        """Whether a certificate is given."""
        return self.certificate not in ("", "none")
