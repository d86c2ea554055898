"""Caddy in front of an app: a file that the host's own Caddyfile imports."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nonevent.model.setup import After, Enabled, File, Fresh, Line, Member

if TYPE_CHECKING:
    from nonevent.model.setup import State
    from nonevent.setup.place import Place

UNIT = "caddy.service"
CADDYFILE = "/etc/caddy/Caddyfile"
AFTERS: tuple[After, ...] = (
    After(
        name="caddy",
        # As its own user: files that the test makes, and those that it reads, are Caddy's.
        test=(
            "setpriv", "--reuid=caddy", "--regid=caddy", "--init-groups", "--reset-env",
            "caddy", "validate", "--config", CADDYFILE,
        ),
        run=("systemctl", "try-reload-or-restart", UNIT),
    ),
)  # fmt: skip

_SITE = """\
# Written by `nonevent setup {environment}`, which overwrites changes made here. What is yours goes
# into {own}/*.caddyfile, which is read below.
{addresses} {{
	import {own}/*.caddyfile
{tls}{static}
	handle {{
		# The socket is a link: whichever release it names at that moment gets the request.
		reverse_proxy unix/{door} {{
			transport http {{
				# A connection that is kept open would go on to the release before.
				keepalive off
			}}
		}}
	}}
}}
{redirect}"""

# Caddy would do so by itself, if no site of the host's own took all names on port 80.
_REDIRECT = """
{addresses} {{
	redir https://{{host}}{{uri}} 308
}}
"""

_STATIC = """
	@static {{
		path /static/*
		# A page that is still open asks for the files it came with.
		file {{
			root {root}
			try_files {files}
		}}
	}}
	handle @static {{
		root * {root}
		rewrite * {{file_match.relative}}
		header Cache-Control max-age=3600
		file_server
	}}
"""


def states(place: Place) -> tuple[State, ...]:
    """The proxy may enter the app's folder, its site is there, it runs."""
    return (
        Member(user=place.proxy_user, group=place.site),
        Line(path=CADDYFILE, text="import Caddyfile.d/*.caddyfile", after="caddy"),
        File(path=f"/etc/caddy/Caddyfile.d/{place.app}.caddyfile", text=site(place), after="caddy"),
        # A process does not learn of a group that its user comes to belong to.
        Fresh(unit=UNIT, group=place.site),
        Enabled(unit=UNIT),
    )


def site(place: Place) -> str:
    """The configuration of the app's site."""
    secured = [each for each in place.domains if _is_secured(place, each)]
    plain = [f"http://{each}" for each in place.domains if each not in secured]
    redirect = _REDIRECT.format(addresses=", ".join(f"http://{each}" for each in secured))
    files = " ".join(f"/{each}{{path}}" for each in place.files)
    return _SITE.format(
        environment=place.environment,
        own=f"/etc/caddy/nonevent/{place.app}",
        addresses=", ".join((*secured, *plain)),
        tls=f"\ttls {place.certificate} {place.key}\n" if place.tls else "",
        static=_STATIC.format(root=place.root, files=files) if place.static else "",
        door=place.door,
        redirect=redirect if secured else "",
    )


def _is_secured(place: Place, domain: str) -> bool:
    """Whether it is served with TLS: Caddy gets certificates itself for names of the public DNS."""
    private = r"(.*\.)?(\d+|local|internal|test|localhost|home\.arpa)"
    public = "." in domain and not re.fullmatch(private, domain)
    return place.tls or (place.certificate == "" and public)
