"""The strict loader of typed configurations; it takes any root schema.

A root schema is a dataclass whose fields are sections, each defined beside what it configures. YAML files
hold any subset of those sections and are laid over the defaults from left to right; ``key=value`` words on
the command line come last. Nothing unknown passes: a key that the schema lacks, because nothing or another
command reads it, is an error which names the file and the nearest key that exists. Contradictions are refused
by the dataclasses themselves (``__post_init__``).
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MappingNode, SafeLoader, ScalarNode, YAMLError, compose

from common.errors import UserError

T = TypeVar("T")
# YAML takes these for truth values; where a word is wanted, they are that word.
_TRUTH_WORDS = ("yes", "no", "on", "off", "true", "false")
_HERE = re.compile(r"\$\{here:([^{}]*)\}")


def load_config(
    schema: type[T],
    files: Iterable[Path | str] = (),
    overrides: Iterable[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> T:
    """Build ``schema``: its defaults, then the YAML ``files`` in order, then ``key.path=value`` overrides.

    ``defaults``: nested values in the place of the schema's own.

    Paths are relative to the working directory. In a file ``${here:../models/x}`` is a path relative to that
    file, so that it works from anywhere. Words such as ``no`` and ``on`` are words where the schema wants a
    string, quoted or not.

    Raises:
        UserError: a missing or unreadable file, an unknown key, a value of the wrong type, or numbers that
            contradict each other across sections.
    """
    config = _structured(schema)
    config.merge_with(dict(defaults or {}))
    for file in files:
        _merge(config, schema, _read(Path(file), schema), str(file))
    for word in overrides:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise UserError(f"The override {word!r} is not of the form key=value.")
        try:
            # YAML reads nothing as null; on a command line `key=` means an empty value.
            layer = OmegaConf.from_dotlist([word if word != f"{name}=" else f'{name}=""'])
        except (OmegaConfBaseException, YAMLError, ValueError) as error:
            raise UserError(f"The override {word!r} cannot be read: {_first_line(error)}") from error
        if text.lower() in _TRUTH_WORDS and _leaf_type(schema, name) is str:
            OmegaConf.update(layer, name, text)
        _merge(config, schema, layer, "the command line")
    try:
        built = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise UserError(f"The configuration cannot be resolved: {_first_line(error)}.") from error
    assert isinstance(built, schema)
    return built


def section_names(files: Iterable[Path | str], overrides: Iterable[str]) -> frozenset[str]:
    """The sections that files and ``key.path=value`` words name, for commands with several root schemas.

    Files that cannot be read name none: :func:`load_config` says what is wrong with them.
    """
    names = {word.partition("=")[0].partition(".")[0] for word in overrides}
    for file in map(Path, files):
        try:
            layer = OmegaConf.load(file) if file.is_file() else None
        except (OmegaConfBaseException, YAMLError, UnicodeDecodeError, OSError):
            continue
        if isinstance(layer, DictConfig):
            names |= {str(name) for name in layer}
    return frozenset(names)


def to_yaml(config: Any) -> str:
    """The full configuration as YAML; ``load_config`` reads it back to an equal object."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def _read(file: Path, schema: Any) -> DictConfig:
    if not file.is_file():
        raise UserError(f"{file}: no such configuration file; check the path given to --config.")
    try:
        layer = OmegaConf.load(file)
        words = list(_words(compose(file.read_text(encoding="utf-8"), SafeLoader), schema))
    except (OmegaConfBaseException, YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{file}: not readable as YAML ({_first_line(error)}).") from error
    if not isinstance(layer, DictConfig):
        raise UserError(f"{file}: must be a YAML mapping of sections, such as 'train:'.")
    for name, word in words:
        OmegaConf.update(layer, name, word)
    return OmegaConf.create(_placed(OmegaConf.to_container(layer, resolve=False), file.resolve().parent))


def _words(node: Any, schema: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, text) of what YAML takes for a truth value where the schema wants a string."""
    if not isinstance(node, MappingNode):
        return
    for key, value in node.value:
        wanted = _leaf_type(schema, key.value)
        if is_dataclass(wanted):
            yield from _words(value, wanted, f"{prefix}{key.value}.")
        elif wanted is str and isinstance(value, ScalarNode) and value.tag == "tag:yaml.org,2002:bool":
            yield prefix + key.value, value.value


def _placed(value: Any, folder: Path) -> Any:
    """``value`` with every ``${here:path}`` as an absolute path, taken from ``folder``."""
    if isinstance(value, dict):
        return {key: _placed(item, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [_placed(item, folder) for item in value]
    if isinstance(value, str):
        return _HERE.sub(lambda found: str((folder / found[1].strip()).resolve()), value)
    return value


def _structured(schema: Any) -> DictConfig:
    """The defaults, for one to change; copying them takes a fifth of the time that making them takes."""
    return copy.deepcopy(_defaults(schema))


_defaults = cache(OmegaConf.structured)
_hints: Callable[[Any], dict[str, Any]] = cache(get_type_hints)


def _merge(config: DictConfig, schema: type, layer: DictConfig, origin: str) -> None:
    """Lay ``layer`` over ``config`` in place: a copy for every word would take most of the time."""
    _refuse_unknown(schema, OmegaConf.to_container(layer, resolve=False), origin, "", schema)
    try:
        config.merge_with(layer)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "a value"
        raise UserError(f"{origin}: {key} has the wrong type: {_first_line(error)}.") from error


def _refuse_unknown(schema: Any, values: Any, origin: str, prefix: str, root: type) -> None:
    if not isinstance(values, Mapping):
        raise UserError(f"{origin}: {prefix.rstrip('.')} must hold keys of its own, not {values!r}.")
    hints = _hints(schema)
    for key, value in values.items():
        if key not in hints:
            nearest = _nearest(prefix, str(key), hints, _all_keys(root))
            meant = (
                f"the nearest valid key is {nearest}"
                if nearest
                else f"this command reads {', '.join(prefix + name for name in hints)}"
            )
            raise UserError(f"{origin}: unknown key {prefix}{key}; {meant}.")
        if is_dataclass(hints[key]):
            _refuse_unknown(hints[key], value, origin, f"{prefix}{key}.", root)


def _nearest(prefix: str, key: str, siblings: Iterable[str], every_key: list[str]) -> str | None:
    """The valid key that was probably meant: a similar name here, or the same name in another section."""
    near = [prefix + name for name in difflib.get_close_matches(key, siblings, n=1, cutoff=0.6)]
    moved = [name for name in every_key if name.rpartition(".")[2] == key]
    return next(iter([*moved, *near]), None)


def _leaf_type(schema: Any, name: str) -> Any:
    """The type of the field at a dotted path, None where there is none."""
    for part in name.split("."):
        schema = _hints(schema).get(part) if is_dataclass(schema) else None
    return schema


def _all_keys(schema: Any, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, hint in _hints(schema).items():
        keys += _all_keys(hint, f"{prefix}{name}.") if is_dataclass(hint) else [prefix + name]
    return keys


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
