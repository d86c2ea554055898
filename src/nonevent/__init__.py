"""Deploy Python applications to Linux servers so that a deployment is a non-event."""

__version__ = "0.1.0"
