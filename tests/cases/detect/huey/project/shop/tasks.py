from shop.queue import huey

@huey.task()
def work(): ...
