"""Where an app is to live on a host: what its units, its site and its rules are filled with."""

from __future__ import annotations

from dataclasses import dataclass


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
    """``nginx`` or ``none``."""
    proxy_user: str
    domains: tuple[str, ...]
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
