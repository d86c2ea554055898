"""A worker without a library: one item of a list after the other, until it is told to stop."""

import signal

from redis import Redis

from notes import work

told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(True))
redis = Redis()
while not told:
    if item := redis.blpop("loop", timeout=1):
        work(item[1].decode())
