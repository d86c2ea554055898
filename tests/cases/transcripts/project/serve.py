"""Serve the shop on the Unix socket that is named on the command line."""

import os
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import shop


class Server(ThreadingHTTPServer):
    address_family = socket.AF_UNIX
    request_queue_size = 128
    daemon_threads = True

    def server_bind(self):
        self.socket.bind(self.server_address)


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        status, text = shop.answer(self.path)
        body = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("X-Nonevent-Release", getattr(shop, "RELEASE", os.environ["NONEVENT_RELEASE"]))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


Server(sys.argv[1], Answer).serve_forever()
