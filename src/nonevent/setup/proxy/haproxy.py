"""HAProxy in front of an app: files of ours beside the host's own haproxy.cfg.

A port can be bound by one frontend only, so those for 80 and 443 are shared by all apps, and lead
each name to the backend that is called so. HAProxy gives up all groups but its own and may see
another root: it cannot be let into the app's folder, hence a socket where it can reach it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.model.setup import After, Enabled, File, Fresh, Link
from nonevent.setup.proxy import socket_proxyd

if TYPE_CHECKING:
    from nonevent.model.setup import State
    from nonevent.setup.place import Place

UNIT = "haproxy.service"
OWN = "/etc/haproxy/haproxy.cfg"
FOLDER = "/etc/haproxy/nonevent"
TLS = f"{FOLDER}/tls"
AFTERS: tuple[After, ...] = (
    After(
        name="haproxy",
        test=("haproxy", "-c", "-q", "-f", OWN, "-f", FOLDER),
        run=("systemctl", "try-reload-or-restart", UNIT),
    ),
)

# systemd cuts $CONFIG into words where the unit says `-f $CONFIG`, systemd.service(5).
_START = f"""\
# Written by `nonevent setup`: HAProxy also reads the files of {FOLDER}.
[Service]
Environment="CONFIG={OWN} -f {FOLDER}"
"""

_DEFAULTS = """\
# Written by `nonevent setup`, for all apps on this host.
defaults nonevent
	mode http
	log global
	option httplog
	option dontlognull
	option forwardfor
	# A connection that is kept open would go on to the release before.
	option http-server-close
	timeout connect 5s
	timeout client 60s
	timeout server 60s
	timeout tunnel 1h
	timeout http-request 30s
	timeout http-keep-alive 60s

# `certbot certonly --standalone --http-01-port 8402` proves by this that a name is yours.
backend nonevent_acme from nonevent
	server certbot 127.0.0.1:8402

"""

_FRONTEND = """\
frontend {name} from nonevent
{bind}
	http-request set-header X-Forwarded-Proto {scheme}
	http-request set-header X-Forwarded-Host %[req.hdr(host)]
	http-request set-header X-Real-IP %[src]
	http-request set-var(txn.site) req.hdr(host),field(1,:),lower
	use_backend nonevent_acme if {{ path_beg /.well-known/acme-challenge/ }}
	use_backend %[var(txn.site)] if {{ var(txn.site),nbsrv gt 0 }}
	# A name below `*.example.com`, which is called `_.example.com` here.
	use_backend %[var(txn.site),regsub(^[^.]+,_)]
"""

_HTTP = _DEFAULTS + _FRONTEND.format(
    name="nonevent_http", scheme="http", bind="\tbind *:80\n\tbind [::]:80 v6only"
)
_HTTPS = "# Written by `nonevent setup`, for all apps on this host.\n" + _FRONTEND.format(
    name="nonevent_https",
    scheme="https",
    bind=f"\tbind *:443 ssl crt {TLS}/ alpn h2,http/1.1\n"
    f"\tbind [::]:443 v6only ssl crt {TLS}/ alpn h2,http/1.1",
)

_BACKEND = """\

backend {name} from nonevent
{redirect}	server release unix@{socket}
"""
_REDIRECT = "\thttp-request redirect scheme https code 308 unless { ssl_fc }\n"


def states(place: Place) -> tuple[State, ...]:
    """A socket that the proxy can reach leads to the app, the site is there, it runs."""
    socket = f"/run/nonevent/{place.app}.sock"
    options = f"SocketUser={place.proxy_user}\nSocketMode=0600\n"
    return (
        *socket_proxyd.pair(place, f"{place.proxy_root}{socket}", options),
        File(path=f"/etc/systemd/system/{UNIT}.d/nonevent.conf", text=_START, after="systemd",
             shared=True),
        File(path=f"{FOLDER}/00-http.cfg", text=_HTTP, after="haproxy", shared=True),
        *(_certified(place) if place.tls else ()),
        File(path=f"{FOLDER}/{place.app}.cfg", text=site(place, socket), after="haproxy"),
        # A reload goes on with the arguments that it was started with.
        Fresh(unit=UNIT, argument=FOLDER),
        Enabled(unit=UNIT),
    )  # fmt: skip


def _certified(place: Place) -> tuple[State, ...]:
    """It reads all certificates of a folder, and the key of each from a file beside it."""
    certificate = f"{TLS}/{place.app}.pem"
    return (
        Link(path=certificate, to=place.certificate, after="haproxy"),
        Link(path=f"{certificate}.key", to=place.key, after="haproxy"),
        File(path=f"{FOLDER}/00-https.cfg", text=_HTTPS, after="haproxy", shared=True),
    )


def site(place: Place, socket: str) -> str:
    """The backends of the app's names."""
    redirect = _REDIRECT if place.tls else ""
    names = (domain.lower().replace("*.", "_.") for domain in place.domains)
    backends = (_BACKEND.format(name=name, redirect=redirect, socket=socket) for name in names)
    return f"# Written by `nonevent setup {place.environment}`.\n" + "".join(backends)
