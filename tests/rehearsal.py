"""A recorder for machines without CUDA: it replays what it recorded by running it, into the same results."""

import torch

from functorch_artifact import keys
from functorch_artifact.compiling import lowering, recording


class Rehearsal:
    """As a CUDA graph does, a launch reads and writes the memory it was recorded over, and nothing else."""

    def __init__(self, device):
        self.device = device
        self.launched = []  # the number of steps of each launch

    def record(self, steps, draws):
        def run(noise):
            rows = []
            for number, step in enumerate(steps):
                with keys.seeded(noise[number] if draws else 0):
                    rows.append(step())
            return rows[0] if len(rows) == 1 else [torch.stack(each) for each in zip(*rows, strict=True)]

        results = [each.clone() for each in run([0] * len(steps))]

        def launch(noise):
            assert len(noise) == (len(steps) if draws else 0)
            self.launched.append(len(steps))
            for buffer, value in zip(results, run(noise), strict=True):
                buffer.copy_(value)
            return results

        return launch


def rehearse(monkeypatch, compiled=False):
    """Let mode `cudagraph` record by rehearsing, for once; over the traced operations unless `compiled`."""
    made = []

    def recorder(device):
        made.append(Rehearsal(device))
        return made[-1]

    monkeypatch.setattr(recording, "recorder", recorder)
    if not compiled:
        monkeypatch.setattr(lowering, "generate", lambda module, leaves: (lowering.replay(module), False))
    return made
