"""What a timer runs."""

from django.core.management.base import BaseCommand

from orders.tasks import add_line


class Command(BaseCommand):
    help = "Note that the timer ran."

    def handle(self, *args, **options):
        add_line("timer")
