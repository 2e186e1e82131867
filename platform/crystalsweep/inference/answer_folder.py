"""Answers as files, each there as soon as it is known: JSON, CIFs and a table that grows; the same question goes on."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from crystalsweep.artifacts.atomic import whole_file, write_whole
from crystalsweep.artifacts.safe_json import read_json

QUESTION, TABLE, REJECTS, ANSWERS, CIFS = "question.json", "candidates.csv", "rejects.txt", "answers", "cif"

COLUMNS = (
    *("number", "where", "id", "given", "rank", "formula", "filled", "probability", "log_probability"),
    *("property", "predicted", "predicted_low", "predicted_high", "predicted_set"),
    *("charge_balanced", "shortest_distance", "largest_move", "last_step"),
    *("known_id", "known_formula", "known_relation", "energy_per_atom", "cif"),
)
"""Of the table."""

_FORMULA = re.compile(r"^[=+\-@\t\r]")
"""What a spreadsheet would compute instead of show."""


class AnswerFolder:
    """A folder of answers to one question. Each is whole or not there; a crystal's number is its place in the input."""

    def __init__(self, folder: Path, question: Mapping[str, Any]) -> None:
        """Make the folder, or go on with it.

        Raises:
            ValueError: It holds something else, or answers to another question.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        asked = folder / QUESTION
        if asked.exists():
            if read_json(asked) != json.loads(json.dumps(question)):
                raise ValueError(f"{folder} holds answers to another question ({asked.name}); name another folder")
        elif any(folder.iterdir()):
            raise ValueError(f"{folder}: this folder is not empty; name a new one")
        for part in (ANSWERS, CIFS):
            (folder / part).mkdir(exist_ok=True)
        write_whole(asked, json.dumps(question, indent=1) + "\n")
        self._write_table()
        (folder / REJECTS).unlink(missing_ok=True)

    def has(self, number: int, name: str) -> bool:
        """Return whether the answer for a crystal is there already."""
        return self._file(number, name).exists()

    def keep(self, number: int, answer: Mapping[str, Any]) -> None:
        """Write an answer: its CIFs, its JSON, and its rows at the end of the table."""
        cifs = self.folder / CIFS / _stem(number, answer["id"])
        cifs.mkdir(exist_ok=True)
        (cifs / "input.cif").write_text(answer["given_cif"], encoding="utf-8")
        for each, name in zip(answer["candidates"], _cif_names(answer), strict=True):
            (cifs / name).write_text(each["cif"], encoding="utf-8")
        write_whole(self._file(number, answer["id"]), json.dumps({"number": number, **answer}, indent=1) + "\n")
        with (self.folder / TABLE).open("a", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(_rows(number, answer))

    def reject(self, line: str) -> None:
        """Write the line of a crystal that has no answer."""
        with (self.folder / REJECTS).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def finish(self) -> None:
        """Put the rows of the table in the order of the input."""
        self._write_table()

    def answers(self) -> Iterator[dict[str, Any]]:
        """Yield the answers that are there, by number."""
        for file in sorted((self.folder / ANSWERS).glob("*.json")):
            yield dict(read_json(file))

    def _file(self, number: int, name: str) -> Path:
        return self.folder / ANSWERS / f"{_stem(number, name)}.json"

    def _write_table(self) -> None:
        """Write the table anew from the answers: one that was cut off may lack rows, or half of one."""
        with whole_file(self.folder / TABLE) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for answer in self.answers():
                table.writerows(_rows(answer["number"], answer))


def _stem(number: int, name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:80]
    return f"{number:06d}-{plain}"


def _cif_names(answer: Mapping[str, Any]) -> list[str]:
    """Return a name for each candidate; sorted by name, files stand as the candidates do."""
    digits = len(str(len(answer["candidates"])))
    return [
        f"{each['rank']:0{digits}d}-{re.sub(r'[^A-Za-z0-9.-]+', '_', each['formula'])[:60]}.cif"
        for each in answer["candidates"]
    ]


def _rows(number: int, answer: Mapping[str, Any]) -> Iterator[list[Any]]:
    for each, name in zip(answer["candidates"], _cif_names(answer), strict=True):
        known = {f"known_{name}": value for name, value in (each["known"] or {}).items()}
        cif = f"{CIFS}/{_stem(number, answer['id'])}/{name}"
        values = {
            **each,
            **known,
            **_predicted(answer, each),
            **{name: answer[name] for name in ("where", "id", "given")},
            "number": number,
        }
        yield [_shown({**values, "cif": cif}.get(column, "")) for column in COLUMNS]


def _predicted(answer: Mapping[str, Any], candidate: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of the property that candidates are ranked by; empty where they are not."""
    found, ranked_by = candidate["predicted"], answer["ranked_by"]
    if found is None or ranked_by is None:
        return {"predicted": None}
    told = {f"predicted_{name}": found[name] for name in ("low", "high", "set")}
    return {"property": ranked_by["property"], "predicted": found["value"], **told}


def _shown(value: Any) -> Any:
    """Return a cell that a spreadsheet takes for what it is."""
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value
