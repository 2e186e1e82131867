"""Typed configs that refuse unknown keys, and `key=value` overrides that say which key was meant.

A config is a tree of frozen pydantic models; a field's docstring is its help. `override` takes dotted paths
(`reconstruction.w_pos=50`) or, where it is unambiguous, the last name alone (`w_pos=50`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin

from pydantic import BaseModel, ByteSize, ConfigDict, TypeAdapter, ValidationError, model_validator

from crystalsweep.wording.mistakes import mistakes
from crystalsweep.wording.mistakes import suggestion as suggestion


class Config(BaseModel):
    """Base of every config: immutable, unknown keys are errors, field docstrings are descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _of_their_kind(cls, given: Any) -> Any:
        """Refuse what would be taken for a number and is none: true, which is 1, and `5_0`, which is 50."""
        if not isinstance(given, dict):
            return given
        return {name: _numbers(each) if _is_of_numbers(cls, name) else each for name, each in given.items()}

    def fingerprint(self) -> str:
        """Return sha256 of the config's canonical JSON."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class _NoNumber:
    """Stands for a value that is no number, and is shown as it was given."""

    def __init__(self, given: bool | str) -> None:
        self._given = given

    def __repr__(self) -> str:
        return json.dumps(self._given)


def _numbers(value: Any) -> Any:
    """Return a value, or the values of a list, with what is no number as `_NoNumber`."""
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        return _NoNumber(value)
    return [_numbers(each) for each in value] if isinstance(value, list) else value


@cache
def _is_of_numbers(model: type[Config], name: str) -> bool:
    """Return whether a field holds numbers and neither texts nor truth values."""
    kinds = set(_kinds(model.model_fields[name].annotation)) if name in model.model_fields else set()
    return bool(kinds & {int, float}) and not kinds & {bool, str, object, Any}


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield what a field may hold; a config within it looks after itself."""
    inside = get_args(annotation)
    if get_origin(annotation) is Literal:
        yield from map(type, inside)
    elif inside:
        for each in inside[:1] if get_origin(annotation) is Annotated else inside:
            yield from _kinds(each)
    else:
        yield annotation


C = TypeVar("C", bound=Config)

_BYTES = TypeAdapter(ByteSize)


class Leaf(NamedTuple):
    """One settable value of a config."""

    path: str
    value: object
    description: str


def leaves(config: Config, prefix: str = "") -> Iterator[Leaf]:
    """Yield every settable value with its dotted path, in declaration order.

    A config is a branch when it is all a field can be, or one of several told apart by a discriminator; where it is
    just one form of a value, as a range beside a number, it is a value.
    """
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Config) and (field.annotation is type(value) or field.discriminator):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield Leaf(f"{prefix}{name}", value, field.description or "")


def as_parameters(config: Config) -> dict[str, str]:
    """Return dotted path to value as JSON text: what a tracking server stores as parameters."""
    dumped = config.model_dump(mode="json")
    return {leaf.path: json.dumps(value_at(dumped, leaf.path)) for leaf in leaves(config)}


def value_at(tree: Mapping[str, Any], path: str) -> Any:
    """Return what a config's JSON form has at a dotted path; None where it has nothing there."""
    node: Any = tree
    for part in path.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def override(config: C, assignments: Iterable[str]) -> C:
    """Return `config` with `key=value` assignments applied; values are JSON where they parse, else text.

    A key may also be that of a whole part (`backbone={"name": "painn"}`). Raises `ValueError` for a malformed
    assignment, an unknown or ambiguous key (naming the nearest) or a bad value.
    """
    tree = config.model_dump(mode="json")
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator:
            raise ValueError(f"{assignment!r} is not of the form key=value")
        path, value = setting_path(config, key.strip()), _parsed(text.strip())
        *parents, last = path.split(".")
        node = tree
        for part in parents:
            node = node[part]
        if _is_part(config, path) and not isinstance(value, dict):
            raise ValueError(f"{path} has parts: set one of them, or all as JSON (got {value!r})")
        if _is_tag(config, path) and value != node[last]:
            part = ".".join(parents)
            raise ValueError(f"{path} decides what other settings {part} has: choose it with --{part} (got {value!r})")
        node[last] = value
    try:
        return type(config).model_validate(tree)
    except ValidationError as error:
        raise ValueError(mistakes(error, type(config), tree)) from None


def setting_path(config: Config, key: str) -> str:
    """Return dotted path of the setting or part that a key means. Raises `ValueError` when there is none or more than
    one."""
    paths = [leaf.path for leaf in leaves(config)]
    if key in paths or _is_part(config, key):
        return key
    matches = [path for path in paths if path.endswith(f".{key}")]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ValueError(f"{key!r} is ambiguous: write one of {', '.join(matches)}")
    names = {path: path for path in paths} | {path.rpartition(".")[2]: path for path in paths}
    near = get_close_matches(key, names, n=1, cutoff=0.4)
    hint = f"; did you mean {names[near[0]]!r}?" if near else f"; known keys: {', '.join(paths)}"
    raise ValueError(f"unknown key {key!r} for {type(config).__name__}{hint}")


def parse_bytes(text: str) -> int:
    """Return the bytes that a text names: 80000000000 for `80GB`, 1024 for `1KiB`. Raises `ValueError` for others."""
    try:
        return int(_BYTES.validate_python(text.strip()))
    except ValidationError:
        raise ValueError(f"{text!r} is no amount of memory; write it as in 80GB or 24GiB") from None


def _is_part(config: Config, key: str) -> bool:
    """Return whether a key is that of a config within the config, as `backbone`."""
    return any(leaf.path.startswith(f"{key}.") for leaf in leaves(config))


def _is_tag(config: Config, path: str) -> bool:
    """Return whether a key is that of a discriminator, as `backbone.name`."""
    *parents, last = path.split(".")
    for part in parents[:-1]:
        config = getattr(config, part)
    return bool(parents) and type(config).model_fields[parents[-1]].discriminator == last


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:  # no JSON, or a number of more digits than Python reads
        return text
