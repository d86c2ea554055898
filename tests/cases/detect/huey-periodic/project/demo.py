from huey import RedisHuey, crontab
huey = RedisHuey()
@huey.periodic_task(crontab(minute="0"))
def work(): ...
