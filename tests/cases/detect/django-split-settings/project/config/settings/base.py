import environ
env = environ.Env()
ROOT_DIR = environ.Path(__file__) - 3
APPS = ["django.contrib.staticfiles", "django_celery_beat"]
DATABASES = {"default": env.db("DATABASE_URL")}
EMAIL = env("EMAIL", default="x")
CELERY_BROKER_URL = env("REDIS_URL")
