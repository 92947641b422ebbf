"""docs/reproducing.md: the experiments of the reproduction report."""

from docs.markdown import NOTICE, table
from studies.catalogue import catalogue_entries
from studies.evidence.published_numbers import published_tables


def reproducing() -> str:
    """Every experiment of the reproduction report, with what it costs and what stands beside it."""
    published = published_tables()
    rows = [
        [
            f"`{entry.name}`",
            entry.description,
            f"{entry.tickets} × {entry.runs // entry.tickets}",
            "-" if entry.gpu_hours is None else f"{entry.gpu_hours:.0f}",
            "; ".join(sorted({t.source for t in published if entry.name in t.campaigns})) or "-",
        ]
        for entry in catalogue_entries()
    ]
    head = ["experiment", "", "trials × seeds", "GPU hours", "published numbers beside it, from the authors'"]
    before, after = TEXT.strip().split("\n\nTABLE\n\n")
    return "\n\n".join([NOTICE, "# Reproducing the report", before, table(head, rows), after]) + "\n"


TEXT = """
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
