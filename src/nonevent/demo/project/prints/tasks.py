"""What the worker does."""

import time

from django.db.models import F
from huey.contrib.djhuey import db_task

from prints.models import Order
from shop.middleware import RELEASE


@db_task()
def print_order(number):
    """Print the picture; an order that is printed twice would show in the numbers."""
    time.sleep(0.05)
    Order.objects.filter(pk=number).update(printed=F("printed") + 1, printed_by=RELEASE)
