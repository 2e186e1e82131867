"""What is wrong with what was given to a model, in words: pydantic's errors without the names that it has for its own
parts, as `constrained-float` or `function-after[…]`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_TOLD = 5
"""Mistakes told at most; a file of another kind has dozens."""

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list, as [a, b]",
    "list": "a list, as [a, b]",
    "dict": 'a table, as {"a": b}',
    "finite_number": "a finite number",
    "none_required": "null",
}
"""By the kind that a value is not of, or the name of an error."""

_BOUNDS = {
    "gt": "greater than {}",
    "ge": "of {} or more",
    "lt": "less than {}",
    "le": "of {} or less",
}


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return what an unknown name was probably meant to be, or else what there is."""
    known = list(known)
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"


def mistakes(error: ValidationError, model: type[BaseModel], given: Any) -> str:
    """Return what is wrong, each with its place, what may stand there and what does: `epochs: give a whole number
    greater than 0 (got -1)`.

    Args:
        error: What pydantic raised.
        model: What it was to be.
        given: What it was made of: tables and lists, or their JSON text.
    """
    tree = _read(given)
    by_place: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for each in error.errors(include_url=False):
        by_place.setdefault(_place(each, tree), []).append(each)
    told = []
    for place, found in by_place.items():
        below = any(len(other) > len(place) and other[: len(place)] == place for other in by_place)
        # where a value may be one of several things, what it could be is told, and only if it is none, all of them
        meant = [each for each in found if not _is_of_another_kind(each)] or ([] if below else found)
        if below:  # a list is too short of items that are refused themselves
            meant = [each for each in meant if each["type"] != "too_short"]
        if meant:
            told.append(_told(place, meant, model, tree))
    more = f"; and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    return "; ".join(told[:_TOLD]) + more


def _read(given: Any) -> Any:
    if not isinstance(given, str | bytes):
        return given
    try:
        return json.loads(given)
    except ValueError:
        return None


def _place(error: ErrorDetails, tree: Any) -> tuple[str, ...]:
    """Return the path in what was given; the rest of pydantic's is the names of its own parts."""
    path: list[str] = []
    for part in error["loc"]:
        known = part in tree if isinstance(tree, Mapping) else _is_index(part, tree)
        if known:
            path, tree = [*path, str(part)], tree[part]
    if error["type"] == "missing":
        path.append(str(error["loc"][-1]))
    return tuple(path)


def _is_index(part: Any, tree: Any) -> bool:
    return isinstance(tree, list | tuple) and isinstance(part, int) and part < len(tree)


def _is_of_another_kind(error: ErrorDetails) -> bool:
    return error["type"].endswith(("_type", "_parsing"))


def _told(place: tuple[str, ...], found: Sequence[ErrorDetails], model: type[BaseModel], tree: Any) -> str:
    first, name = found[0], ".".join(place)
    if first["type"] == "missing":
        return f"{name} is missing"
    if first["type"] == "extra_forbidden":
        owner = _model_at(model, place[:-1], tree)
        return f"{name}: there is no such setting{f'; {suggestion(place[-1], owner.model_fields)}' if owner else ''}"
    if first["type"] in ("value_error", "assertion_error"):
        said = str(first.get("ctx", {}).get("error", first["msg"]))
        return f"{name}: {said}" if name else said
    if first["loc"] and first["loc"][-1] == "[key]":
        return f"{'.'.join(place[:-1])}: its keys are each {_needed(first, model)} (got {place[-1]!r})"
    needs = ", or ".join(dict.fromkeys(_needed(each, model) for each in found))
    prefix = f"{name}: " if name else ""
    return f"{prefix}give {needs} (got {_shown(first)}{_near(first)})"


def _needed(error: ErrorDetails, model: type[BaseModel]) -> str:
    """Return what may stand in a place, as `a whole number greater than 0`."""
    kind, context = error["type"], error.get("ctx", {})
    for bound, words in _BOUNDS.items():
        if bound in context:
            whole = isinstance(context[bound], int)
            return f"{_KINDS['int' if whole else 'float']} {words.format(_number(context[bound]))}"
    if kind == "too_short":
        return f"at least {context['min_length']} of them"
    if "discriminator" in context:
        tag = str(context["discriminator"]).strip("'")
        return f"its {tag}, {context['expected_tags']}" if "expected_tags" in context else f"its {tag} too"
    if "expected" in context:
        return str(context["expected"])
    if "class_name" in context:
        return _form(str(context["class_name"]), model)
    known = _KINDS.get(kind) or _KINDS.get(kind.partition("_")[0])
    return known or error["msg"].removeprefix("Input should be ")


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shown(error: ErrorDetails) -> str:
    value = error["input"]
    is_json = value is None or isinstance(value, dict | list | bool)
    text = json.dumps(value, default=str, ensure_ascii=False) if is_json else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _near(error: ErrorDetails) -> str:
    """Return which of the names that may stand there was probably meant."""
    context = error.get("ctx", {})
    typed = context.get("tag", error["input"])
    names = re.findall(r"'([^']+)'", str(context.get("expected") or context.get("expected_tags")))
    near = get_close_matches(typed, names, n=1) if isinstance(typed, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""


def _form(name: str, model: type[BaseModel]) -> str:
    """Return how a table of settings is written, as `{"low": …, "high": …}`."""
    for found in _inside(model):
        if found.__name__ == name:
            return "{" + ", ".join(f'"{field}": …' for field in found.model_fields) + "}"
    return _KINDS["dict"]


def _inside(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield all models that a type is made of, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _inside(field.annotation)
    for argument in get_args(annotation):
        yield from _inside(argument)


def _model_at(model: type[BaseModel], path: Sequence[str], tree: Any) -> type[BaseModel] | None:
    """Return the model of a part of what was given: where it may be one of several, that which its tag names."""
    owner: type[BaseModel] | None = model
    for name in path:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
        field = owner.model_fields.get(name) if owner else None
        if field is None:
            return None
        inside, tag = list(_inside(field.annotation)), field.discriminator
        if isinstance(tag, str) and isinstance(tree, Mapping):
            inside = [
                each for each in inside if tag in each.model_fields and each.model_fields[tag].default == tree.get(tag)
            ]
        owner = next(iter(inside), None)
    return owner
