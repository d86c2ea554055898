from celery import Celery
app = Celery("a")
