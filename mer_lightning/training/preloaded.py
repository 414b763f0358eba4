"""Imported by the server that workers are forked from, and by nothing else: what workers need.

The server leaves signals to the process that started it, and ends with it.
"""

from mer_lightning.training import crossval  # noqa: F401
from mer_lightning.training.signals import leave_stopping_to_another

leave_stopping_to_another()
