"""Constant load over HTTP/2, from one who forgives nothing: ``http2.py ADDRESS`` until SIGTERM.

Says a line once it begins, and at the end what became of the requests, as JSON.
"""

from __future__ import annotations

import hashlib
import json
import random
import signal
import socket
import ssl
import sys
import threading
from collections import Counter
from typing import Any

import h2.config
import h2.connection
import h2.events

CONNECTIONS = 4
PAUSE = 0.1
"""Seconds between two requests on a connection."""
LARGEST = 300_000
"""Bytes of the largest upload: several times what may be sent without being asked to go on."""
LIMIT = 30.0


class Ended(Exception):
    """The other side has ended the connection; nothing was asked on it since."""


class Connection:
    """A connection that is kept, for one request after the other."""

    def __init__(self, address: str) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection((address, 443), timeout=LIMIT)
        self._socket = context.wrap_socket(plain)
        assert self._socket.selected_alpn_protocol() == "h2"
        self._address = address
        settings = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self._http = h2.connection.H2Connection(settings)
        self._http.initiate_connection()
        self._send()

    def ask(self, path: str, body: bytes | None = None) -> tuple[dict[str, str], bytes]:
        """Headers and body of the whole answer."""
        self._refuse_ended()
        stream = self._http.get_next_available_stream_id()
        head = [(":method", "GET" if body is None else "POST"), (":path", path),
                (":scheme", "https"), (":authority", self._address)]  # fmt: skip
        if body is not None:
            head.append(("content-length", str(len(body))))
        self._http.send_headers(stream, head, end_stream=body is None)
        self._rest = body or b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._complete = False
        self._go_on(stream)
        while not self._complete:
            self._read(stream)
        return self._headers, b"".join(self._body)

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _refuse_ended(self) -> None:
        """Read what came since the last answer; it may be the connection's end."""
        self._socket.settimeout(0.0)
        try:
            while data := self._socket.recv(65536):
                events = self._http.receive_data(data)
                if any(isinstance(each, h2.events.ConnectionTerminated) for each in events):
                    break
            raise Ended
        except ssl.SSLWantReadError:
            pass
        except (ConnectionError, ssl.SSLError) as error:
            raise Ended from error
        finally:
            self._socket.settimeout(LIMIT)

    def _read(self, stream: int) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("closed within an answer")
        for event in self._http.receive_data(data):
            match event:
                case h2.events.ResponseReceived(stream_id=number) if number == stream:
                    self._headers = dict(event.headers)
                case h2.events.DataReceived(stream_id=number) if number == stream:
                    self._body.append(event.data)
                    self._http.acknowledge_received_data(event.flow_controlled_length, stream)
                case h2.events.StreamEnded(stream_id=number) if number == stream:
                    self._complete = True
                case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                    raise ConnectionError(repr(event))
                case _:
                    pass
        if not self._complete:
            self._go_on(stream)
        self._send()

    def _go_on(self, stream: int) -> None:
        """Send as much of the body as may be sent."""
        while self._rest:
            window = self._http.local_flow_control_window(stream)
            part = self._rest[: min(window, self._http.max_outbound_frame_size)]
            if not part:
                break
            self._rest = self._rest[len(part) :]
            self._http.send_data(stream, part, end_stream=not self._rest)
        self._send()

    def _send(self) -> None:
        self._socket.sendall(self._http.data_to_send())


def visit(address: str, seed: int, stop: threading.Event, tally: Counter[str]) -> None:
    """Ask, in turns with and without a body, until told to stop."""
    chance = random.Random(seed)
    connection: Connection | None = None
    number = 0
    while not stop.wait(PAUSE):
        number += 1
        body = chance.randbytes(chance.randrange(1, LARGEST)) if number % 2 else None
        try:
            if connection is None:
                connection = Connection(address)
            headers, answer = connection.ask("/echo" if body else "/", body)
            tally[_outcome(headers, answer, body)] += 1
            tally[f"release {headers.get('x-nonevent-release')}"] += 1
        except Ended:
            connection = None
        except Exception as error:  # noqa: BLE001  (whatever it is, a request is lost)
            tally[f"lost: {error!r}"] += 1
            connection = None
    if connection:
        connection.close()


def _outcome(headers: dict[str, str], answer: bytes, body: bytes | None) -> str:
    if headers[":status"] != "200":
        return f"lost: status {headers[':status']} {answer[:80]!r}"
    if body is not None:
        expected = {"sha256": hashlib.sha256(body).hexdigest(), "length": len(body)}
        if json.loads(answer) != expected:
            return "lost: not what was uploaded"
    return "answered"


def main(address: str) -> None:
    """Send until SIGTERM."""
    stop, tally = threading.Event(), Counter[str]()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threads = [
        threading.Thread(target=visit, args=(address, seed, stop, tally))
        for seed in range(CONNECTIONS)
    ]
    for each in threads:
        each.start()
    print("begun", flush=True)  # noqa: T201
    stop.wait()
    for each in threads:
        each.join()
    report: dict[str, Any] = {
        "answered": tally["answered"],
        "lost": {name: count for name, count in tally.items() if name.startswith("lost")},
        "releases": sorted(name.split()[1] for name in tally if name.startswith("release")),
    }
    print(json.dumps(report), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
