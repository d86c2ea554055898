from celery import Celery
queue = Celery("x", broker="redis://")
queue.conf.beat_schedule = {}
