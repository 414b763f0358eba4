"""Objects of classes that a configuration names: callbacks and loggers.

What is named here comes from the command line and the user's own configuration files. A configuration that a
run has saved is compared and shown; no objects are made of it.
"""

from collections.abc import Mapping
from inspect import isclass, signature
from typing import Any

from mer_lightning.errors import UserError, one_line


def made(key: str, settings: Mapping[str, Any], kind: Any, offered: Mapping[str, Any]) -> Any:
    """The object of ``settings["_target_"]``; of what is offered it gets what it names and was not given.

    Raises UserError where there is no such class, it is no ``kind``, or it refuses its arguments.
    """
    from hydra.utils import instantiate  # late: not for --help

    try:
        part = instantiate(dict(settings), _partial_=True, _convert_="all")
        if not (isclass(part.func) and issubclass(part.func, kind)):
            raise UserError(f"{key}: {settings['_target_']} is no {kind.__name__} of Lightning's")
        named = signature(part.func).parameters
        return part(**{k: v for k, v in offered.items() if k in named and settings.get(k) is None})
    except UserError:
        raise
    except Exception as error:  # whatever somebody's class raises
        raise UserError(f"{key}: {settings['_target_']} cannot be made: {one_line(error)}") from error
