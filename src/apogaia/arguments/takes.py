"""A decorator with which a function states the kinds of its arguments, and gets them as plain values."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from astropy import units as u

from apogaia.arguments.plain import Kind, made_plain, numbers, unit_of

__all__ = ["takes"]

P = ParamSpec("P")
R = TypeVar("R")


def takes(**kinds: Kind | str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """State the kinds of arguments: a unit, a function of `apogaia.arguments.plain`, or another argument's name.

    With the name of another argument, an argument is in the unit of that one. The function is called with plain values;
    None stays None where it is the default. The statement is kept as the function's attribute ``takes``.

    Examples
    --------
    >>> from astropy import units as u
    >>> @takes(parallax=u.mas)
    ... def distance(parallax):
    ...     return 1000 / parallax
    >>> print(f"{distance(0.001 * u.arcsec):.1f}")
    1000.0
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        parameters = inspect.signature(function).parameters
        places = {name: i for i, name in enumerate(parameters)}
        stated = [(places[name], name, kind, parameters[name].default is None) for name, kind in kinds.items()]
        title = function.__qualname__

        def plain(given, value, name: str, kind: Kind | str):
            label = f"{title}: {name}"
            if not isinstance(kind, str):
                return made_plain(kind, value, label)
            args, kwargs = given
            other = args[places[kind]] if places[kind] < len(args) else kwargs.get(kind)
            unit = unit_of(other) or (None if unit_of(value) is None else u.dimensionless_unscaled)
            return numbers(value, unit, label)

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            changed: list[Any] = list(args)
            named: dict[str, Any] = dict(kwargs)
            for place, name, kind, optional in stated:
                if place < len(args):
                    if not (optional and args[place] is None):
                        changed[place] = plain((args, kwargs), args[place], name, kind)
                elif name in kwargs and not (optional and kwargs[name] is None):
                    named[name] = plain((args, kwargs), kwargs[name], name, kind)
            return function(*changed, **named)

        called.takes = kinds  # type: ignore[attr-defined]
        return called

    return decorate
