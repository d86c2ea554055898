"""What is kept."""

from django.db import models


class Order(models.Model):
    """A picture to print, which release took the order, and which one printed it."""

    made = models.DateTimeField(auto_now_add=True)
    sha256 = models.CharField(max_length=64)
    length = models.PositiveIntegerField()
    taken_by = models.CharField(max_length=20, blank=True)
    printed = models.PositiveIntegerField(default=0)
    printed_by = models.CharField(max_length=20, blank=True)


class Report(models.Model):
    """What the timer saw."""

    made = models.DateTimeField(auto_now_add=True)
    release = models.CharField(max_length=20, blank=True)
    waiting = models.PositiveIntegerField()
