"""What can stand in front of an app on a host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.setup.proxy import caddy, haproxy, nginx, nothing, socket_proxyd

if TYPE_CHECKING:
    from nonevent.setup.proxy.base import Proxy

PROXIES: dict[str, Proxy] = {
    "nginx": nginx,
    "caddy": caddy,
    "haproxy": haproxy,
    "socket-proxyd": socket_proxyd,
    "none": nothing,
}
