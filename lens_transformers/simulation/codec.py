"""Nested frozen dataclasses to plain dictionaries and back, with errors that name the field."""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from .distributions import DISTRIBUTIONS


__all__ = ["decode", "encode"]

_DISTRIBUTION_NAMES = {cls: name for name, cls in DISTRIBUTIONS.items()}


def encode(value: Any) -> Any:
    """A configuration, or any value in it, as plain values that YAML can write."""
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if not dataclasses.is_dataclass(value):
        return value
    values = {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    kind = _DISTRIBUTION_NAMES.get(type(value))
    return values if kind is None else {kind: values}


def decode(cls: type, values: Any, path: str) -> Any:
    """Builds the dataclass `cls` from plain values.

    Raises:
        ValueError: If a field is unknown, missing or impossible; the message has its dotted name, which begins by
            `path`.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{path} must be a mapping of fields, got {values!r}.")
    hints = typing.get_type_hints(cls)
    unknown = set(values) - set(hints)
    if unknown:
        raise ValueError(f"{path} has no field {sorted(unknown)[0]!r}; its fields are {', '.join(hints)}.")
    arguments = {name: _decode_field(hints[name], value, f"{path}.{name}") for name, value in values.items()}
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ValueError(f"{path}: {error}.") from error


def _decode_field(hint: Any, value: Any, path: str) -> Any:
    if typing.get_origin(hint) is tuple:
        return _decode_items(typing.get_args(hint)[0], value, path)
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    sections = [option for option in options if dataclasses.is_dataclass(option)]
    if isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in DISTRIBUTIONS:
        (kind, fields), *_ = value.items()
        if DISTRIBUTIONS[kind] not in options:
            raise ValueError(f"{path} cannot be a {kind}.")
        return decode(DISTRIBUTIONS[kind], fields, path)
    if len(sections) == 1:
        return decode(typing.cast(type, sections[0]), value, path)
    return _decode_plain(options, value, path)


def _decode_items(hint: Any, values: Any, path: str) -> tuple:
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError(f"{path} must be a list, got {values!r}.")
    return tuple(_decode_field(hint, value, f"{path}[{number}]") for number, value in enumerate(values))


def _decode_plain(options: tuple[Any, ...], value: Any, path: str) -> Any:
    if bool in options and isinstance(value, bool):
        return value
    if int in options and isinstance(value, int) and not isinstance(value, bool):
        return value
    if float in options and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e10, which has no point, as text.
        except ValueError:
            pass
    if isinstance(value, str) and (str in options or any(typing.get_origin(o) is Literal for o in options)):
        return value
    names = ", ".join(getattr(option, "__name__", str(option)) for option in options)
    raise ValueError(f"{path} cannot be {value!r}; it must be one of: {names}.")
