"""Pictures that MLflow's UI shows side by side for several runs, as `MlflowClient.log_image` would log them.

The names hold no random part, so that a picture sent twice is stored once.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path

IMAGES_FOLDER = "images"
"""Artifact folder in which MLflow looks for logged images."""

TAGS = {"mlflow.loggedImages": "True"}
"""Say that a run has any."""

_THUMBNAIL = 512
"""Pixels of the longer side of what is shown before a click."""

_AT = 0
"""The time that MLflow has in an image's name; the step alone orders them."""


def as_images(pictures: Iterable[Path], step: int, folder: Path) -> Path:
    """Return copies and thumbnails of PNG files below `folder`, which is made and returned; their stems are the
    keys."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        name = f"{picture.stem}+step+{step}+timestamp+{_AT}+{uuid.uuid5(uuid.NAMESPACE_OID, picture.stem)}"
        (folder / f"{name}.png").write_bytes(picture.read_bytes())
        with Image.open(picture) as image:
            image.thumbnail((_THUMBNAIL, _THUMBNAIL))
            image.convert("RGB").save(folder / f"{name}+compressed.webp")
    return folder
