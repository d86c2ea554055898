import dramatiq
dramatiq.set_broker(x)
