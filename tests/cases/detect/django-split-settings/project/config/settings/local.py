from .base import *
DEBUG = True
SECRET_KEY = env("LOCAL_KEY")
