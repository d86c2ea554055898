"""nginx in front of an app: a site in ``/etc/nginx/conf.d``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.model.setup import After, Enabled, File, Member

if TYPE_CHECKING:
    from nonevent.model.setup import State
    from nonevent.setup.place import Place

UNIT = "nginx.service"
AFTERS: tuple[After, ...] = (
    After(
        name="nginx",
        test=("nginx", "-t", "-q"),
        run=("systemctl", "try-reload-or-restart", UNIT),
    ),
)

_SITE = """\
# Written by `nonevent setup {environment}`, which overwrites changes made here. What is yours goes
# into {own}/*.conf, which is read below.

map $http_upgrade ${variable} {{
    default upgrade;
    ''      close;
}}
{redirect}
server {{
{listen}
    server_name {domains};

    client_max_body_size 50m;
    include {own}/*.conf;
{acme}{static}
    location / {{
        # Without an upstream block nginx keeps no connection open to a release. The socket is a
        # link: whichever release it names at that moment gets the request.
        proxy_pass http://unix:{door}:;
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

_PLAIN = """\
    listen 80;
    listen [::]:80;"""

# The parameter `http2` is understood by all versions; the directive only since 1.25.1.
_TLS = """\
    listen 443 ssl http2;
    listen [::]:443 ssl http2;
    ssl_certificate {certificate};
    ssl_certificate_key {key};"""

_REDIRECT = """
server {{
{listen}
    server_name {domains};
{acme}
    location / {{
        return 308 https://$host$request_uri;
    }}
}}
"""

_ACME = """
    # `certbot certonly --webroot -w /var/www/html` proves by this that the name is yours.
    location ^~ /.well-known/acme-challenge/ {
        root /var/www/html;
    }
"""

_STATIC = """
    location /static/ {{
        root {root};
        expires 1h;
        # A page that is still open asks for the files it came with.
        try_files {files} =404;
    }}
"""


def states(place: Place) -> tuple[State, ...]:
    """The proxy may enter the app's folder, its site is there, it runs."""
    return (
        # It looks its groups up whenever it is reloaded.
        Member(user=place.proxy_user, group=place.site, after="nginx"),
        File(path=f"/etc/nginx/conf.d/{place.app}.conf", text=site(place), after="nginx"),
        Enabled(unit=UNIT),
    )


def site(place: Place) -> str:
    """The configuration of the app's site."""
    domains = " ".join(place.domains)
    tls = _TLS.format(certificate=place.certificate, key=place.key)
    redirect = _REDIRECT.format(listen=_PLAIN, domains=domains, acme=_ACME)
    files = " ".join(f"/{each}$uri" for each in place.files)
    return _SITE.format(
        environment=place.environment,
        own=f"/etc/nginx/nonevent/{place.app}",
        variable=f"nonevent_{place.app.replace('-', '_')}_connection",
        redirect=redirect if place.tls else "",
        listen=tls if place.tls else _PLAIN,
        domains=domains,
        acme="" if place.tls else _ACME,
        static=_STATIC.format(root=place.root, files=files) if place.static else "",
        door=place.door,
    )
