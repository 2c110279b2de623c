# SPDX-License-Identifier: Apache-2.0
"""Strict settings: one TOML file plus the environment become nested frozen dataclasses, or nothing starts.

A process describes its settings as frozen dataclasses; a nested dataclass is a TOML table. The environment overrides
the file: with prefix `SEALBID_GATEWAY_`, key `port` of table `listen` is `SEALBID_GATEWAY_LISTEN_PORT`. Scalars are
written plainly there; arrays and tables as TOML values (`["a", "b"]`).

Supported: str, int, float, bool, Path, StrEnum, tuple[T, ...], dict[str, T], T | None, and dataclasses of these. A
relative Path in the file is taken from the folder of the file, one in the environment from the working directory.

Refused, naming `table.key`, what was got and what is wanted: an unknown key (in the file or under the prefix), a
missing key, a wrong type, a value a dataclass's `__post_init__` rejects with `ValueError`. Values never appear in
these texts, since a misplaced one may be a secret; the choices of a StrEnum do. Nothing is read at import.
"""

import dataclasses
import tomllib
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field
from enum import StrEnum
from pathlib import Path
from typing import TypeGuard, TypeVar, Union, get_args, get_origin, get_type_hints

from attestation.errors import SettingsError
from attestation.files import read_file

MAX_FILE_BYTES = 1 << 20

T = TypeVar("T")

_SCALARS: dict[type, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    Path: "a path",
}


class _FromEnvironment(str):
    """A value still to be parsed as the type of its field; kept apart from text that stood in the file."""

    __slots__ = ()


def check_address(name: str, address: str | None, *, any_port: bool = False) -> None:
    """For `__post_init__`: `ValueError` unless unset, a unix socket or `host:port`; `any_port` also allows port 0."""
    if address is None or address.startswith(("unix:", "unix-abstract:")):
        return
    host, _, port = address.rpartition(":")
    digits = port.isascii() and port.isdigit() and len(port) <= 5
    if not host or not digits or not (0 if any_port else 1) <= int(port) <= 65535:
        raise ValueError(f"{name} is not host:port with a port up to 65535")


def load_settings(cls: type[T], path: Path | None, env: Mapping[str, str], *, prefix: str) -> T:
    """Settings of one process from its file (if any) and `env`; `prefix` ends in the process, `SEALBID_GATEWAY_`.

    Raises: `SettingsError` naming the key. Does not check that paths exist or that values make sense together.
    """
    table = {} if path is None else _read(path)
    _overlay(table, _leaves(cls), env, prefix)
    folder = Path() if path is None else path.parent
    return _Reader(folder).dataclass(cls, table, "", MISSING)


def _read(path: Path) -> dict[str, object]:
    data = read_file(path, str(path), MAX_FILE_BYTES)
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not TOML: {str(error).lower()}") from error
    except RecursionError as error:
        raise SettingsError(f"{path} is nested too deep") from error


def _leaves(cls: type, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all keys an environment variable may set; a dataclass behind an array or dict is set as a whole."""
    hints = get_type_hints(cls)
    for field in _fields(cls):
        inner = _without_none(hints[field.name])
        if _is_settings(inner):
            yield from _leaves(inner, (*at, field.name))
        else:
            yield (*at, field.name)


def _overlay(table: dict[str, object], leaves: Iterator[tuple[str, ...]], env: Mapping[str, str], prefix: str) -> None:
    names = {prefix + "_".join(leaf).upper(): leaf for leaf in leaves}
    for name in sorted(env):
        if not name.startswith(prefix):
            continue
        if name not in names:
            raise SettingsError(f"{name} is set in the environment, but no such key exists")
        *sections, key = names[name]
        inner: dict[str, object] = table
        for section in sections:
            found = inner.setdefault(section, {})
            if not isinstance(found, dict):
                raise SettingsError(f"{section} is {_kind(found)}, want a table")
            inner = found
        inner[key] = _FromEnvironment(env[name])


class _Reader:
    """Converts decoded TOML to the declared types; every method takes the full name of what it reads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def dataclass(self, cls: type[T], got: object, name: str, default: object) -> T:
        if not isinstance(got, dict):
            raise SettingsError(f"{name} is {_kind(got)}, want a table")
        hints = get_type_hints(cls)
        fields = {field.name: field for field in _fields(cls)}
        for key in got:
            if key not in fields:
                raise SettingsError(f"{_join(name, key)} is unknown, want one of {', '.join(sorted(fields))}")
        values = {
            key: self._field(hints[key], field, got.get(key, MISSING), _join(name, key), default)
            for key, field in fields.items()
        }
        try:
            return cls(**values)
        except ValueError as error:
            raise SettingsError(f"{name}: {error}" if name else str(error)) from error

    def _field(self, hint: object, field: "Field[object]", got: object, name: str, outer: object) -> object:
        """One key: what was given, over the default of the enclosing table, over the field's own default."""
        default = _default(field) if outer is MISSING else getattr(outer, field.name)
        inner = _without_none(hint)
        if _is_settings(inner):
            if got is MISSING and default is not MISSING:
                return default
            return self.dataclass(inner, {} if got is MISSING else got, name, MISSING if default is None else default)
        if got is MISSING:
            if default is MISSING:
                raise SettingsError(f"{name} is missing, want {_wanted(inner)}")
            return default
        return self._value(inner, got, name)

    def _value(self, hint: object, got: object, name: str) -> object:
        if isinstance(got, _FromEnvironment):
            got = _parse(hint, got, name)
        elif hint is Path and isinstance(got, str):
            return self._folder / got
        origin, args = get_origin(hint), get_args(hint)
        if origin is tuple:
            return self._tuple(args, got, name)
        if origin is dict:
            return self._dict(args, got, name)
        if _is_settings(hint):
            return self.dataclass(hint, got, name, MISSING)
        return _scalar(hint, got, name)

    def _tuple(self, args: tuple[object, ...], got: object, name: str) -> tuple[object, ...]:
        if len(args) != 2 or args[1] is not Ellipsis:
            raise TypeError(f"{name}: only tuple[T, ...] is supported")
        if not isinstance(got, list):
            raise SettingsError(f"{name} is {_kind(got)}, want an array")
        return tuple(self._value(args[0], item, f"{name}[{index}]") for index, item in enumerate(got))

    def _dict(self, args: tuple[object, ...], got: object, name: str) -> dict[str, object]:
        if not isinstance(got, dict):
            raise SettingsError(f"{name} is {_kind(got)}, want a table")
        return {key: self._value(args[1], item, _join(name, key)) for key, item in got.items()}


def _scalar(hint: object, got: object, name: str) -> object:
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        if not isinstance(got, str) or got not in list(hint):
            raise SettingsError(f"{name} is not one of {', '.join(hint)}")
        return hint(got)
    if hint is float and isinstance(got, int) and not isinstance(got, bool):
        return float(got)
    if hint is Path and isinstance(got, str):
        return Path(got)
    if hint not in _SCALARS:
        raise TypeError(f"{name}: {hint!r} is not a supported type of a setting")
    if type(got) is not hint:
        raise SettingsError(f"{name} is {_kind(got)}, want {_wanted(hint)}")
    return got


def _parse(hint: object, text: _FromEnvironment, name: str) -> object:
    """The TOML value of a variable: text stays text, everything else is written as in a file."""
    if hint is str or hint is Path or (isinstance(hint, type) and issubclass(hint, StrEnum)):
        return str(text)
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{name} is unreadable in the environment, want {_wanted(hint)}") from error
    if len(parsed) != 1:
        raise SettingsError(f"{name} is more than one value in the environment, want {_wanted(hint)}")
    return parsed["value"]


def _fields(cls: type) -> tuple["Field[object]", ...]:
    return dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()


def _default(field: "Field[object]") -> object:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _is_settings(hint: object) -> TypeGuard[type[object]]:
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


def _without_none(hint: object) -> object:
    """`T | None` as `T`: a key is given or left out, TOML has no null."""
    if get_origin(hint) in (Union, types.UnionType):
        kept = [arg for arg in get_args(hint) if arg is not type(None)]
        if len(kept) != 1:
            raise TypeError(f"{hint!r} is not a supported type of a setting")
        hint = kept[0]
    return hint


def _wanted(hint: object) -> str:
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return "one of " + ", ".join(hint)
    if isinstance(hint, type) and hint in _SCALARS:
        return _SCALARS[hint]
    return "an array" if get_origin(hint) is tuple else "a table"


def _kind(got: object) -> str:
    names = {**_SCALARS, bool: "a boolean", list: "an array", dict: "a table"}
    return names.get(type(got), f"a {type(got).__name__}")


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key
