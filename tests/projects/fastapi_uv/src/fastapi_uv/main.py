"""The app."""

import asyncio
import hashlib
import importlib.metadata
import os

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

VERSION = "one"

app = FastAPI()


@app.middleware("http")
async def say_release(request: Request, call_next) -> Response:
    response = await call_next(request)
    response.headers["X-Nonevent-Release"] = os.environ.get("NONEVENT_RELEASE", "")
    return response


@app.get("/", response_class=PlainTextResponse)
async def index() -> str:
    return f"fastapi_uv version {VERSION}\n"


@app.get("/healthz", response_class=PlainTextResponse)
async def healthz() -> str:
    return "well\n"


@app.get("/slow", response_class=PlainTextResponse)
async def slow(s: float = 1.0) -> str:
    await asyncio.sleep(s)
    return f"slept {s} version {VERSION}\n"


@app.post("/echo")
async def echo(request: Request) -> JSONResponse:
    digest, length = hashlib.sha256(), 0
    async for chunk in request.stream():
        digest.update(chunk)
        length += len(chunk)
    return JSONResponse({"sha256": digest.hexdigest(), "length": length})


@app.get("/release", response_class=PlainTextResponse)
async def release() -> str:
    return os.environ.get("NONEVENT_RELEASE", "")


@app.get("/package", response_class=PlainTextResponse)
async def package() -> str:
    """The version of the installed package: there is one only where it was installed."""
    return importlib.metadata.version("fastapi-uv")
