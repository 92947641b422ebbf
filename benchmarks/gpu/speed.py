"""How fast a network is trained on a device, against its peers and against what the device could do at most."""

import math
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.ceilings import arithmetic, bandwidth, traffic, wait
from benchmarks.gpu.kernels import where_time_goes
from benchmarks.gpu.session import CannotMeasure, OutOfTime, Session
from benchmarks.gpu.site import NEVER, SETTLED, Network, Site
from benchmarks.plain_loop import PlainLoop
from benchmarks.rows import Row, share, speedup
from rigl_core.execution import Execution
from rigl_core.flops import forward_flops
from rigl_core.methods import METHODS
from rigl_core.outcome import EpochReport
from rigl_core.plan import make_plan
from rigl_core.replica import Replica
from rigl_core.scores import Layer
from rigl_core.topology import drop_and_grow
from rigl_core.train import train
from rigl_core.workplace import Workplace

DROP_FRACTION = 0.3
LIKENED = 20
"""First steps of a network, compiled or not, whose losses are compared."""

SETTLING_EPOCHS = 3
"""The first of a run, which do not count: short batches are recorded in the third."""


class Speed:
    """The figures of all networks, as parts of a session.

    Args:
        site: the device.
        session: where to tell what was found.

    Attributes:
        peak_bytes, peak_flops: what the device does at most in a second; 0 until `ceilings` has measured them.
        step_ms: of each network, trained by RigL as it is.
    """

    def __init__(self, site: Site, session: Session) -> None:
        self.site, self.session = site, session
        self.peak_bytes = self.peak_flops = 0.0
        self.step_ms: dict[str, float] = {}

    def ceilings(self) -> None:
        """Bandwidth and arithmetic of this device."""
        device, size = self.site.device, 128 if self.site.tiny else 8192
        self.peak_bytes = bandwidth(device, 4 if self.site.tiny else 1024)
        self.session.row(Row(line="Bandwidth of a copy", ours=self.peak_bytes / 1e9, unit="GB/s"))
        self.peak_flops = arithmetic(device, size, torch.bfloat16)
        self.session.row(Row(line="Arithmetic, bfloat16 product", ours=self.peak_flops / 1e12, unit="TFLOP/s"))
        exact = arithmetic(device, size // 2, torch.float32)
        self.session.row(Row(line="Arithmetic, float32 product", ours=exact / 1e12, unit="TFLOP/s"))

    def steps(self, network: Network) -> None:
        """A step by each method, recorded and not, in float32, and what a plain loop takes."""
        site, own = self.site, self.site.plan
        exact = make_plan(Execution(precision="float32"), site.device)
        ways = {
            "RigL": site.steps(network, own),
            "dense": site.steps(network, own, method="dense"),
            "static": site.steps(network, own, method="static"),
            "RigL, topology steps included": site.steps(network, own, delta_t=100),
        }
        eager = {
            "not recorded": site.steps(network, replace(own, recorded=False)),
            "float32": site.steps(network, exact),
            "dense, not recorded": site.steps(network, replace(own, recorded=False), method="dense"),
            "--deterministic, float32": site.steps(
                network, make_plan(Execution(precision="float32", deterministic=True), site.device)
            ),
        }
        found = site.milliseconds(ways) | site.milliseconds(eager)
        recording = ways["RigL"].replica.seconds_recording
        ours = self.step_ms[network.model] = found.pop("RigL")
        line = f"{network.model} step, RigL"
        if own.recorded:
            note = "once for all trials of its shape"
            self.session.row(Row(line=f"{network.model}, recording a step", ours=recording, unit="s", note=note))
        dense = found.pop("dense")
        rate = f"{1e3 / ours:,.0f}/s, dense {1e3 / dense:,.0f}/s"
        self.session.row(share(line, ours, "dense", dense, unit="ms", goal="≤ 1.01×", note=rate))
        for name, other in found.items():
            self.session.row(speedup(line, ours, name, other, unit="ms", note=f"{1e3 / other:,.0f}/s"))
        self._against_ceilings(network, ours)

    def compiled(self, network: Network) -> None:
        """A step of a compiled network, how long compiling takes, and where the time of a step goes then."""
        site = self.site
        wait(site.device)
        began = time.monotonic()
        ours = site.steps(network, site.compiled)
        ours()
        wait(site.device)
        seconds, plain = time.monotonic() - began, site.steps(network)
        note = "its first step, once for all trials of its shape"
        self.session.row(Row(line=f"{network.model}, compiling", ours=seconds, unit="s", note=note))
        plain()
        for _ in range(LIKENED):
            ours()
            plain()
        off = abs(float(ours.replica.loss_sum) / float(plain.replica.loss_sum) - 1)
        dense = site.steps(network, site.compiled, method="dense")
        found = site.milliseconds({"": ours, "dense": dense, "not compiled": plain})
        line, step = f"{network.model} step, RigL, compiled", found.pop("")
        note = f"{1e3 / step:,.0f}/s; loss of {LIKENED} steps {off:.1e} off that of one not compiled"
        self.session.row(share(line, step, "dense", found.pop("dense"), unit="ms", goal="≤ 1.01×", note=note))
        for name, other in found.items():
            self.session.row(speedup(line, step, name, other, unit="ms", note=f"{1e3 / other:,.0f}/s"))
        self.session.tell(f"{network.model}, compiled: {where_time_goes(ours, site.device)}")

    def plain_loop(self, network: Network) -> None:
        """The step of a first version: eager, float32, NCHW, images changed one by one in a DataLoader."""
        workers = 0 if self.site.tiny else 8
        model = "wrn_10_1" if self.site.tiny else network.model
        data = self.site.on_host(network)
        loop = PlainLoop(model, data, n_workers=workers, augment=True, device=self.site.device)
        step_ms = self.step_ms.get(network.model) or self.site.milliseconds({"": self.site.steps(network)})[""]
        theirs = self.site.milliseconds({"": loop.step}, 1.0)[""]
        note = f"its DataLoader with {workers} processes"
        line = f"{network.model} step, RigL"
        self.session.row(speedup(line, step_ms, "eager NCHW + DataLoader", theirs, unit="ms", note=note))

    def _against_ceilings(self, network: Network, ours: float) -> None:
        steps = self.site.steps(network, replace(self.site.plan, recorded=False, sparse_convolutions=False))
        steps()
        moved, replica = traffic(steps), steps.replica
        forward = sum(forward_flops(replica.model, replica.data.input_shape).values())
        flops = 3 * forward * min(replica.config.batch_size, replica.data.n_train)
        if not (self.peak_bytes and self.peak_flops):
            return
        per_second = 1e3 / ours
        self.session.tell(
            f"{network.model}: a step's operations move {moved / 1e9:.2f} GB, "
            f"{moved * per_second / self.peak_bytes:.0%} of the bandwidth of a copy, and do {flops / 1e12:.3f} TFLOP "
            f"(dense), {flops * per_second / self.peak_flops:.1%} of the arithmetic of a product"
        )

    def topology(self, network: Network) -> None:
        """A topology step: of the whole optimizer, and choosing masks alone against plain ways to choose the same."""
        site = self.site
        optimizer = site.steps(network).replica.sparse
        for weight in optimizer.weights.values():
            weight.grad = torch.randn_like(weight)
        random = torch.Generator(site.device)
        layers = {
            name: Layer(optimizer.weights[name].detach(), _gradient(optimizer.weights[name]), None, random)
            for name in optimizer.movable
        }
        masks = optimizer.masks

        def chosen_by(choose: Callable[[Tensor, int], Tensor]) -> dict[str, Tensor]:
            new = {}
            for name, layer in layers.items():
                n_drop = int(DROP_FRACTION * masks.n_active[name])
                magnitude = layer.weight.abs().masked_fill(~masks.masks[name], -1.0).flatten()
                kept = torch.zeros_like(magnitude, dtype=torch.bool)
                kept[choose(magnitude, masks.n_active[name] - n_drop)] = True
                kept[choose(layer.gradient.abs().flatten().masked_fill(kept, -1.0), n_drop)] = True
                new[name] = kept
            return new

        def sort(scores: Tensor, n: int) -> Tensor:
            return scores.sort(descending=True, stable=True).indices[:n]

        def ours() -> dict[str, Tensor]:
            return drop_and_grow(layers, masks, METHODS["rigl"], DROP_FRACTION)[0].masks

        new, peer = ours(), chosen_by(sort)
        assert all(torch.equal(new[name].flatten(), peer[name]) for name in layers), "masks differ from a plain sort's"
        found = site.milliseconds(
            {
                "ours": ours,
                "plain top-k": lambda: chosen_by(lambda scores, n: scores.topk(n).indices),
                "plain stable sort": lambda: chosen_by(sort),
            }
        )
        whole = site.milliseconds({"": lambda: optimizer.topology_step(1)})[""]
        note = "masks, weights and momentum changed"
        self.session.row(Row(line=f"{network.model} topology step", ours=whole, unit="ms", note=note))
        for name in ("plain top-k", "plain stable sort"):
            line = f"{network.model}, choosing masks"
            self.session.row(speedup(line, found["ours"], name, found[name], unit="ms"))

    def run(self, network: Network, seconds: float, *, compiled: bool = False) -> None:
        """Epochs as they are trained, validation and topology steps included.

        All 250 where they fit in so many `seconds` after the first ones.
        """
        site, reports, ends = self.site, list[EpochReport](), math.inf
        if compiled and site.device == "cpu":
            raise CannotMeasure("networks are compiled for GPUs only")
        data, config = site.data(network), site.config(network, epochs=4 if site.tiny else 250)

        def enough(report: EpochReport) -> bool:
            nonlocal ends
            reports.append(report)
            if len(reports) == SETTLING_EPOCHS:
                ends = time.monotonic() + seconds
            return time.monotonic() > ends

        outcome = train(
            config, on_epoch=enough, should_stop=lambda: False, device=site.device, data=data, workplace=Workplace(),
            execution=Execution(compiled=compiled),
        )  # fmt: skip
        if len(reports) <= SETTLING_EPOCHS:
            raise OutOfTime(f"only {len(reports)} epochs in {seconds:.0f} s")
        batches = -(-data.n_train // config.batch_size)
        counted = [report.seconds for report in reports[SETTLING_EPOCHS:]]
        each = sum(counted) / len(counted)
        n_steps = batches * config.n_epochs
        measured = outcome.seconds if outcome.status == "complete" else each * config.n_epochs
        how = "run whole" if outcome.status == "complete" else f"from {len(counted)} epochs"
        kind = f"{network.model}, compiled" if compiled else network.model
        line = f"{kind}, {config.n_epochs} epochs, {n_steps:,} steps, S = 0.9"
        note = f"{how}; {batches / each:,.0f} steps/s with validation"
        self.session.row(Row(line=line, ours=measured, unit="s", goal=network.in_words, note=note))
        first = ", ".join(f"{report.seconds:.2f}" for report in reports[:SETTLING_EPOCHS])
        self.session.tell(
            f"{kind}: the first epochs of a new worker took {first} s, later ones {each:.3f} s; "
            f"accuracy after {len(reports)} epochs {reports[-1].val_accuracy[0]:.3f}, loss {reports[-1].loss[0]:.4f}"
        )

    def reuse(self, network: Network) -> None:
        """The first steps of a worker's trials: of its first one, and of others that go on with what was recorded."""
        site, place, data = self.site, Workplace(), self.site.data(network)
        trials: dict[str, dict[str, object]] = {
            "first trial": {},
            "next: lr, alpha, delta_t": {"lr": 0.03, "alpha": 0.5, "delta_t": 250},
            "next: sparsity, seed": {"sparsity": 0.95, "seeds": (7,)},
            "next: method static": {"method": "static", "seeds": (8,)},
            "next: method set": {"method": "set", "seeds": (9,)},
            "another shape: dense": {"method": "dense"},
        }
        for name, changes in trials.items():
            config = site.config(network, **changes)
            wait(site.device)
            began = time.monotonic()
            (replica,) = place.replicas(config, data, site.plan, NEVER, {})
            before, loss = replica.seconds_recording, 0.0
            for step in range(SETTLED):
                replica.train_step(0, step % max(1, data.n_train // config.batch_size), step)
            wait(site.device)
            seconds = time.monotonic() - began
            loss = float(replica.loss_sum)
            anew = Replica(config, data, config.seeds[0], NEVER, replace(site.plan, recorded=False))
            for step in range(SETTLED):
                anew.train_step(0, step % max(1, data.n_train // config.batch_size), step)
            off = abs(loss / float(anew.loss_sum) - 1)
            note = (
                f"recording {replica.seconds_recording - before:.2f} s of it; loss {off:.1e} off that of a new network"
            )
            self.session.row(Row(line=f"{network.model}, {SETTLED} steps of {name}", ours=seconds, unit="s", note=note))

    def memory(self, network: Network) -> None:
        """The peak of a run against the same dense run, topology steps included."""
        if self.site.device == "cpu":
            raise CannotMeasure("only a GPU's allocator tells; benchmarks.training_run has the CPU's")
        self.site.data(network)
        peaks = [self._peak(network, method) for method in ("rigl", "dense")]
        line = f"{network.model}, peak memory of a run"
        self.session.row(share(line, peaks[0], "dense", peaks[1], unit="MiB", goal="≤ 1.25×"))

    def _peak(self, network: Network, method: str) -> float:
        """MiB above what is there already."""
        self.site.release()
        before = torch.cuda.memory_reserved(self.site.device)
        steps = self.site.steps(network, method=method, delta_t=4)
        for _ in range(14):
            steps()
        self.site.release()  # what the search for algorithms took
        torch.cuda.reset_peak_memory_stats(self.site.device)
        for _ in range(8):
            steps()
        wait(self.site.device)
        return (torch.cuda.max_memory_reserved(self.site.device) - before) / 2**20

    def profile(self, network: Network) -> None:
        """Where the time of a step goes, recorded or not."""
        for name, plan in {"": self.site.plan, ", not recorded": replace(self.site.plan, recorded=False)}.items():
            steps = self.site.steps(network, plan)
            for _ in range(SETTLED):
                steps()
            self.session.tell(f"{network.model}{name}: {where_time_goes(steps, self.site.device)}")


def _gradient(weight: Tensor) -> Tensor:
    assert weight.grad is not None
    return weight.grad
