from somewhere import make
application = make()
