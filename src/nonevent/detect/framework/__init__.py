"""Web frameworks, in the order in which they are looked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.detect.framework.django import django
from nonevent.detect.framework.entry import entry
from nonevent.detect.framework.fastapi import fastapi
from nonevent.detect.framework.flask import flask

if TYPE_CHECKING:
    from nonevent.detect.framework.base import Framework

FRAMEWORKS: tuple[Framework, ...] = (django, fastapi, flask, entry)
"""A bare callable comes last: a ``wsgi.py`` says less than the framework that it belongs to."""
