"""Which headers pass through the front, and which it sets. RFC 9110, section 7.6.1."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import h11

Pairs = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate",
     b"proxy-authorization", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)  # fmt: skip
END_TO_END = frozenset({b"host", b"content-length", b"content-type", b"cookie", b"authorization"})
"""Never dropped, though a client may name them in its Connection header."""
FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"})


def for_app(request: h11.Request, *, peer: bytes, local: bytes) -> Pairs:
    """The headers that the app gets for a request.

    ``peer`` is the client's address, ``local`` the address it reached. X-Forwarded-For is
    appended to; X-Forwarded-Proto and -Host are kept where a proxy on this machine has set them,
    since only it knows, and set otherwise: a visitor from elsewhere could claim anything. Host
    stays as the client wrote it.
    """
    trusted = _is_loopback(peer)
    found = {name: value for name, value in request.headers if trusted and name in FORWARDED}
    host = _value(request, b"host") or local
    chunked = is_chunked(request)
    passed = _end_to_end(request, drop_length=chunked)
    headers = [pair for pair in passed if pair[0].lower() not in FORWARDED]
    if _value(request, b"host") is None:
        headers.insert(0, (b"Host", host))
    before = _all(request, b"x-forwarded-for")
    headers.append((b"X-Forwarded-For", b", ".join((*before, peer))))
    headers.append((b"X-Forwarded-Proto", found.get(b"x-forwarded-proto", b"http")))
    headers.append((b"X-Forwarded-Host", found.get(b"x-forwarded-host", host)))
    if chunked:
        headers.append((b"Transfer-Encoding", b"chunked"))
    protocol = switch_asked_for(request)
    if protocol is None:
        headers.append((b"Connection", b"close"))
    else:
        headers += [(b"Connection", b"upgrade"), (b"Upgrade", protocol)]
    return headers


def _is_loopback(peer: bytes) -> bool:
    """Whether an address is this machine's own; one of IPv4 may be written in IPv6."""
    try:
        return ip_address(peer.decode().removeprefix("::ffff:")).is_loopback
    except ValueError:
        return False


def for_client(response: h11.Response | h11.InformationalResponse, *, close: bool) -> Pairs:
    """The headers that the client gets for an answer; ``close`` says that this is the last one."""
    headers = _end_to_end(response, drop_length=is_chunked(response))
    if response.status_code == 101:
        protocol = _value(response, b"upgrade") or b"websocket"
        headers += [(b"Connection", b"upgrade"), (b"Upgrade", protocol)]
    elif close:
        headers.append((b"Connection", b"close"))
    return headers


def switch_asked_for(request: h11.Request) -> bytes | None:
    """The protocol that the client wants to change to, e.g. ``websocket``, or None.

    HTTP/2 in clear text is never passed on: requests inside it would go past the front.
    """
    protocol = _value(request, b"upgrade")
    if protocol is None or b"upgrade" not in _named(request) or protocol.lower() == b"h2c":
        return None
    return protocol


def is_chunked(message: h11.Request | h11.Response | h11.InformationalResponse) -> bool:
    """Whether the body comes in chunks."""
    return _value(message, b"transfer-encoding") is not None


def _end_to_end(
    message: h11.Request | h11.Response | h11.InformationalResponse, *, drop_length: bool
) -> Pairs:
    dropped = HOP_BY_HOP | (_named(message) - END_TO_END)
    if drop_length:
        dropped |= {b"content-length"}
    return [pair for pair in message.headers.raw_items() if pair[0].lower() not in dropped]


def _named(message: h11.Request | h11.Response | h11.InformationalResponse) -> frozenset[bytes]:
    values = _all(message, b"connection")
    return frozenset(word.strip().lower() for value in values for word in value.split(b","))


def _all(
    message: h11.Request | h11.Response | h11.InformationalResponse, wanted: bytes
) -> tuple[bytes, ...]:
    return tuple(value for name, value in message.headers if name == wanted)


def _value(
    message: h11.Request | h11.Response | h11.InformationalResponse, wanted: bytes
) -> bytes | None:
    return next((value for name, value in message.headers if name == wanted), None)
