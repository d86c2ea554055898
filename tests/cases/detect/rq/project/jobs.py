from redis import Redis
from rq import Queue
high = Queue("high", connection=Redis())
low = Queue("low", connection=Redis())
