from .base import *
SECRET_KEY = env("DJANGO_SECRET_KEY")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["example.com"])
WORKERS = env.int("WORKERS")
