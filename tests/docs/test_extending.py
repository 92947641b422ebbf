"""What docs/extending.md shows is run as it stands there."""

import re
import sys
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import pytest

import rigl_core.data
import rigl_core.methods
import rigl_core.models
from rigl_core.config import TrainConfig
from rigl_core.flops import forward_flops, inference_flops
from rigl_core.train import train

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_loop_trains_a_sparse_network(capsys: pytest.CaptureFixture[str]) -> None:
    loop, method, going_on, mixed_precision = BLOCKS[:4]
    names: dict[str, Any] = {}
    exec(loop, names)
    found = re.fullmatch(r"accuracy (.*), sparsity (.*), explored (.*)\n", capsys.readouterr().out)
    assert found is not None
    accuracy, sparsity, explored = map(float, found.groups())
    assert accuracy > 0.9
    assert sparsity == 0.9
    assert explored > 0.15  # a tenth was active from the beginning
    masks = names["optimizer"].masks
    for name, weight in names["weights"].items():
        assert not weight[~masks.masks[name]].any()
    flops = forward_flops(names["model"], (1, 8, 8))
    assert inference_flops(flops, masks.sparsities()) == pytest.approx(0.1 * sum(flops.values()), rel=1e-3)
    exec(method, names)
    assert names["by_momentum"].needs_momentum
    exec(going_on, names)
    exec(mixed_precision, names)
    assert names["optimizer"].param_groups[0]["lr"] < 0.1
    for name, weight in names["weights"].items():
        assert not weight[~masks.masks[name]].any()


def row(block: str, module: ModuleType) -> dict[str, Any]:
    """A dict's row as it is written in `module`."""
    entry: dict[str, Any] = eval("{" + re.sub("^#.*\n", "", block) + "}", dict(vars(module)))
    return entry


def test_new_names_are_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {"METHODS": rigl_core.methods.METHODS}
    exec(BLOCKS[1], names)
    new_methods = {"by_momentum": names["by_momentum"]}
    network, network_row, images, images_row = BLOCKS[4:]
    for block in (network, images):
        (path,) = re.findall(r"^# (.*)\.py$", block, re.MULTILINE)
        module = ModuleType(path.replace("/", "."))
        exec(block, vars(module))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for registry, name, new in (
        (rigl_core.models, "MODELS", row(network_row, rigl_core.models)),
        (rigl_core.data, "DATASETS", row(images_row, rigl_core.data)),
        (rigl_core.methods, "METHODS", new_methods),
    ):
        monkeypatch.setattr(registry, name, MappingProxyType({**getattr(registry, name), **new}))
    # 8 filters of 3×3, 8 of 8×3×3, 8 of 8×1×1, and biases; 6 filters of each are √½ of them.
    for method, n_parameters, explored in (("by_momentum", 80 + 584 + 72, 0.55), ("small_dense", 60 + 330 + 56, 1.0)):
        config = TrainConfig.model_validate(
            {
                **{"method": method, "model": "all_conv", "dataset": "stripes", "model_options": {"channels": 8}},
                **{"sparsity": 0.5, "epochs": 2, "batch_size": 32, "delta_t": 10, "warmup_steps": 0},
            }
        )
        outcome = train(config, on_epoch=lambda _: False, should_stop=lambda: False)
        assert (outcome.status, outcome.n_parameters) == ("complete", n_parameters)
        assert outcome.history[-1].explored[0] >= explored
