from pathlib import Path
ROOT = Path(__file__).parents[1]
INSTALLED_APPS = ["django.contrib.staticfiles"]
STATIC_ROOT = ROOT.joinpath("out")
