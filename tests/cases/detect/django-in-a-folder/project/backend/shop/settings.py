STATIC_ROOT = "/var/www/static"
INSTALLED_APPS = ["django.contrib.staticfiles"]
DATABASES = {}
