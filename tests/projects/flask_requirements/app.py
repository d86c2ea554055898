"""A Flask app in one file."""

import hashlib
import os
import time

from flask import Flask, Response, jsonify, request

VERSION = "one"

app = Flask(__name__)


@app.after_request
def say_release(response: Response) -> Response:
    response.headers["X-Nonevent-Release"] = os.environ.get("NONEVENT_RELEASE", "")
    return response


@app.get("/")
def index() -> Response:
    return text(f"flask_requirements version {VERSION}\n")


@app.get("/healthz")
def healthz() -> Response:
    return text("well\n")


@app.get("/slow")
def slow() -> Response:
    seconds = float(request.args.get("s", "1"))
    time.sleep(seconds)
    return text(f"slept {seconds} version {VERSION}\n")


@app.post("/echo")
def echo() -> Response:
    digest, length = hashlib.sha256(), 0
    while chunk := request.stream.read(65536):
        digest.update(chunk)
        length += len(chunk)
    return jsonify(sha256=digest.hexdigest(), length=length)


@app.get("/release")
def release() -> Response:
    return text(os.environ.get("NONEVENT_RELEASE", ""))


def text(body: str) -> Response:
    return Response(body, mimetype="text/plain")
