"""Checkpoints of one training at an address: the best by a metric and the last, written atomically in the background.

    ADDRESS/epoch_00003/{checkpoint.json, generator.safetensors, training.pt, history.jsonl, …}

A checkpoint counts once its `checkpoint.json` is there, which arrives last. `history.jsonl` has a row of metrics and
timing for every epoch so far, so the latest checkpoint tells the whole training. `sums.json` has the sha256 of each
file: whoever goes on from a checkpoint compares, and sets a damaged one aside.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from crystalsweep.artifacts.addresses import Address
from crystalsweep.artifacts.atomic import target_of
from crystalsweep.artifacts.folder_store import FolderStore, StorageError, child, copy_folder, is_missing
from crystalsweep.artifacts.sums import renew_sum

__all__ = ["HISTORY", "CheckpointGoneError", "CheckpointStore", "StorageError", "child"]

INFO, HISTORY = "checkpoint.json", "history.jsonl"

_EPOCH = re.compile(r"epoch_(\d{5,})")


class CheckpointGoneError(StorageError):
    """A checkpoint that its writer freed or replaced while it was read; a later one may be there: look again."""


class CheckpointStore:
    """Checkpoints by epoch at `address`: a path, or a URI such as `s3://bucket/prefix`.

    Kept are the `keep_best` best by `metric`, a name in the checkpoints' metrics, and the `keep_last` last. One process
    writes; any may read. A second one may call `keep_only`: what the first is writing then is freed too, and fails.
    Raises `StorageError` where the storage fails, `ValueError` for an address it does not know.
    """

    def __init__(
        self,
        address: str | Path,
        *,
        metric: str | None = None,
        mode: Literal["max", "min"] = "max",
        keep_best: int = 1,
        keep_last: int = 1,
    ) -> None:
        if mode not in ("max", "min") or keep_best < 0 or keep_last < 1:
            raise ValueError(f"mode {mode!r} is max or min, keep_best {keep_best} at least 0, keep_last {keep_last} 1")
        self._folders = FolderStore(address, INFO)
        self.address = self._folders.address
        self._metric, self._sign = metric, -1.0 if mode == "max" else 1.0
        self._keep_best, self._keep_last = keep_best if metric else 0, keep_last
        self._uploader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._upload: Future[None] | None = None
        self._cache: Path | None = None

    # Writing

    def put(self, folder: Path, epoch: int) -> None:
        """Take over the local `folder` as the checkpoint of `epoch`, sent in the background; then free older ones.

        Waits for the upload before, so that one is under way at most, and raises its `StorageError`. A process that
        ends normally finishes its upload; `flush` says whether it worked.
        """
        try:
            self.flush()
        except StorageError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._upload = self._uploader.submit(self._keep, folder, epoch)

    def flush(self) -> None:
        """Wait until what was put is complete. Raises its `StorageError`."""
        upload, self._upload = self._upload, None
        if upload:
            upload.result()

    def require_writable(self) -> None:
        """Raise `StorageError` where nothing can be written, before hours of training show it."""
        self._folders.require_writable()

    def keep_only(self, epochs: Iterable[int]) -> None:
        """Free all checkpoints but these, and what was left incomplete."""
        self.flush()
        self._free_incomplete(live=True)
        for epoch in set(self.epochs()) - set(epochs):
            self._folders.remove(_name(epoch))

    def set_aside(self, epoch: int) -> str:
        """Take a damaged checkpoint out of the others, and return its new name, under which nothing frees it."""
        self.flush()
        for downloaded in self._cache.glob(f"{_name(epoch)}-*") if self._cache else ():
            shutil.rmtree(downloaded)  # what is trained again may have the very same checkpoint.json
        return self._folders.set_aside(_name(epoch))

    def adopt(self, source: Path, epoch: int, config: dict[str, Any]) -> None:
        """Go on from another training's checkpoint folder `source` of `epoch`, under `config` instead of its own.

        The history is then the other's too. All that was kept before is freed, once the copy is complete; where there
        was one of this `epoch` already, an object store has neither while it is being replaced.

        Raises `CheckpointGoneError` where `source` was freed or replaced before it was copied; nothing is changed then.
        """
        self.flush()
        with tempfile.TemporaryDirectory() as temporary:
            copy = Path(temporary) / "copy"
            _copy(source, copy, config)
            self._folders.send(copy, _name(epoch))
        self.keep_only([epoch])

    def _keep(self, folder: Path, epoch: int) -> None:
        try:
            self._free_incomplete(live=False)
            self._folders.send(folder, _name(epoch))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        epochs = self.epochs()
        kept = {*epochs[-self._keep_last :], *self._ranked(epochs)[: self._keep_best]}
        for old in epochs:
            if old not in kept:
                self._folders.remove(_name(old))

    def _free_incomplete(self, *, live: bool) -> None:
        self._folders.free_partial(live=live)
        for name, files in self._folders.files().items():
            if _EPOCH.fullmatch(name) and INFO not in files:
                self._folders.remove(name)

    # Reading

    def epochs(self) -> list[int]:
        """Return epochs with a complete checkpoint, ascending."""
        return sorted(int(match[1]) for name in self._folders.whole() if (match := _EPOCH.fullmatch(name)))

    def latest(self) -> int | None:
        """Return the last epoch with a complete checkpoint."""
        return max(self.epochs(), default=None)

    def best(self) -> int | None:
        """Return the epoch of the best metric; of equal ones the earlier, and NaN or none is worst. None without a
        metric."""
        return next(iter(self._ranked(self.epochs())), None) if self._metric else None

    def fetch(self, epoch: int, *, only: Sequence[str] | None = None) -> Path:
        """Return a local folder with the checkpoint's files, or `only` those of these names.

        That of a local address is the checkpoint itself; others are downloaded, once, for as long as the process lives.
        Raises `ValueError` where there is no such checkpoint, naming those there are, and `CheckpointGoneError` where
        it was freed during the download.
        """
        name = _name(epoch)
        files = self._folders.files().get(name, {})
        if INFO not in files:
            there = ", ".join(map(str, self.epochs())) or "none"
            raise ValueError(f"{self.address} has no checkpoint of epoch {epoch}; it has {there}")
        if self._folders.local:
            return self._folders.local / name
        try:
            cached = self._cached(epoch)
            for file in files if only is None else [file for file in only if file in files]:
                if not (cached / file).exists():
                    (cached / file).parent.mkdir(parents=True, exist_ok=True)
                    self._folders.fetch(name, file, cached / file)
        except FileNotFoundError as error:
            raise CheckpointGoneError(f"the checkpoint of epoch {epoch} was freed while it was read") from error
        return cached

    def history(self) -> list[dict[str, float]]:
        """Return metrics and timing of all epochs up to the latest checkpoint; none without one."""
        for _ in range(5):
            epoch = self.latest()
            if epoch is None:
                return []
            try:
                content = self._folders.read(_name(epoch), HISTORY)
            except FileNotFoundError:
                if self.latest() == epoch:  # it never had one
                    return []
                continue  # its writer freed it just now
            try:
                return [json.loads(line) for line in content.splitlines()]
            except ValueError as error:
                raise ValueError(
                    f"{HISTORY} of epoch {epoch} in {Address(self.address)} is damaged ({error}); resume the "
                    "training, which goes on from the newest whole checkpoint"
                ) from None
        raise StorageError(f"checkpoints in {self.address} come and go faster than they can be read")

    def size(self) -> int:
        """Return bytes kept now, those of incomplete checkpoints included."""
        named = self._folders.files().items()
        return sum(sum(files.values()) for name, files in named if _EPOCH.fullmatch(target_of(name) or name))

    def _ranked(self, epochs: Sequence[int]) -> list[int]:
        """Sort epochs, best first."""
        return sorted(epochs, key=lambda epoch: (self._worth(epoch), epoch))

    def _worth(self, epoch: int) -> tuple[bool, float]:
        """Return a sort key: smaller is better."""
        if not self._metric:
            return (True, 0.0)
        try:
            info = json.loads(self._folders.read(_name(epoch), INFO))
            value = float(info["metrics"].get(self._metric, math.nan))
        except FileNotFoundError:  # its writer freed it just now
            return (True, 0.0)
        except (ValueError, LookupError, TypeError, AttributeError):  # damaged
            return (True, 0.0)
        return (True, 0.0) if math.isnan(value) else (False, self._sign * value)

    def _cached(self, epoch: int) -> Path:
        """Return where a download goes; another folder when the checkpoint was replaced by another."""
        if self._cache is None:
            self._cache = Path(tempfile.mkdtemp(prefix="checkpoints-"))
            atexit.register(shutil.rmtree, self._cache, ignore_errors=True)
        version = hashlib.sha256(self._folders.read(_name(epoch), INFO)).hexdigest()[:12]
        folder = self._cache / f"{_name(epoch)}-{version}"
        folder.mkdir(exist_ok=True)
        return folder


def _copy(source: Path, target: Path, config: dict[str, Any]) -> None:
    """Copy a checkpoint folder, with another config, as the new folder `target`."""
    try:
        before = source.stat()
        copy_folder(source, target)
        info = json.loads((target / INFO).read_text())
        (target / INFO).write_text(json.dumps({**info, "config": config}, indent=2, sort_keys=True) + "\n")
        renew_sum(target, INFO)
        if not os.path.samestat(before, source.stat()):
            raise FileNotFoundError(f"{source} was replaced")
    except OSError as error:
        if is_missing(error):
            raise CheckpointGoneError(f"the checkpoint {source} was freed while it was copied") from error
        raise StorageError(
            f"cannot copy {source} into the temporary folder {target.parent}: {error}; free some space there, or set "
            "TMPDIR to a folder on another disk, then resume"
        ) from error


def _name(epoch: int) -> str:
    return f"epoch_{epoch:05d}"
