"""What mkdocs fills into pages from the code: the glossary, and all settings with their meaning."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from crystalsweep.config import Config
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.inference.decoding.settings import DecodeConfig
from crystalsweep.training.catalogue import stages
from crystalsweep.wording.glossary import GLOSSARY


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page's text with what the code says in place of `{{ glossary }}` and `{{ settings }}`."""
    filled = {"{{ glossary }}": _glossary, "{{ settings }}": _settings}
    for place, content in filled.items():
        if place in markdown:
            markdown = markdown.replace(place, content())
    return markdown


def _glossary() -> str:
    return "\n".join(f"**{term}**\n:   {meaning}\n" for term, meaning in GLOSSARY.items())


def _settings() -> str:
    configs: dict[str, type[Config]] = {f"train {name}": spec.config for name, spec in stages().items()}
    configs |= {"evaluate": EvaluationSettings, "complete": DecodeConfig}
    return "\n\n".join(f"## {title}\n\n{_table(config)}" for title, config in configs.items())


def _table(config: type[BaseModel]) -> str:
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    return "\n".join([*rows, *_rows(config, "")])


def _rows(config: type[BaseModel], prefix: str) -> list[str]:
    rows = []
    for name, field in config.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        if isinstance(default, BaseModel):
            rows += _rows(type(default), f"{prefix}{name}.")
        else:
            meaning = " ".join((field.description or "").split()).replace("|", "\\|")
            shown = str(default).replace("|", "\\|")
            rows.append(f"| `{prefix}{name}` | `{shown[:60]}` | {meaning} |")
    return rows
