"""The site of an app for nginx, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nonevent.setup.place import Place

_SITE = """\
# Written by `nonevent setup {environment}`, which overwrites changes made here.

map $http_upgrade ${variable} {{
    default upgrade;
    ''      close;
}}

server {{
    listen 80;
    listen [::]:80;
    server_name {domains};

    client_max_body_size 50m;
{static}
    location / {{
        # Without an upstream block nginx keeps no connection open to a release. The socket is a
        # link: whichever release it names at that moment gets the request.
        proxy_pass http://unix:{root}/run/front.sock:;
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection ${variable};
    }}
}}
"""

_STATIC = """
    location /static/ {{
        root {root}/current;
        expires 1h;
        # A page that is still open asks for the files it came with.
        try_files $uri @before;
    }}
    location @before {{
        root {root}/previous;
        expires 1h;
    }}
"""


def site(place: Place) -> str:
    """The configuration of the app's site."""
    return _SITE.format(
        environment=place.environment,
        variable=f"nonevent_{place.app.replace('-', '_')}_connection",
        domains=" ".join(place.domains),
        static=_STATIC.format(root=place.root) if place.static else "",
        root=place.root,
    )
