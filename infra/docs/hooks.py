"""What mkdocs fills into pages from the code: the glossary, all settings with their meaning, examples of commands."""

from __future__ import annotations

from inspect import cleandoc
from typing import Any

import click
from pydantic import BaseModel

from crystalsweep.cli.main import main
from crystalsweep.config import Config
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.inference.decoding.settings import DecodeConfig
from crystalsweep.training.catalogue import stages
from crystalsweep.wording.glossary import GLOSSARY

LEFT_AS_IT_IS = "\b\n"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page's text with what the code says in place of `{{ glossary }}` and `{{ settings }}`."""
    filled = {"{{ glossary }}": _glossary, "{{ settings }}": _settings}
    for place, content in filled.items():
        if place in markdown:
            markdown = markdown.replace(place, content())
    return markdown


def on_config(config: Any) -> Any:
    """Give all commands their examples as blocks of code: mkdocs-click would join the lines, and leave out epilogs."""
    _with_blocks(main, click.Context(main, info_name="crystalsweep"))
    return config


def _with_blocks(command: click.Command, context: click.Context) -> None:
    told = [*cleandoc(command.help or "").split("\n\n"), cleandoc(command.epilog or "")]
    command.help, command.epilog = "\n\n".join(map(_block, told)), None
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if (below := command.get_command(context, name)) is not None:
                _with_blocks(below, click.Context(below, info_name=name, parent=context))


def _block(paragraph: str) -> str:
    """Return a paragraph that click would leave as it is, which begins so, as a block of code."""
    as_it_is = paragraph.removeprefix(LEFT_AS_IT_IS)
    return paragraph if as_it_is == paragraph else f"```text\n{as_it_is}\n```"


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
