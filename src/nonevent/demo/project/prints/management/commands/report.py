"""``manage.py report``: what the timer runs."""

from django.core.management.base import BaseCommand

from prints.models import Order, Report
from shop.middleware import RELEASE


class Command(BaseCommand):
    """Note how many orders wait to be printed."""

    requires_system_checks = ()

    def handle(self, **options):
        waiting = Order.objects.filter(printed=0).count()
        Report.objects.create(release=RELEASE, waiting=waiting)
        self.stdout.write(f"{waiting} orders are waiting")
