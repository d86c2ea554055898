"""Task queues by the name of their program, in the order in which they are looked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.detect.queue.celery import celery
from nonevent.detect.queue.dramatiq import dramatiq
from nonevent.detect.queue.huey import huey
from nonevent.detect.queue.rq import rq

if TYPE_CHECKING:
    from nonevent.detect.queue.base import Queue

QUEUES: dict[str, Queue] = {"celery": celery, "rq": rq, "dramatiq": dramatiq, "huey": huey}
