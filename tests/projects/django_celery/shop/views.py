"""The views."""

import hashlib
import os
import time

from django.conf import settings
from django.http import HttpResponse, JsonResponse
from django.templatetags.static import static

from orders.models import Order
from orders.tasks import work as work_task

VERSION = "one"


def text(body):
    return HttpResponse(body, content_type="text/plain")


def index(request):
    return text(f"django_celery version {VERSION}\n")


def healthz(request):
    Order.objects.count()
    return text("well\n")


def slow(request):
    seconds = float(request.GET.get("s", "1"))
    time.sleep(seconds)
    return text(f"slept {seconds} version {VERSION}\n")


def echo(request):
    digest, length = hashlib.sha256(), 0
    while chunk := request.read(65536):
        digest.update(chunk)
        length += len(chunk)
    return JsonResponse({"sha256": digest.hexdigest(), "length": length})


def release(request):
    return text(os.environ.get("NONEVENT_RELEASE", ""))


def css(request):
    """The address of the style sheet, with the digest that collectstatic gave it."""
    return text(static("shop/site.css"))


def orders(request):
    """The number of orders; with POST, after one more."""
    if request.method == "POST":
        Order.objects.create(name=request.GET.get("name", "order"))
    return text(f"{Order.objects.count()}\n")


def work(request):
    """Queue a task that takes ``s`` seconds and then notes ``name``."""
    work_task.delay(float(request.GET.get("s", "0")), request.GET["name"])
    return text("queued\n")


def done(request):
    """A line for each task that is done: its name and the release of the worker that did it."""
    try:
        return text((settings.DATA / "done.txt").read_text())
    except FileNotFoundError:
        return text("")
