from celery import Celery
app = Celery("work")
