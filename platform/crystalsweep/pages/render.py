"""Templates to text: every HTML page and model card of the library."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from crystalsweep.pages.policy import content_policy
from crystalsweep.pages.text import plain_markdown
from crystalsweep.pages.tips import with_tips
from crystalsweep.wording.stranger import plain


def render(template: str, **values: Any) -> str:
    """Fill a template.

    Args:
        template: Its path below the library's folder, as `evaluation/report.html.j2`; pages extend
            `pages/base.html.j2`.
        **values: What it names; a name that it lacks is an error.
    """
    return _environment().get_template(template).render(**values)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_source),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_seen,
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
    )
    environment.globals["content_policy"] = content_policy
    environment.filters["plain"] = plain_markdown
    environment.filters["tips"] = with_tips
    return environment


def _seen(value: Any) -> Any:
    """Return a value that is text with what turns or hides the text around it as escapes; of markup, which is ours, and
    of other values nothing changes."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _source(template: str) -> str:
    return files("crystalsweep").joinpath(template).read_text(encoding="utf-8")
