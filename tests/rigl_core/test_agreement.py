"""Checksums of tensors, and masks that are compared between two processes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rigl_core.agreement import checksums, first_difference

RANK = """
import sys
import torch
from torch import distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from rigl_core.distributions import erk, layer_budgets
from rigl_core.errors import BadInput
from rigl_core.masks import init_masks, maskable_weights
from rigl_core.methods import METHODS
from rigl_core.optimizer import SparseOptimizer
from rigl_core.schedules import UpdateSchedule

rank, meeting, method, masks_seed, generator_seed, averaged, check = sys.argv[1:]
rank = int(rank)
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=2)
torch.manual_seed(rank)
model = nn.Sequential(nn.Linear(10, 24), nn.Tanh(), nn.Linear(24, 4))
network = DistributedDataParallel(model)
weights = maskable_weights(network if rank else model)
shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
draw = torch.Generator().manual_seed(rank if masks_seed == "rank" else 0)
sparse = SparseOptimizer(
    torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), weights=weights,
    masks=init_masks(shapes, layer_budgets(shapes, erk(shapes, 0.8)), draw), method=METHODS[method],
    schedule=UpdateSchedule(delta_t=3, t_end=50),
    generator=torch.Generator().manual_seed(rank if generator_seed == "rank" else 0),
    same_on_all_ranks=check == "check",
)
data = torch.Generator().manual_seed(10 + rank)
for step in range(8):
    sparse.zero_grad()
    x, y = torch.randn(8, 10, generator=data), torch.randint(4, (8,), generator=data)
    functional.cross_entropy((network if averaged == "averaged" else model)(x), y).backward()
    try:
        sparse.step(step)
    except BadInput as error:
        print(f"step {step}: {error}")
        break
else:
    bits = torch.cat([mask.flatten() for mask in sparse.masks.masks.values()]).to(torch.uint8)
    everywhere = [torch.empty_like(bits) for _ in range(2)]
    distributed.all_gather(everywhere, bits)
    print("masks differ:", int((everywhere[0] != everywhere[1]).sum()))
distributed.destroy_process_group()
"""


def two_ranks(folder: Path, *arguments: str) -> list[str]:
    """What two processes print that train one network."""
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), str(folder / "meeting"), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    told = [rank.communicate(timeout=240) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], told
    return [out.strip() for out, _ in told]


def test_ranks_that_are_seeded_alike_keep_the_same_masks(tmp_path: Path) -> None:
    """Also where only one of them takes the names of its weights from the wrapped network."""
    assert two_ranks(tmp_path, "set", "run", "run", "averaged", "check") == ["masks differ: 0"] * 2


PART = {
    "masks": (("rigl", "rank", "run", "averaged"), "step 0: the mask of weight 0.weight is another on rank 1"),
    "generator": (
        ("set", "run", "rank", "averaged"),
        "step 0: the generator is another on rank 1 than on rank 0. Seed",
    ),
    "gradients": (("rigl", "run", "run", "own"), "step 3: the mask of weight 0.weight is another on rank 1"),
}


@pytest.mark.parametrize("what", PART)
def test_ranks_that_part_are_stopped_in_one_line(what: str, tmp_path: Path) -> None:
    arguments, message = PART[what]
    told = two_ranks(tmp_path, *arguments, "check")
    assert told[0] == told[1]
    assert told[0].startswith(message)
    assert "\n" not in told[0]


def test_networks_that_are_trained_apart_may_differ(tmp_path: Path) -> None:
    (one, other) = two_ranks(tmp_path, "set", "rank", "rank", "own", "apart")
    assert one == other
    assert int(one.removeprefix("masks differ: ")) > 0


def test_a_checksum_is_of_values_and_places_and_nothing_else() -> None:
    tensor = torch.randn(4, 3, 5, 5)
    (before,) = checksums([tensor])
    assert checksums([tensor.to(memory_format=torch.channels_last), tensor.clone().requires_grad_()]) == [before] * 2
    assert checksums([torch.tensor([0.0, -0.0])]) == checksums([torch.zeros(2)])
    others = [tensor.flip(0), tensor.double(), tensor[:, :2], torch.zeros_like(tensor)]
    for place in range(0, 300, 37):
        changed = tensor.clone()
        changed.view(-1)[place] *= -1
        others.append(changed)
    assert len({before, *checksums(others)}) == len(others) + 1
    for kind in (torch.bool, torch.uint8, torch.float16, torch.bfloat16, torch.float64, torch.int64):
        ones = torch.ones(3, 3, dtype=kind)
        zeros = torch.zeros(3, 3, dtype=kind)
        assert first_difference([zeros, ones], checksums([zeros, zeros])) == 1
        assert first_difference([zeros, ones], checksums([zeros, ones])) is None
    assert checksums([torch.empty(0)]) == [0]


def test_masks_that_differ_in_where_a_few_weights_are_have_other_checksums() -> None:
    masks = []
    for i in range(40):
        for j in range(i):
            mask = torch.zeros(40, dtype=torch.bool)
            mask[[i, j]] = True
            masks.append(mask)
    assert len(set(checksums(masks))) == len(masks)
