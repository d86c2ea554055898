import dramatiq
import shop.broker

@dramatiq.actor
def work(): ...
