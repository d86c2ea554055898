"""The web: it queues what it is asked for."""

import os

from flask import Flask
from redis import Redis
from rq import Queue

import notes
import tasks

app = Flask(__name__)
redis = Redis()
jobs = Queue("jobs", connection=redis, default_timeout="1h")
QUEUES = {
    "early": tasks.early.delay,
    "late": tasks.late.delay,
    "job": lambda name: jobs.enqueue(notes.work, name),
    "loop": lambda name: redis.rpush("loop", name),
}


@app.get("/")
def index():
    return f"release {os.environ['NONEVENT_RELEASE']}"


@app.get("/queue/<kind>/<name>")
def queue(kind, name):
    QUEUES[kind](name)
    return "queued"
