ALLOWED_HOSTS = ["localhost"]
