"""What callbacks cost."""

from __future__ import annotations

import math
from collections import defaultdict

from lightning.pytorch.profilers import SimpleProfiler

EPOCH = "run_training_epoch"
HOOK = "[Callback]"


class CallbackCost(SimpleProfiler):
    """Tells after training what part of an epoch each callback took; for `--trainer.profiler`.

    An epoch is its training and validation without any callback. What callbacks do once, before the
    first epoch and after the last, is shared among the epochs.
    """

    def __init__(self) -> None:
        super().__init__()
        self._within_epochs = 0.0

    def stop(self, action_name: str) -> None:
        super().stop(action_name)
        if action_name.startswith(HOOK) and EPOCH in self.current_actions:
            self._within_epochs += self.recorded_durations[action_name][-1]

    def summary(self) -> str:
        """Seconds of an epoch, and what callbacks add to it in percent; empty without epochs."""
        epochs = self.recorded_durations.get(EPOCH)
        if not epochs:
            return ""
        seconds = math.fsum(epochs) - self._within_epochs
        spent: defaultdict[str, float] = defaultdict(float)
        for action, durations in self.recorded_durations.items():
            if action.startswith(HOOK):
                # Lightning's checkpoints have their settings behind their name.
                name = action.removeprefix(HOOK).rpartition(".")[0].partition("{")[0]
                spent[name] += math.fsum(durations)
        lines = [f"{len(epochs)} epochs of {seconds / len(epochs):.2f} s; callbacks take"]
        dearest_first = sorted(spent.items(), key=lambda item: -item[1])
        for name, time in [*dearest_first, ("all of them", math.fsum(spent.values()))]:
            lines.append(f"{name:28s} {time / seconds:8.2%}")
        return "\n".join(lines)

    def describe(self) -> None:
        """Print the summary, if this is rank zero."""
        if self._local_rank in (None, 0) and (summary := self.summary()):
            print(summary)
