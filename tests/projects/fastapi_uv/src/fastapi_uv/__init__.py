"""A FastAPI app in a src layout, which is itself a package that has to be installed."""
