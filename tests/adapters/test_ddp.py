"""Two processes train as one, without a search for unused parameters."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, MutableMapping

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

from eatlab.adapters.adapter_set import Adapted, AdapterSet
from eatlab.adapters.registry import BUILTIN
from tests.adapters.toys import TOGETHER, TOYS, random_batch, talking_head

NUM_CLIPS, NUM_STEPS = 4, 3


def trained(spec: str, rank: int, world: int, wrap: Callable[[nn.Module], nn.Module]) -> list[Tensor]:
    """The adapters' parameters after some steps on this rank's share of the clips."""
    torch.manual_seed(1)
    backbone = talking_head(layers=1)
    model = wrap(Adapted(backbone.a2et, AdapterSet(spec, backbone).train_at("a2et")))
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, 0.1)
    mine = slice(rank * NUM_CLIPS // world, (rank + 1) * NUM_CLIPS // world)
    for _ in range(NUM_STEPS):
        batch, emotion, latent = (
            random_batch(NUM_CLIPS),
            torch.randint(8, (NUM_CLIPS,)),
            torch.randn(NUM_CLIPS, 16),
        )
        optimizer.zero_grad()
        y = model({name: value[mine] for name, value in batch.items()}, emotion[mine], 0.8, latent[mine])
        y.square().mean().backward()
        optimizer.step()
    return [p.detach().clone() for p in parameters]


def worker(rank: int, port: int, spec: str, results: MutableMapping[int, list[Tensor]]) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    BUILTIN.update(TOYS)
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    results[rank] = trained(spec, rank, 2, nn.parallel.DistributedDataParallel)
    torch.distributed.destroy_process_group()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.ddp
def test_two_processes_equal_one_without_searching_for_unused_parameters():
    spec = TOGETHER
    with mp.get_context("spawn").Manager() as manager:
        results = manager.dict()
        mp.spawn(worker, (free_port(), spec, results), nprocs=2)
        first, second = results[0], results[1]
    for a, b, alone in zip(first, second, trained(spec, 0, 1, nn.Identity()), strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, alone, atol=1e-6, rtol=1e-5)
