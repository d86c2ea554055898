"""Orders: a table, and tasks."""
