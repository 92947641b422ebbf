"""`from:STUDY#TRIAL`: looked up once, when a campaign is created, or refused in one line."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import BaseStorage
from typer.testing import CliRunner

from rigl_core.source import masks_file_of
from studies.campaigns import create_campaign, open_campaign
from studies.cli import app
from studies.commands.fallback import with_available_dataset
from studies.database.storage_url import StorageUrl
from studies.errors import BadInput, DataUnavailable, NotFound, SpecError
from studies.sources import resolve_sources
from studies.spec import StudySpec
from studies.storage import close_storage, open_storage
from studies.ticket import Ticket
from studies.tickets import TicketQueue
from studies.trial import TrialResult
from workers.objective import run_ticket
from workers.stop import Stop

STUDY = "first/rigl-s0.9-erk"
LABEL = f"from:{STUDY}#0"
FIXED: dict[str, Any] = {"method": "rigl", "model": "lenet_300_100", "dataset": "digits", "train_size": 64, "epochs": 1}
LAYERS = {"fc1.weight": 0.91, "fc2.weight": 0.88, "fc3.weight": 0.5}
MASKS = b"the masks"


@pytest.fixture
def storage() -> BaseStorage:
    return open_storage(StorageUrl.parse("memory://"))


def campaign(storage: BaseStorage, **changes: Any) -> TicketQueue:
    spec = {
        "name": "first",
        "fixed": FIXED,
        "search": {"lr": [0.1, 0.2, 0.3, 0.4]},
        "strategy": {"sampler": "grid", "seeds": [0, 1, 2]},
    }
    return create_campaign(storage, StudySpec.model_validate({**spec, **changes}))[0]


def claim(queue: TicketQueue) -> Ticket:
    ticket = queue.claim("worker")
    assert ticket is not None
    return ticket


def result(**changes: Any) -> TrialResult:
    told = {
        "seeds": (0, 1, 2),
        "val_accuracy": (0.9, 0.9, 0.9),
        "test_accuracy": (0.9, 0.9, 0.9),
        "loss": (0.1, 0.1, 0.1),
        "inference_flops": 0.1,
        "train_flops": 0.1,
        "dense_flops": 100.0,
        "n_parameters": 100,
        "n_active": 10,
        "realised_sparsity": 0.90001,
        "layer_sparsity": LAYERS,
        "epochs": 1,
        "seconds": 1.0,
    }
    return TrialResult.model_validate({**told, **changes})


@pytest.fixture
def checkpoints(storage: BaseStorage, tmp_path: Path) -> Path:
    """Trial 0 is complete and its masks are here, 1 failed, 2 is running and 3 waits."""
    queue = campaign(storage)
    assert claim(queue).complete(result())
    assert claim(queue).fail("too bad")
    claim(queue)
    masks = tmp_path / TicketQueue.open(storage, STUDY).folder / masks_file_of(0)
    masks.parent.mkdir(parents=True)
    masks.write_bytes(MASKS)
    return tmp_path


def asked(fixed: dict[str, Any], **changes: Any) -> StudySpec:
    """A campaign with these settings in [fixed], or without those that are None."""
    kept = {key: value for key, value in {**FIXED, **fixed}.items() if value is not None}
    spec = {"name": "second", "fixed": kept, "strategy": {"sampler": "grid", "seeds": [2, 0]}}
    return StudySpec.model_validate({**spec, **changes})


def test_a_distribution_becomes_plain_numbers(storage: BaseStorage, checkpoints: Path) -> None:
    spec = asked({"distribution": LABEL}, strategy={"sampler": "grid", "seeds": [77]})
    assert spec.pending is not None
    resolved = resolve_sources(storage, spec, Path("nowhere"))
    assert resolved.pending is None
    [plan] = resolved.plans()
    assert plan.name == "second/rigl-s0.9-from"
    config = plan.base_config
    assert (config.distribution, config.layer_sparsity, config.sparsity) == (LABEL, LAYERS, 0.9)
    assert (config.masks, config.masks_sha256) == (None, None)
    assert spec.fixed == {**FIXED, "distribution": LABEL}, "left as it was"


def test_masks_become_a_digest_beside_the_sparsities(storage: BaseStorage, checkpoints: Path) -> None:
    resolved = resolve_sources(storage, asked({"masks": LABEL, "method": "static"}), checkpoints)
    [plan] = resolved.plans()
    assert plan.name == "second/static-s0.9-from"
    config = plan.base_config
    assert (config.masks, config.masks_sha256) == (LABEL, hashlib.sha256(MASKS).hexdigest())
    assert (config.distribution, config.layer_sparsity) == (LABEL, LAYERS)


@pytest.mark.parametrize("key", ["distribution", "masks"])
def test_what_was_found_is_stored_whatever_becomes_of_the_source(
    storage: BaseStorage, checkpoints: Path, key: str
) -> None:
    resolved = resolve_sources(storage, asked({key: LABEL}), checkpoints)
    create_campaign(storage, resolved)
    again = resolve_sources(storage, asked({key: LABEL}), checkpoints)
    assert again == resolved
    assert again.canonical_json() == resolved.canonical_json()
    assert len(create_campaign(storage, again)) == 1
    storage.delete_study(storage.get_study_id_from_name(STUDY))
    [queue] = open_campaign(storage, "second").queues
    assert claim(queue).spec.config.layer_sparsity == LAYERS
    assert resolve_sources(storage, asked({key: LABEL}), checkpoints) == resolved, "the same command goes on"
    for other in ({"alpha": 0.5}, {key: "from:another/study#0"}, {"sparsity": 0.8}):
        with pytest.raises(NotFound, match=f"fixed.{key}: no study"):
            resolve_sources(storage, asked({key: LABEL, **other}), checkpoints)


def test_a_campaign_without_a_source_is_left_alone(storage: BaseStorage) -> None:
    spec = asked({})
    assert resolve_sources(storage, spec, Path("nowhere")) is spec


def test_a_sparsity_that_agrees_is_kept(storage: BaseStorage, checkpoints: Path) -> None:
    resolved = resolve_sources(storage, asked({"distribution": LABEL, "sparsity": 0.904}), checkpoints)
    assert resolved.plans()[0].name == "second/rigl-s0.904-from"


def test_an_unresolved_campaign_cannot_be_stored(storage: BaseStorage, checkpoints: Path) -> None:
    with pytest.raises(BadInput, match="is resolved when a campaign is created"):
        create_campaign(storage, asked({"distribution": LABEL}))


def test_a_fallback_data_set_is_found_before_the_source_is(
    storage: BaseStorage, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_name: str, _data_dir: Path | None) -> None:
        raise DataUnavailable("no network")

    monkeypatch.setattr("studies.commands.fallback.find.status", lambda _name, _data_dir: None)
    monkeypatch.setattr("studies.commands.fallback.find.fetch", refuse)
    spec = asked({"masks": LABEL})
    assert with_available_dataset(spec, "digits", None, print) is spec
    elsewhere = asked({"masks": LABEL, "dataset": "cifar10"})
    with pytest.raises(SpecError, match="that run has channels 1, and this one 3"):
        resolve_sources(storage, elsewhere, checkpoints)
    fallen_back = with_available_dataset(elsewhere, "digits", None, print)
    assert resolve_sources(storage, fallen_back, checkpoints).plans()[0].base_config.masks == LABEL


FITS: dict[str, dict[str, Any]] = {
    "another data set of its shape": {
        "dataset": "synthetic",
        "dataset_options": {"channels": 1, "height": 8, "width": 8, "n_train": 99},
    },
    "another method": {"method": "set"},
    "another training": {"epochs": 3, "lr": 0.7, "batch_size": 8, "optimizer": "adam"},
}


@pytest.mark.parametrize("case", FITS)
def test_what_does_not_touch_the_layers_may_differ(storage: BaseStorage, checkpoints: Path, case: str) -> None:
    assert resolve_sources(storage, asked({"masks": LABEL, **FITS[case]}), checkpoints).pending is None


def source(trial: int) -> str:
    return f"from:{STUDY}#{trial}"


BOX = {"channels": 1, "height": 8, "width": 9}
PAIRS = {"sparsity": [0.9], "distribution": ["erk"]}
BAD: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no hash": ({"masks": f"from:{STUDY}"}, {}, "fixed.masks: .*write from:STUDY#TRIAL"),
    "no number": ({"distribution": f"from:{STUDY}#x"}, {}, "fixed.distribution: .*write from:STUDY#TRIAL"),
    "no prefix": ({"masks": f"{STUDY}#0"}, {}, "fixed.masks: .*write from:STUDY#TRIAL"),
    "no text": ({"masks": 3}, {}, 'fixed.masks: "3" names no run'),
    "another folder": ({"masks": "from:../..#0"}, {}, "names no run"),
    "unknown study": ({"masks": "from:first/rigl-s0.9-er#0"}, {}, f"no study .* Did you mean {STUDY}"),
    "unknown trial": ({"masks": source(9)}, {}, f"{STUDY} has no trial 9"),
    "failed": ({"distribution": source(1)}, {}, "trial 1 is failed; name one that is complete"),
    "running": ({"distribution": source(2)}, {}, "trial 2 is still running"),
    "waiting": ({"masks": source(3)}, {}, "trial 3 is still waiting"),
    "another model": ({"masks": LABEL, "model": "wrn_22_2"}, {}, "that run has model lenet_300_100, and this one wrn"),
    "another shape": (
        {"distribution": LABEL, "dataset": "synthetic", "dataset_options": BOX},
        {},
        "that run has width 8, and this one 9",
    ),
    "a shape among others": (
        {"distribution": LABEL, "dataset": None},
        {"search": {"dataset": ["digits", "fashion_mnist"]}},
        "that run has height 8, and this one 28",
    ),
    "text": (
        {"distribution": LABEL, "model": "char_gru", "dataset": "synthetic_text"},
        {},
        "that run has model lenet_300_100, and this one char_gru",
    ),
    "other seeds": ({"masks": LABEL}, {"strategy": {"sampler": "grid", "seeds": [2, 5]}}, r"seed 5; .* \[0, 1, 2\]"),
    "dense": ({"masks": LABEL, "method": "dense"}, {}, 'method "dense" has no masks'),
    "small dense": ({"distribution": LABEL, "method": "small_dense"}, {}, 'method "small_dense" has no masks'),
    "pruning": (
        {"masks": LABEL, "method": "pruning", "epochs": 300, "ramp_start": 1},
        {},
        'method "pruning" starts dense',
    ),
    "another sparsity": ({"masks": LABEL, "sparsity": 0.8}, {}, "sparsity is 0.8, but that run ended with 0.9000"),
    "sparsity in words": ({"masks": LABEL, "sparsity": "much"}, {}, "much"),
    "both": ({"masks": LABEL, "distribution": LABEL}, {}, "leave distribution out"),
    "masks and pairs": ({"masks": LABEL}, {"pairs": PAIRS}, r"remove \[pairs\]"),
    "a pair": ({}, {"pairs": {**PAIRS, "distribution": [LABEL]}}, r"put it in \[fixed\]"),
    "searched sparsity": ({"distribution": LABEL}, {"search": {"sparsity": [0.8, 0.9]}}, "search.sparsity"),
    "searched masks": ({}, {"search": {"masks": [LABEL]}}, "search.masks: .*cannot be searched"),
    "searched source": ({}, {"search": {"distribution": [LABEL]}}, "is resolved when a campaign is created"),
    "by hand": ({"distribution": LABEL, "layer_sparsity": LAYERS}, {}, "fixed.layer_sparsity: .*remove it"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_in_one_line(storage: BaseStorage, checkpoints: Path, case: str) -> None:
    fixed, changes, told = BAD[case]
    with pytest.raises(BadInput, match=told) as caught:
        resolve_sources(storage, asked(fixed, **changes), checkpoints)
    assert "\n" not in str(caught.value)


def test_missing_masks_say_where_they_were_looked_for(storage: BaseStorage, checkpoints: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"its masks are not at .*/elsewhere/first/.*/0\.masks\.pt .*--checkpoints"):
        resolve_sources(storage, asked({"masks": LABEL}), tmp_path / "elsewhere")


def test_an_empty_storage_has_no_source(storage: BaseStorage) -> None:
    with pytest.raises(NotFound, match=r"fixed\.masks: no study"):
        resolve_sources(storage, asked({"masks": LABEL}), Path("nowhere"))


TELL: dict[str, tuple[dict[str, Any], Callable[[Ticket], bool], str]] = {
    "dense": ({"method": "dense"}, lambda ticket: ticket.complete(result()), 'method "dense", which has no masks'),
    "pruned": ({}, lambda ticket: ticket.prune(result()), "trial 0 is pruned"),
    "not recorded": ({}, lambda ticket: ticket.complete(result(layer_sparsity={})), "were not recorded"),
}


@pytest.mark.parametrize("case", TELL)
def test_a_source_without_masks_is_refused(storage: BaseStorage, tmp_path: Path, case: str) -> None:
    fixed, tell, told = TELL[case]
    queue = campaign(storage, fixed={**FIXED, **fixed})
    assert tell(claim(queue))
    with pytest.raises(SpecError, match=told):
        resolve_sources(storage, asked({"distribution": f"from:{queue.name}#0"}), tmp_path)


def test_options_of_the_model_must_be_the_same(storage: BaseStorage, tmp_path: Path) -> None:
    wrn = {"model": "wrn", "model_options": {"depth": 10, "width": 1}}
    queue = campaign(storage, fixed={**FIXED, **wrn})
    assert claim(queue).complete(result())
    label = {"distribution": f"from:{queue.name}#0"}
    assert resolve_sources(storage, asked({**wrn, **label}), tmp_path).pending is None
    wider = {**wrn, **label, "model_options": {"depth": 10, "width": 2}}
    with pytest.raises(SpecError, match=r"that run has model_options\.width 1.*, and this one 2"):
        resolve_sources(storage, asked(wider), tmp_path)


def test_texts_must_be_the_same(storage: BaseStorage, tmp_path: Path) -> None:
    text = {"model": "char_gru", "dataset": "text", "text_file": "corpus.txt", "text_sha256": "0" * 64}
    fixed = {**FIXED, **text, "dataset_options": {"sequence_length": 32}}
    queue = campaign(storage, fixed=fixed)
    assert claim(queue).complete(result())
    label = {"distribution": f"from:{queue.name}#0"}
    assert resolve_sources(storage, asked({**text, **label}), tmp_path).pending is None, "windows may differ"
    with pytest.raises(SpecError, match="that run has text_sha256 000"):
        resolve_sources(storage, asked({**text, **label, "text_sha256": "1" * 64}), tmp_path)


def test_a_trained_trial_is_the_source_of_a_lottery_ticket_and_of_a_re_init(
    storage: BaseStorage, tmp_path: Path
) -> None:
    queue = campaign(storage, fixed={**FIXED, "delta_t": 1, "method": "rigl_sg"}, search={"lr": [0.1]})
    first = claim(queue)
    assert run_ticket(first, Stop(), checkpoint_dir=tmp_path) == "complete"
    told = storage.get_all_trials(storage.get_study_id_from_name(queue.name))[0].user_attrs
    for key in ("masks", "distribution"):
        spec = asked({key: f"from:{queue.name}#0", "method": "static"}, name=key)
        [new] = create_campaign(storage, resolve_sources(storage, spec, tmp_path))
        assert run_ticket(claim(new), Stop(), checkpoint_dir=tmp_path) == "complete"
        mine = storage.get_all_trials(storage.get_study_id_from_name(new.name))[0].user_attrs
        assert mine["seeds"] == [2, 0]
        if key == "masks":
            assert mine["n_active"] == told["n_active"]
        assert mine["n_active"] == pytest.approx(told["n_active"], abs=len(told["layer_sparsity"]))
        assert mine["layer_sparsity"] == pytest.approx(told["layer_sparsity"], abs=0.05)


def test_create_says_what_is_wrong_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIGL_STUDY_HOME", str(tmp_path / "home"))
    url = "sqlite:///results.db"
    database = open_storage(StorageUrl.parse(url))
    queue = campaign(database, search={"lr": [0.1]})
    assert claim(queue).complete(result())
    toml = 'name = "second"\n[fixed]\nmodel = "lenet_300_100"\ndataset = "digits"\n[strategy]\nsampler = "grid"\n'
    (tmp_path / "second.toml").write_text(toml)
    arguments = ("create", "second.toml", "--storage", url, "--checkpoints", "kept")

    refused = CliRunner().invoke(app, [*arguments, "--set", f"fixed.masks={LABEL}"])
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert re.search("kept/first/rigl-s0.9-erk/[0-9a-f]{16}/0.masks.pt", refused.stderr)
    with pytest.raises(NotFound):
        open_campaign(database, "second")

    elsewhere = CliRunner().invoke(
        app, ["create", "second.toml", "--storage", "sqlite:///other.db", "--set", f"fixed.masks={LABEL}"]
    )
    assert elsewhere.exit_code == 2
    assert not (tmp_path / "other.db").exists()

    done = CliRunner().invoke(app, [*arguments, "--set", f"fixed.distribution={LABEL}"])
    assert (done.exit_code, done.stdout) == (0, "second\n"), done.stderr
    [created] = open_campaign(database, "second").queues
    assert created.name == "second/rigl-s0.9-from"
    assert json.loads(created.plan.spec.canonical_json())["fixed"]["layer_sparsity"] == LAYERS
    close_storage(database)
