"""Write the pages made from the code itself: `python -m docs.generate`; with `--check`, see if they are up to date.

A page is a function to its text; to add one, write the function, here or in a module of its own, and its line in PAGES.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from typer.main import get_command
from typer.testing import CliRunner

from docs.markdown import NOTICE, table
from docs.reproducing import reproducing
from docs.results import results
from rigl_core.distributions import DISTRIBUTIONS
from rigl_core.methods import METHODS
from rigl_core.recipes import RECIPES
from rigl_core.schedules import ANNEALS
from rigl_core.scores import SCORES
from studies.cli import app
from studies.summary_schemas import published_schema

FOLDER = Path(__file__).parent


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
        table(["method", "", "drop / grow by", "redistribute by", "FLOPs a training sample", "source"], rows),
        METHODS_TEXT.strip(),
        "## Scores",
        table(["score", ""], [[f"`{key}`", _first_line(score)] for key, score in SCORES.items()]),
        "## Anneals",
        table(["anneal", "f(t)/α at progress p = t/T_end"], [[f"`{key}`", ANNEAL_FORMULAS[key]] for key in ANNEALS]),
        "## Distributions",
        table(["distribution", ""], [[f"`{key}`", _first_line(rule)] for key, rule in DISTRIBUTIONS.items()]),
        "## Recipes",
        'Settings that belong together: `recipe = "cifar10"` in `[fixed]`, or `rigl-study train --recipe cifar10`. '
        "What a study sets itself wins.",
        *(f"**{name}**: " + ", ".join(f"{key} = {value}" for key, value in r.items()) for name, r in RECIPES.items()),
    ]
    return "\n\n".join(parts) + "\n"


METHODS_TEXT = """
f_S and f_D are the forward FLOPs of the sparse and the dense network; where f_S changes (redistribution, pruning) it is
the mean over training. 1 multiply-accumulate is 2 FLOPs. Every matrix product and convolution counts, as in
`torch.utils.flop_counter.FlopCounterMode`: with a maskable weight as a factor, by its mask, at each use; without one
(attention's products, transposed convolutions, `nn.LSTM`), in full. A network with an operation or a use of a weight
that cannot be counted is refused by name.

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
trial that is not there, not complete, or of another network. What was found is stored: the same command goes on with
the campaign when the other run has been deleted. `rigl-study train` has no storage and takes neither.

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


def _first_line(thing: Callable[..., Any]) -> str:
    return (thing.__doc__ or "").strip().splitlines()[0]


def summary_schema() -> str:
    """The JSON schema of a report's summary.json."""
    return json.dumps(published_schema(), indent=2, ensure_ascii=False) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {
    "cli.md": cli,
    "methods.md": methods,
    "reproducing.md": reproducing,
    "results.md": results,
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
