"""Write the pages made from the code itself: `python -m docs.generate`; with `--check`, see if they are up to date.

A page is a function to its text; to add one, write the function and its line in PAGES.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from typer.main import get_command
from typer.testing import CliRunner

from rigl_core.distributions import DISTRIBUTIONS
from rigl_core.methods import METHODS
from rigl_core.recipes import RECIPES
from rigl_core.schedules import ANNEALS
from rigl_core.scores import SCORES
from studies.catalogue import catalogue_entries
from studies.cli import app
from studies.evidence.published_numbers import published_tables
from studies.summary_schemas import published_schema

FOLDER = Path(__file__).parent
NOTICE = "<!-- Written by `python -m docs.generate`; a change here is lost. -->"


def cli() -> str:
    """Every command with its help."""
    parts = [
        NOTICE,
        "# The command line",
        "Results go to stdout, messages and progress to stderr. Exit codes: 0 done, 1 failed, 2 bad input, 130 "
        "interrupted before the result was there. Everything that goes wrong is one line on stderr; with `--debug` or "
        "`RIGL_STUDY_DEBUG=1` the traceback comes with it.",
        *(_section(path) for path in command_paths()),
    ]
    return "\n\n".join(parts) + "\n"


def command_paths() -> Iterator[tuple[str, ...]]:
    """The words of every command, the program itself first, in the order of the help."""
    yield from _walk(get_command(app), ())


def _walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from _walk(inner, (*path, name))


def _section(path: tuple[str, ...]) -> str:
    text = CliRunner().invoke(app, [*path, "--help"]).stdout.strip()
    level = "#" * (1 + max(1, len(path)))
    return f"{level} {' '.join(('rigl-study', *path))}\n\n```text\n{text}\n```"


TRAIN_FLOPS_FORMULAS = {
    "dense": "3 f_D",
    "static": "3 f_S",
    "rigl": "(3 f_S ΔT + 2 f_S + f_D)/(ΔT + 1)",
    "snfs": "2 f_S + f_D",
}
"""In words what `rigl_core.flops.TRAIN_FLOPS` computes; a test compares the two."""


def methods() -> str:
    """Every row of METHODS with its parts, its cost and its source."""
    rows = [
        [
            f"`{name}`",
            row.summary,
            f"{row.drop} / {row.grow}" if row.drop else "global magnitude / -" if row.ramp else "-",
            f"mean {row.redistribute}" if row.redistribute else "-",
            TRAIN_FLOPS_FORMULAS[row.train_flops],
            row.source,
        ]
        for name, row in METHODS.items()
    ]
    parts = [
        NOTICE,
        "# Methods",
        "A method is a row of `rigl_core.methods.METHODS`: which weights a topology step drops and grows, and a few "
        "facts about how it trains. One pure function, `update_mask`, does every topology update.",
        _table(["method", "", "drop / grow by", "redistribute by", "FLOPs a training sample", "source"], rows),
        METHODS_TEXT.strip(),
        "## Scores",
        _table(["score", ""], [[f"`{key}`", _first_line(score)] for key, score in SCORES.items()]),
        "## Anneals",
        _table(["anneal", "f(t)/α at progress p = t/T_end"], [[f"`{key}`", ANNEAL_FORMULAS[key]] for key in ANNEALS]),
        "## Distributions",
        _table(["distribution", ""], [[f"`{key}`", _first_line(rule)] for key, rule in DISTRIBUTIONS.items()]),
        "## Recipes",
        'Settings that belong together: `recipe = "cifar10"` in `[fixed]`, or `rigl-study train --recipe cifar10`. '
        "What a study sets itself wins.",
        *(f"**{name}**: " + ", ".join(f"{key} = {value}" for key, value in r.items()) for name, r in RECIPES.items()),
    ]
    return "\n\n".join(parts) + "\n"


METHODS_TEXT = """
f_S and f_D are the forward FLOPs of the sparse and the dense network; where f_S changes (redistribution, pruning) it is
the mean over training. 1 multiply-accumulate is 2 FLOPs; convolutions and linear layers count.

**Drop and grow.** At every `delta_t`-th step before `t_end` (75 % of training), each layer drops the
`int(f(t) · n_active)` active weights of smallest magnitude, with f(t) = α/2 · (1 + cos(πt/T_end)), and grows as many of
largest grow score among everything it did not keep. A weight that comes straight back keeps its value; newborn weights
and their optimizer state are zero. The topology step takes the place of the weight step. With `grow_accumulation = n`
the gradient is the mean of the last n steps' (n ≤ `delta_t`: each update starts anew), and in the FLOPs of RigL n
steps of every ΔT + 1 have a dense weight gradient. Layers that start dense stay dense. `uniform` leaves the first layer
dense; of a text model that is the embedding, which is never masked, so all its other layers have the same sparsity.

**Training longer.** `train_multiplier = k` stretches epochs (rounded), warm-up, learning-rate drops and `t_end` by k;
training FLOPs count the epochs trained. `delta_t` and `ramp_start` stay. Learning-rate drops are counted from the end
of the warm-up.

**From another run.** `distribution = "from:STUDY#TRIAL"` takes the sparsities that a complete trial's layers ended with
and draws fresh masks (re-init); `masks = "from:STUDY#TRIAL"` takes its masks, seed by seed, and the weights it began
with (the lottery ticket). Both are written below [fixed] and looked up by `rigl-study create` or `run`, which refuse a
trial that is not there, not complete, or of another network. `rigl-study train` has no storage and takes neither.

**Redistribution.** What all layers drop together is shared out in proportion to the mean score of each layer's active
weights, none beyond its size; fractions go to the largest remainders, so that the total is exact.

**Pruning.** From dense to sparsity S along s(t) = S · (1 − (1 − (t − t₀)/(T_end − t₀))³), from step `ramp_start` (700),
every `delta_t` steps and at T_end, by the magnitude of the whole network. Its learning rate warms up for 3,500 steps.

**Dense momentum.** `snfs` keeps the optimizer's moments of inactive weights, because it grows by them; every other
method keeps them at zero.

**Small-dense.** All hidden widths are multiplied by √(1 − S). Where inputs or outputs are large, the parameter count
does not fall with the square of the width; the count reached is reported (`n_parameters`). LeNet-300-100 at S = 0.98
keeps 12.6 % of its parameters, six times what the sparse networks beside it have.
"""

ANNEAL_FORMULAS = {
    "cosine": "(1 + cos πp)/2",
    "constant": "1",
    "linear": "1 − p",
    "inverse_power": "(1 − p)^k, k = `anneal_power`",
}


def reproducing() -> str:
    """Every experiment of the reproduction report, with what it costs and what stands beside it."""
    tables = published_tables()
    rows = [
        [
            f"`{entry.name}`",
            entry.description,
            f"{entry.tickets} × {entry.runs // entry.tickets}",
            "-" if entry.gpu_hours is None else f"{entry.gpu_hours:.0f}",
            "; ".join(sorted({t.source for t in tables if entry.name in t.campaigns})) or "-",
        ]
        for entry in catalogue_entries()
    ]
    head = ["experiment", "", "trials × seeds", "GPU hours", "published numbers beside it, from the authors'"]
    before, after = REPRODUCING_TEXT.strip().split("\n\nTABLE\n\n")
    return "\n\n".join([NOTICE, "# Reproducing the report", before, _table(head, rows), after]) + "\n"


REPRODUCING_TEXT = """
Every experiment of "[Re] Rigging the Lottery: Making All Tickets Winners" (Sundar and Dwaraknath, ML Reproducibility
Challenge 2020) is a file in `studies/catalogue/`, with the settings of its authors' code:

```
rigl-study data fetch cifar10                                              # or --data-dir, or RIGL_STUDY_DATA
rigl-study run cifar10-wrn-methods --workers auto --out reports/methods    # a worker for each GPU
```

The command may be interrupted and repeated; it goes on where it stopped. Any number of machines may help with
`rigl-study work`. In its report, the section “Beside the published” has your numbers, theirs, and the difference in
units of its standard error.

TABLE

GPU hours are about those of one H200 without `--compile`, from the runs in [RESULTS.md](../benchmarks/RESULTS.md):
all methods counted as RigL, which a dense network equals within 1 %. The experiments on Fashion-MNIST are ours,
reduced to what two CPU cores train in seconds or minutes.

**What it shows.** The reports of the `methods` campaigns compare the methods, each at its FLOPs, and say what a
distribution is worth at equal FLOPs. Several campaigns stand beside the first in one report:

```
rigl-study report cifar10-wrn-methods cifar10-wrn-baselines cifar10-wrn-methods-2x --out reports/cifar10
```

**Longer or shorter.** `--set` changes a setting of any experiment, and `--name` gives the campaign a name of its own:

```
rigl-study run cifar10-wrn-methods --name ten-epochs --set fixed.train_multiplier=0.04 --out reports/ten-epochs
```

**Re-init and lottery.** What RigL found can be the beginning of other runs: its layer-wise sparsities with fresh
masks (`distribution`), or its very masks with the weights it began with (`masks`). `rigl-study show` says what a
trial is, here `rigl-study show cifar10-wrn-methods any-s0.9-erk/3` that it is RigL's.

```toml
name = "wrn-reinit"
description = "static masks of the sparsities that RigL's layers ended with"
[fixed]
recipe = "cifar10"
method = "static"
sparsity = 0.9
distribution = "from:cifar10-wrn-methods/any-s0.9-erk#3"
[search]
lr = [0.1]
[strategy]
sampler = "grid"
seeds = [0, 1, 2]
```

**What differs.** `uniform` is what the report calls Random. The search for α and ΔT counts the reference among its 15
trials. Of the published numbers, rows of methods that rigl-study does not have are left out, and one cell of Table 4
is in none of the sources at hand. **This project has not trained the campaigns on CIFAR to their end**, for want of a
copy of the data: tests hold settings, parameter counts, FLOPs and mask updates to the report, and runs on made-up
images of CIFAR's shape gave the GPU hours; the accuracies are still to be seen.
"""


def _first_line(thing: Callable[..., Any]) -> str:
    return (thing.__doc__ or "").strip().splitlines()[0]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])


def summary_schema() -> str:
    """The JSON schema of a report's summary.json."""
    return json.dumps(published_schema(), indent=2, ensure_ascii=False) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {
    "cli.md": cli,
    "methods.md": methods,
    "reproducing.md": reproducing,
    "summary.schema.json": summary_schema,
}


def main() -> int:
    """Write or check every page; exit code 1 if one is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is out of date")
    check = parser.parse_args().check
    stale = []
    for name, make in PAGES.items():
        page, text = FOLDER / name, make()
        if page.exists() and page.read_text(encoding="utf-8") == text:
            continue
        if check:
            stale.append(name)
        else:
            page.write_text(text, encoding="utf-8")
            print(f"wrote {page.name}")
    for name in stale:
        print(f"docs/{name} is out of date; run: python -m docs.generate", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
