"""Checkpoints: Orbax, asynchronous and atomic, with a fall-back when the newest one is damaged."""

import errno
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint import checkpoint_managers as policies

from genlab.configuration import ConfigError
from genlab.training import hosts
from genlab.training.step import TrainState

# What a damaged checkpoint makes Orbax raise: missing or cut-off files and metadata, other tree structures.
_DAMAGE = (ValueError, KeyError, OSError, TypeError, AssertionError)


# Orbax numbers the writes of a process in one place, and mixes up two at a time (runs of a population).
_LOCK = threading.Lock()


class _Writer:
    manager: ocp.CheckpointManager | None = None

    @classmethod
    def wait_unless(cls, manager: ocp.CheckpointManager) -> None:
        """Returns when no other manager writes."""
        if cls.manager is not None and cls.manager is not manager:
            cls.manager.wait_until_finished()


class Checkpoints:
    """The checkpoints of one run, newest and best kept.

    A checkpoint is the training state without what the config says anyway (seed, hyper-parameters),
    and `progress`, a JSON value that the loop needs to go on: learning curve, seconds, first loss.

    Args:
      folder: holds one folder a step.
      keep_last: newest checkpoints to keep; at least 2, so that there is one to fall back to.
      keep_best: checkpoints of lowest held-out loss to keep beside them.
      read_only: for those who only look, perhaps at a run that goes on: nothing there is touched.
    """

    def __init__(self, folder: Path, keep_last: int = 2, keep_best: int = 0, read_only: bool = False):
        self._read_only = read_only
        kept: list[Any] = [policies.LatestN(max(keep_last, 2))]
        if keep_best:
            kept.append(policies.BestN(get_metric_fn=lambda metrics: metrics["loss"], reverse=True,
                                       n=keep_best, keep_checkpoints_without_metrics=False))
        self.folder = Path(folder).absolute()
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy(kept),
                # Orbax's own read_only prints three warnings; it does nothing more when only restore is called.
                cleanup_tmp_directories=not read_only,
                create=not read_only,
            ),
        )

    def save(self, state: TrainState, progress: dict[str, Any], loss: float | None = None) -> None:
        """Starts writing; returns as soon as the state may change.

        Args:
          state: the state after a step.
          progress: JSON.
          loss: held-out loss at this step, if there is one; what "best" means.

        Raises:
          OSError: there is no room on the disk; nothing was begun.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        tree = _saved_part(state)
        self._check_room(sum(leaf.nbytes for leaf in jax.tree.leaves(tree)))
        if jax.default_backend() == "cpu":
            # Orbax reads CPU arrays in place, while the next step overwrites the donated ones.
            tree = jax.tree.map(jnp.copy, tree)
        with _LOCK:
            _Writer.wait_unless(self._manager)
            self._manager.save(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardSave(tree), progress=ocp.args.JsonSave(progress)),
                metrics=None if loss is None else {"loss": loss},
            )
            _Writer.manager = self._manager

    def restore(self, state: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
        """The newest checkpoint that can be read, laid out as `state` is, and its progress.

        Args:
          state: gives structure, shapes, dtypes, shardings, seed and hyper-parameters; may be abstract.

        Returns:
          None if there is no checkpoint at all. Damaged ones before the one returned are set aside.

        Raises:
          ConfigError: there are checkpoints, but none can be read as `state`; all stay where they are.
        """
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, _saved_part(state))
        damaged, reason = [], ""
        for step in hosts.gather("the list of checkpoints", sorted(self._manager.all_steps(), reverse=True))[0]:
            found = None
            try:
                found = self._manager.restore(step, args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(target), progress=ocp.args.JsonRestore()))
            except _DAMAGE as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
            if not all(hosts.gather(f"checkpoint {step} to be read", found is not None)):
                reason = reason or "not on every host"
                if hosts.is_first():
                    logging.warning("checkpoint %d cannot be read (%s); falling back to the one before", step, reason)
                damaged.append(step)
                continue
            if not self._read_only:
                for other in damaged:
                    self._set_aside(other)
            return state._replace(**found["state"]), found["progress"]
        if damaged:
            # Not one good: more likely another model or too many open files than so much damage.
            raise ConfigError(f"no checkpoint in {self.folder} can be read ({reason}); delete that folder "
                              "to start again")
        return None

    @staticmethod
    def any_in(folder: Path) -> bool:
        """Whether a folder holds a checkpoint, as far as the names of its files tell."""
        return Path(folder).is_dir() and any(file.name.isdigit() for file in Path(folder).iterdir())

    def steps(self) -> list[int]:
        """Steps there is a checkpoint of, ascending."""
        return sorted(self._manager.all_steps())

    def wait(self) -> None:
        """Returns when everything is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and lets go of the threads."""
        with _LOCK:
            if _Writer.manager is self._manager:
                _Writer.manager = None
            self._manager.close()

    def _check_room(self, size: int) -> None:
        # Orbax finds out in its threads, in hundreds of lines. Its own small files take some 0.2 MB besides.
        if shutil.disk_usage(self.folder).free < size + 2_000_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))

    def _set_aside(self, step: int) -> None:
        if hosts.is_first():
            aside = self.folder / f"damaged-{step}"
            shutil.rmtree(aside, ignore_errors=True)
            (self.folder / str(step)).rename(aside)
        hosts.gather(f"checkpoint {step} to be set aside")
        self._manager.reload()


def _saved_part(state: TrainState) -> dict[str, Any]:
    names = ("step", "params", "model_state", "opt_state", "ema_variables")
    return {name: getattr(state, name) for name in names if jax.tree.leaves(getattr(state, name))}

