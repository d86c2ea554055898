import os
from pathlib import Path
BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ["SECRET_KEY"]
TOKEN = os.environ.get("TOKEN", "")
if "SENTRY_DSN" in os.environ:
    SENTRY = os.environ["SENTRY_DSN"]
DEBUG = False
ALLOWED_HOSTS = ["shop.example.com", "www.example.com"]
INSTALLED_APPS = ["django.contrib.staticfiles"]
ROOT_URLCONF = "shop.urls"
STATIC_ROOT = BASE_DIR / "public" / "static"
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "shop"}}
