"""A Trainer whose `--push_to_hub` pushes the finished, measured run with our card, and whose images change anew."""

import logging
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, HfApi
from transformers import Trainer
from transformers.trainer_utils import HubStrategy
from transformers.utils.hub import PushInProgress

from ..data import EpochCallback, LensDataCollator
from .card import write_model_card
from .pushing import PushError, push, push_checkpoint


logger = logging.getLogger(__name__)


class LensTrainer(Trainer):
    """transformers' `Trainer`, but for what `--push_to_hub` does, and that it tells its collator of every epoch.

    transformers' own talks to the Hub before the first step, pushes every checkpoint with its pickled arguments, and
    writes a card without baselines. This one trains, whether there is a network or not. Call `push_to_hub` once when
    `results.json` is written; whatever the Hub says then, the run is complete on the disk. With any `hub_strategy` but
    `"end"` the networks of checkpoints are pushed meanwhile, to the branch `in-progress`.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if isinstance(self.data_collator, LensDataCollator):
            self.add_callback(EpochCallback(self.data_collator))

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Notes where to push; makes no repository yet."""
        self.hub_model_id = self.args.hub_model_id or Path(str(self.args.output_dir)).absolute().name  # type: ignore[assignment]
        self.push_in_progress = None
        self._background = HfApi()  # of one thread, where checkpoints wait for each other

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Saves the model, and does not push it: its results are not measured yet."""
        super().save_model(output_dir, _internal_call=True)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Writes the card from `results.json`."""
        if self.is_world_process_zero():
            write_model_card(str(self.args.output_dir), self.hub_model_id)

    def push_to_hub(  # type: ignore[override]
        self,
        commit_message: str | None = None,
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> CommitInfo | None:
        """Pushes the output folder as `lens_transformers.hub.push` does, from the main process.

        Returns:
            The commit; `None` if the push failed, after logging why and the command to push later.
        """
        if not self.is_world_process_zero():
            return None
        if self.hub_model_id is None:
            self.init_hf_repo()
        self._finish_current_push()
        try:
            return push(
                str(self.args.output_dir),
                str(self.hub_model_id),
                revision=revision or self.args.hub_revision or "main",
                private=self.args.hub_private_repo if private is None else private,
                commit_message=commit_message,
                token=token or self.args.hub_token,
            )
        except (PushError, ValueError) as error:
            logger.error("%s", error)
            return None

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Pushes a checkpoint while training goes on, unless an earlier one is still on its way."""
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        if self.push_in_progress is not None and not self.push_in_progress.is_done() and not self.args.hub_always_push:
            return
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        job = self._background.run_as_future(self._push_checkpoint, checkpoint_folder, self.state.global_step)
        self.push_in_progress = PushInProgress([job])  # type: ignore[arg-type, assignment]

    def _push_checkpoint(self, folder: str, step: int) -> None:
        try:
            push_checkpoint(
                folder,
                str(self.hub_model_id),
                private=self.args.hub_private_repo,
                commit_message=f"Training in progress, step {step}",
                token=self.args.hub_token,
            )
        except (PushError, ValueError) as error:
            logger.warning("%s", error)
