"""The corners of what a campaign can look like when somebody asks for its report."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from studies.frame import Provenance, load_frame, load_provenance
from studies.spec import StudyPlan, StudySpec
from tests.studies.sample_campaign import ENVIRONMENT, REFERENCE, Told, make_spec, realistic, store

OTHER = {"lr": 0.05, "alpha": 0.4, "delta_t": 250}
THIRD = {"lr": 0.02, "alpha": 0.2, "delta_t": 700}


@dataclass(frozen=True)
class Case:
    """A campaign, and a text that its report must contain."""

    spec: StudySpec
    trials: list[list[Told]]
    says: str

    def load(self) -> tuple[pd.DataFrame, Provenance]:
        return load(self.spec, self.trials)


def load(spec: StudySpec, trials: list[list[Told]]) -> tuple[pd.DataFrame, Provenance]:
    storage = store(spec, trials)
    return load_frame(storage, spec.name), load_provenance(storage, spec.name)


def done(params: dict[str, object], val: float, test: float, **more: object) -> Told:
    """A complete trial over two seeds, around these accuracies."""
    return Told(
        params, val=(val - 0.001, val + 0.001), test=(test - 0.002, test + 0.002), curve=(val - 0.1, val), **more
    )


METHOD_ACCURACY = {
    "dense": 0.94, "small_dense": 0.90, "static": 0.905, "set": 0.92, "rigl": 0.925, "rigl_sg": 0.927, "pruning": 0.93
}  # fmt: skip
LAYERS = {"conv1.weight": 0.0, "block.0.weight": 0.7, "block.1.weight": 0.95, "fc.weight": 0.3}


def trained(plan: StudyPlan, method: str, number: int) -> Told:
    """What a method may tell after 40 epochs: accuracies over three seeds, layers, exploration, cost by epoch."""
    sparsity, erk = float(plan.pair["sparsity"]), plan.pair["distribution"] == "erk"
    f_s = {"dense": 1.0}.get(method, (1 - sparsity) * (1.75 if erk else 1.0))
    top = METHOD_ACCURACY[method] - (0 if method == "dense" else 0.15 * (sparsity - 0.8)) + (0.005 if erk else 0)
    test = [top + 0.001 * (seed - 1) + 0.0004 * ((number * (seed + 2)) % 3) for seed in range(3)]
    ramp = [min(1.0, (epoch + 1) / 30) for epoch in range(40)]
    sparse = method not in ("dense", "small_dense")
    final = {name: sparsity * (1 - (0.3 * at if erk else 0)) if sparse else 0.0 for name, at in LAYERS.items()}
    shifted = {name: share + 0.02 * (i - 1.5) * (method == "rigl_sg") for i, (name, share) in enumerate(final.items())}
    moves = method in ("set", "rigl", "rigl_sg")
    flops = [f_s * (1 + 0.3 * at) if method == "rigl_sg" else 1 - (1 - f_s) * at for at in ramp]
    told = {
        "train_flops": f_s * (1.2 if method == "pruning" else 1.02),
        "inference_flops": f_s,
        "n_active": round(1e6 * (1 - sparsity)) if method != "dense" else 1_000_000,
        "seconds": 100.0 + 7 * number + 90 * f_s,
        "initial_layer_sparsity": dict.fromkeys(LAYERS, 0.0) if method == "pruning" else final,
        "layer_sparsity": shifted,
        "explored": [(1 - sparsity) * (1 + (2 * at if moves else 0)) if sparse else 1.0 for at in ramp],
        "inference_flops_by_epoch": flops if method in ("rigl_sg", "pruning") else [f_s] * 40,
    }
    curve = [top - 0.3 / (epoch + 1) for epoch in range(40)]
    return Told({"method": method}, val=[value + 0.002 for value in test], test=test, curve=curve, attrs=told)


def _whole() -> Case:
    spec = make_spec("whole", sparsity=(0.9, 0.98), distribution=("uniform", "erk"), n_trials=12)
    return Case(spec, realistic(spec, n_trials=12), "4 pairs")


def _nothing_stored() -> Case:
    return Case(make_spec(), [[]], "The campaign has no trials.")


def _all_waiting() -> Case:
    return Case(make_spec(n_trials=3), [[Told(REFERENCE, "waiting"), Told({}, "waiting")]], "2 waiting and 0 running")


def _first_epoch() -> Case:
    return Case(
        make_spec(), [[Told(REFERENCE, "running", curve=[0.5]), Told({}, "waiting")]], "1 waiting and 1 running"
    )


def _one_complete() -> Case:
    return Case(make_spec(), [[done(REFERENCE, 0.85, 0.84)]], "only the reference is complete")


def _two_complete() -> Case:
    trials = [done(REFERENCE, 0.85, 0.84), done(OTHER, 0.86, 0.85)]
    return Case(make_spec(), [trials], "+1.00 ± 0.00 points on test over 2 seeds, the same on every seed")


def _all_pruned() -> Case:
    return Case(make_spec(), [[Told(p, "pruned", curve=[0.4, 0.5]) for p in (OTHER, THIRD)]], "(2 pruned)")


def _all_failed() -> Case:
    error = "TrainingDiverged: the loss is infinite\nsecond line"
    failed = [Told(params, "failed", error=error) for params in (REFERENCE, OTHER)]
    return Case(make_spec(), [failed], "2 trials of 2 failed: TrainingDiverged: the loss is infinite (2×).")


def _no_reference() -> Case:
    search = {"lr": {"low": 0.01, "high": 0.3, "log": True}}
    return Case(make_spec(search=search), [[done({"lr": 0.1}, 0.8, 0.8)]], "no trial has the parameters of a reference")


def _reference_pruned() -> Case:
    trials = [Told(REFERENCE, "pruned", curve=[0.4]), done(OTHER, 0.8, 0.8)]
    return Case(make_spec(), [trials], "the reference was stopped early")


def _no_search() -> Case:
    spec = make_spec(search={}, n_trials=1)
    return Case(spec, [[done({}, 0.85, 0.84)]], "the one setting reached 84.0 ± 0.3 % on test over 2 seeds")


def _one_parameter() -> Case:
    spec = make_spec(search={"alpha": [0.1, 0.3, 0.5]}, reference={"alpha": 0.3}, sampler="grid")
    values = {0.1: 0.80, 0.3: 0.81, 0.5: 0.82}
    return Case(spec, [[done({"alpha": a}, v, v - 0.01) for a, v in values.items()]], "α 0.5")


def _methods() -> Case:
    spec = make_spec(search={"method": ["static", "set", "rigl"]}, reference={"method": "static"}, sampler="grid")
    values = {"static": 0.80, "set": 0.81, "rigl": 0.83}
    return Case(spec, [[done({"method": m}, v, v) for m, v in values.items()]], "Which method should one use")


def _any_sparsity() -> Case:
    spec = StudySpec.model_validate(
        {
            "name": "free",
            "fixed": {"epochs": 2},
            "search": {"sparsity": [0.5, 0.9], "distribution": ["erk", "uniform"]},
            "strategy": {"sampler": "grid", "seeds": [0, 1]},
        }
    )
    return Case(spec, [[done({"sparsity": s, "distribution": "erk"}, 0.9 - s / 9, 0.8) for s in (0.5, 0.9)]], "any S")


def _not_a_number() -> Case:
    broken = Told(OTHER, val=(0.9, 0.9), test=(math.nan, 0.8), curve=(math.nan, 0.9))
    return Case(make_spec(), [[done(REFERENCE, 0.85, 0.84), broken]], "with an accuracy that is not a number")


def _one_seed() -> Case:
    trials = [Told(REFERENCE, val=(0.8,), test=(0.79,)), Told(OTHER, val=(0.82,), test=(0.80,))]
    return Case(make_spec(seeds=(3,), epochs=1), [trials], "one seed gives no interval")


def _unfinished() -> Case:
    spec = make_spec(sparsity=(0.9, 0.98))
    trials = [done(REFERENCE, 0.85, 0.84), Told(OTHER, "running", curve=[0.5]), Told({}, "waiting")]
    return Case(spec, [trials, [Told(REFERENCE, "waiting")]], "Unfinished: 2 waiting and 1 running of 4 trials")


def _mixed_machines() -> Case:
    gpu = {**ENVIRONMENT, "device": "cuda", "device_name": "NVIDIA H200", "torch": "2.11.0"}
    trials = [done(REFERENCE, 0.85, 0.84), done(OTHER, 0.86, 0.84, environment=gpu)]
    return Case(make_spec(), [trials], "different devices: cpu x86_64; cuda NVIDIA H200")


def _other_circumstances() -> Case:
    differed = {**ENVIRONMENT, "attempts_differ": "torch 2.12.0, 2.13.0"}
    trials = [done(REFERENCE, 0.85, 0.84), done(OTHER, 0.86, 0.84, environment=differed)]
    return Case(
        make_spec(), [trials], "1 trial went on from a checkpoint under other circumstances (torch 2.12.0, 2.13.0)"
    )


def _retried() -> Case:
    died = Told(REFERENCE, "failed", error="worker w0 died: no sign of life", curve=[0.4])
    again = done(REFERENCE, 0.85, 0.84, retry_of=0, attrs={"epochs_recomputed": 1})
    return Case(make_spec(), [[died, done(OTHER, 0.8, 0.8), again]], "Taken over by another worker after theirs died")


def _no_test() -> Case:
    trials = [Told(REFERENCE, val=(0.8, 0.8)), Told(OTHER, val=(0.82, 0.82))]
    return Case(make_spec(), [trials], "neither best nor reference has a test accuracy")


def _first_layer_dense() -> Case:
    spec = make_spec(distribution=("uniform",))
    trials = [done(REFERENCE, 0.85, 0.84, realised=0.116), done(OTHER, 0.84, 0.83, realised=0.116)]
    says = "At S = 0.98 uniform the sparsity realised is 11.4 % because the first layer stays dense."
    return Case(spec, [trials], says)


def _hostile_names() -> Case:
    spec = make_spec(description="<script>alert(1)</script> | *bold* & co")
    error = "=cmd|' /C calc'!A0 <script>alert(2)</script>"
    trials = [done(REFERENCE, 0.85, 0.84), Told(OTHER, "failed", error=error, attrs={"worker": "@SUM(A1)"})]
    return Case(spec, [trials], "&lt;script&gt;alert(1)&lt;/script&gt;")


def _text() -> Case:
    def told(params: dict[str, object], val: float, bits: float) -> Told:
        told_bits = {"bits_per_character": (bits, bits + 0.02), "test_bits_per_character": (bits + 0.1, bits + 0.12)}
        return done(params, val, val, attrs=told_bits)

    spec = make_spec(model="char_gru", dataset="synthetic_text")
    return Case(spec, [[told(REFERENCE, 0.55, 1.9), told(OTHER, 0.57, 1.8)]], "1.810 ± 0.014")


def _lottery() -> Case:
    source = "from:first/rigl-s0.98-erk#3"
    looked_up = {"masks": source, "distribution": source, "masks_sha256": "0" * 64}
    fixed = {"epochs": 2, "sparsity": 0.98, **looked_up, "layer_sparsity": {"layers.0.weight": 0.98}}
    spec = StudySpec.model_validate(
        {"name": "sample", "fixed": fixed, "strategy": {"sampler": "grid", "seeds": [0, 1]}}
    )
    return Case(spec, [[done({}, 0.85, 0.84)]], "S = 0.98 masks from:first/rigl-s0.98-erk#3")


def _side_by_side() -> Case:
    methods = ["dense", "small_dense", "static", "set", "rigl", "rigl_sg", "pruning"]
    spec = make_spec(
        "side-by-side",
        sparsity=(0.8, 0.9, 0.95),
        distribution=("uniform", "erk"),
        search={"method": methods},
        reference={"method": "static"},
        sampler="grid",
        seeds=(0, 1, 2),
        epochs=40,
    )
    trials = [[trained(plan, m, number) for number, m in enumerate(methods)] for plan in spec.plans()]
    return Case(spec, trials, "differences between methods")


def _beside_the_published() -> Case:
    spec = make_spec(
        "cifar10-wrn-methods", sparsity=(0.8, 0.9), distribution=("uniform",), search={"method": ["static", "rigl"]},
        reference={"method": "static"}, sampler="grid", seeds=(0, 1, 2), recipe="cifar10",
    )  # fmt: skip
    trials = [[trained(plan, m, number) for number, m in enumerate(("static", "rigl"))] for plan in spec.plans()]
    return Case(spec, [trials[0], []], "Ours minus the published")


CASES: dict[str, Callable[[], Case]] = {
    make.__name__.removeprefix("_"): make
    for make in (
        *(_whole, _nothing_stored, _all_waiting, _first_epoch, _one_complete, _two_complete, _all_pruned, _all_failed),
        *(_no_reference, _reference_pruned, _no_search, _one_parameter, _methods, _any_sparsity, _not_a_number),
        *(_one_seed, _unfinished, _mixed_machines, _retried, _no_test, _first_layer_dense, _hostile_names),
        _other_circumstances,
        *(_text, _lottery, _side_by_side, _beside_the_published),
    )
}


ALL_FIGURES = (
    *("comparison", "parameters", "curves", "importance", "response", "surface", "transfer", "stopping"),
    *("cost", "layers", "timeline"),
)
"""Those of the case "whole"."""


def few_with_all_figures() -> Case:
    """As few trials as there is every figure of the case "whole" for: where reports are drawn again and again."""
    search = {"lr": {"low": 0.01, "high": 0.3, "log": True}, "alpha": {"low": 0.1, "high": 0.6}}
    reference = {"lr": 0.1, "alpha": 0.3}
    spec = make_spec("few", sparsity=(0.9, 0.98), search=search, reference=reference, n_trials=8)
    return Case(spec, realistic(spec, n_trials=8), "2 pairs")
