"""The Platform Manager's tasks: one folder a namespace, one function in its `__init__.py` a command."""
