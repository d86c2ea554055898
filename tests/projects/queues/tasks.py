"""Celery's app, and what it does."""

from celery import Celery
from celery.signals import beat_init

import notes

app = Celery("shop", broker="redis://127.0.0.1/0")
app.conf.beat_schedule = {"tick": {"task": "tasks.tick", "schedule": 1.0}}
app.conf.task_routes = {"tasks.late": {"queue": "late"}}
app.conf.worker_concurrency = 1
# What it has not begun is left to others: a worker that was told to stop would hold it.
app.conf.worker_disable_prefetch = True
# How soon a task is handed out again that a worker took and did not acknowledge.
if (visible := notes.DATA / "visible").exists():
    app.conf.broker_transport_options = {"visibility_timeout": int(visible.read_text())}


@app.task
def early(name):
    notes.work(name)


@app.task(acks_late=True, reject_on_worker_lost=True)
def late(name):
    notes.work(name)


@app.task
def tick():
    notes.note("done", "tick")


@beat_init.connect
def alone(sender, **_):
    sender.alone = notes.alone("beat")
    notes.note("begin", "beat")
