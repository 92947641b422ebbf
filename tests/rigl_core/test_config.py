"""One configuration: ranges, names, the learning-rate and update schedules."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from rigl_core.config import TrainConfig
from rigl_core.config_checks import SMALLEST_AUGMENTED
from rigl_core.data import DATASETS
from rigl_core.data.augment import AUGMENTATIONS
from rigl_core.errors import BadInput, UnknownName
from rigl_core.methods import METHODS
from rigl_core.models import MODELS
from rigl_core.recipes import RECIPES
from rigl_core.schedules import CubicRamp, UpdateSchedule

TEXT = {"model": "char_gru", "dataset": "text", "text_file": "corpus.txt", "text_sha256": "0" * 64}
SMALL = {"dataset": "synthetic", "dataset_options": {"n_train": 7}}


def test_round_trip_through_json() -> None:
    config = TrainConfig(method="set", sparsity=0.98, distribution="random", seeds=(0, 1, 2), lr=0.03)
    assert config.distribution == "uniform"
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config


def test_a_digest_may_be_written_in_capitals() -> None:
    assert TrainConfig.model_validate({**TEXT, "text_sha256": "AB" * 32}).text_sha256 == "ab" * 32


def test_learning_rate_by_hand() -> None:
    config = TrainConfig(lr=0.1, warmup_steps=4, lr_drop_every=10, lr_drop_factor=0.2)
    expected = {0: 0.025, 1: 0.05, 3: 0.1, 4: 0.1, 13: 0.1, 14: 0.02, 23: 0.02, 24: 0.004}
    assert {step: config.lr_at(step) for step in expected} == pytest.approx(expected)
    assert TrainConfig(lr=0.1).lr_at(10**6) == 0.1


def test_topology_stops_after_three_quarters() -> None:
    schedule = TrainConfig(alpha=0.5, delta_t=7).topology_schedule(1001)
    assert isinstance(schedule, UpdateSchedule)
    assert (schedule.t_end, schedule.alpha, schedule.delta_t, schedule.anneal) == (750, 0.5, 7, "cosine")


@pytest.mark.parametrize(("k", "at_a_quarter", "at_half"), [(1, 0.3, 0.2), (2, 0.225, 0.1), (4, 0.1265625, 0.025)])
def test_the_power_of_an_inverse_power_anneal_by_hand(k: float, at_a_quarter: float, at_half: float) -> None:
    # alpha · (1 − t/T_end)^k with T_end = 20: 0.4 · 0.75^k and 0.4 · 0.5^k
    config = TrainConfig(alpha=0.4, t_end_fraction=0.5, anneal="inverse_power", anneal_power=k)
    schedule = config.topology_schedule(40)
    assert isinstance(schedule, UpdateSchedule)
    fractions = [schedule.drop_fraction(step) for step in (0, 5, 10, 20)]
    assert fractions == pytest.approx([0.4, at_a_quarter, at_half, 0.0])


def test_pruning_has_a_ramp_and_its_own_warm_up() -> None:
    config = TrainConfig(method="pruning", sparsity=0.8, delta_t=100, lr=0.1)
    assert config.topology_schedule(10_000) == CubicRamp(delta_t=100, t_start=700, t_end=7500, sparsity=0.8)
    assert config.lr_at(0) == pytest.approx(0.1 / 3500)
    assert config.lr_at(3500) == 0.1
    assert TrainConfig(method="pruning", lr=0.1, warmup_steps=0).lr_at(0) == 0.1
    with pytest.raises(BadInput, match=r"pruning would go from step 700 to step 75; .* lower ramp_start"):
        config.topology_schedule(100)


def test_a_recipe_fills_in_what_is_not_set() -> None:
    config = TrainConfig.model_validate({"recipe": "cifar100", "lr": 0.05})
    assert (config.model, config.dataset, config.lr) == ("resnet50", "cifar100", 0.05)
    assert (config.weight_decay, config.lr_drop_every, config.warmup_steps) == (1e-4, 20_000, 1760)
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(UnknownName, match='Did you mean "cifar10"'):
        TrainConfig.model_validate({"recipe": "cifar"})


def test_the_recipe_of_the_character_level_gru() -> None:
    config = TrainConfig.model_validate({"recipe": "char_gru", **TEXT, "epochs": 50})
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config
    assert (config.optimizer, config.lr, config.weight_decay, config.clip_norm) == ("adam", 7e-4, 5e-4, 10.0)
    assert (config.sparsity, config.distribution, config.alpha, config.delta_t) == (0.75, "uniform", 0.1, 100)
    assert config.topology_schedule(200_000).is_update_step(199_900)
    assert (config.batch_size, config.dataset_options, config.epochs) == (32, {"sequence_length": 512}, 50)


def test_the_recipe_of_the_pruned_gru_ramps_over_the_middle_of_the_training() -> None:
    config = TrainConfig.model_validate({"recipe": "char_gru_pruning", **TEXT})
    ramp = config.topology_schedule(200_000)
    assert isinstance(ramp, CubicRamp)
    assert (ramp.t_start, ramp.t_end, ramp.delta_t, ramp.sparsity) == (50_000, 150_000, 1000, 0.75)


def test_a_ramp_to_the_end_of_training_arrives() -> None:
    config = TrainConfig(method="pruning", t_end_fraction=1.0, ramp_start=10)
    ramp = config.topology_schedule(50)
    assert ramp.is_update_step(49)
    assert isinstance(ramp, CubicRamp)
    assert ramp.sparsity_at(49) == config.sparsity


def test_a_text_without_its_digest_is_told_it(tmp_path: Path) -> None:
    file = tmp_path / "corpus.txt"
    file.write_bytes(b"abc")
    with pytest.raises(BadInput, match=r'text_sha256 = "ba7816bf8f01cfea[0-9a-f]{48}" for .*corpus\.txt'):
        TrainConfig.model_validate({**TEXT, "text_file": str(file), "text_sha256": None})


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_momentum_concerns_sgd_only(optimizer: str) -> None:
    def make() -> TrainConfig:
        return TrainConfig.model_validate({"method": "snfs", "momentum": 0.0, "optimizer": optimizer})

    assert TrainConfig(method="rigl", momentum=0.0, optimizer=optimizer, nesterov=False).momentum == 0.0
    if optimizer == "adam":
        assert make().nesterov
    else:
        with pytest.raises(BadInput, match="looks at momentum"):
            make()


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_a_valid_configuration(name: str) -> None:
    file = {"text_file": "corpus.txt", "text_sha256": "0" * 64} if DATASETS[RECIPES[name]["dataset"]].reads_file else {}
    config = TrainConfig.model_validate({"recipe": name, **file})
    if not name.startswith("char_gru"):
        assert (config.epochs, config.batch_size, config.momentum, config.nesterov) == (250, 128, 0.9, True)


def test_the_wrn_recipe_runs_as_many_steps_as_the_report() -> None:
    config = TrainConfig.model_validate({"recipe": "cifar10"})
    schedule = config.topology_schedule(87_891)
    assert schedule.t_end == 65_918  # the report's end_when
    assert config.lr_at(29_999) == pytest.approx(0.1)
    assert config.lr_at(60_000) == pytest.approx(0.004)


def test_the_drops_of_cifar100_wait_for_its_warm_up_as_its_authors_have_it() -> None:
    config = TrainConfig.model_validate({"recipe": "cifar100"})
    assert config.lr_at(21_759) == pytest.approx(0.1)
    assert config.lr_at(21_760) == pytest.approx(0.02)


def test_updates_may_be_4000_steps_apart() -> None:
    """In-time over-parameterisation (Liu et al. 2021) trains each topology that long."""
    schedule = TrainConfig.model_validate({"recipe": "cifar10", "delta_t": 4000}).topology_schedule(87_891)
    assert [step for step in range(87_891) if schedule.is_update_step(step)] == list(range(4000, 65_918, 4000))


def test_no_more_gradients_are_averaged_than_there_are_between_updates() -> None:
    assert TrainConfig(delta_t=5, grow_accumulation=5).grow_accumulation == 5
    with pytest.raises(BadInput, match="grow_accumulation is 6, above delta_t, which is 5"):
        TrainConfig(delta_t=5, grow_accumulation=6)
    assert TrainConfig(method="static", delta_t=5, grow_accumulation=6).grow_accumulation == 6, "nothing ever grows"


def test_a_recipe_that_is_no_name_is_unknown() -> None:
    with pytest.raises(UnknownName, match="recipe"):
        TrainConfig.model_validate({"recipe": ["cifar10"]})


def test_training_longer_stretches_everything_together() -> None:
    config = TrainConfig(epochs=10, train_multiplier=2.5, lr=0.1, warmup_steps=4, lr_drop_every=10)
    assert config.n_epochs == 25
    assert config.lr_at(9) == pytest.approx(0.1)
    assert config.lr_at(4) == pytest.approx(0.05)
    assert config.lr_at(34) == pytest.approx(0.1)  # the drops wait for the ten steps of warm-up
    assert config.lr_at(35) == pytest.approx(0.02)
    short = TrainConfig(epochs=1, train_multiplier=0.1, lr=0.1, lr_drop_every=4)
    assert short.n_epochs == 1
    assert short.lr_at(1) == pytest.approx(0.02), "what is set to drop does, if at every step"


NAN, INF = float("nan"), float("inf")
RANGES: dict[str, tuple[list[object], list[object]]] = {  # field: the last values inside, the first outside
    "sparsity": ([0.0, 0.999], [-0.001, 1.0, NAN]),
    "alpha": ([0.0, 1.0], [-0.001, 1.001, NAN]),
    "delta_t": ([1], [0]),
    "t_end_fraction": ([0.0, 1.0], [-0.001, 1.001, NAN]),
    "anneal_power": ([0.001], [0.0, NAN, INF]),
    "grow_accumulation": ([1], [0]),
    "ramp_start": ([0], [-1]),
    "epochs": ([1], [0, 1.5]),
    "train_multiplier": ([0.001], [0.0, NAN, INF]),
    "batch_size": ([1], [0]),
    "lr": ([0.001], [0.0, NAN, INF]),
    "momentum": ([0.0, 0.999], [-0.001, 1.0, NAN]),
    "weight_decay": ([0.0], [-0.001, NAN, INF]),
    "clip_norm": ([None, 0.001], [0.0, NAN, INF]),
    "lr_drop_every": ([0], [-1]),
    "lr_drop_factor": ([0.001, 1.0], [0.0, 1.001, NAN]),
    "warmup_steps": ([None, 0], [-1]),
    "label_smoothing": ([0.0, 0.999], [-0.001, 1.0, NAN]),
    "train_size": ([None, 1], [0]),
    "seeds": ([(0,), (2**31 - 1,)], [(), (-1, 2), (0, 2**31)]),
    "augmentation": ([], ["mixup"]),
    "optimizer": ([], ["adamw"]),
    "text_sha256": ([], ["0" * 63, "0" * 65, "G" * 64]),
    "no_such_key": ([], [1]),
}


@pytest.mark.parametrize("field", RANGES)
def test_ranges_end_where_they_should(field: str) -> None:
    allowed, refused = RANGES[field]
    adam = {"optimizer": "adam"}  # which does without momentum
    for value in allowed:
        assert getattr(TrainConfig.model_validate({**adam, field: value}), field) == value
    for value in refused:
        with pytest.raises(ValidationError) as caught:
            TrainConfig.model_validate({**adam, field: value})
        assert caught.value.error_count() == 1
        assert caught.value.errors()[0]["loc"][0] == field


def test_every_number_of_a_configuration_has_a_range() -> None:
    numbers = {name for name, field in TrainConfig.model_fields.items() if isinstance(field.default, int | float)}
    assert numbers - {"nesterov"} <= RANGES.keys()


@pytest.mark.parametrize(
    ("option", "allowed", "refused"),
    [
        ("depth", [10, 16, 28.0], [4, 11, 16.5, INF]),
        ("width", [0.001, 10], [0, -1, NAN, INF]),
        ("dropout", [0, 0.999], [-0.001, 1, NAN]),
        ("n_eval", [1, 2.0], [0, 1.5, NAN, INF]),
    ],
)
def test_options_end_where_they_should(option: str, allowed: list[float], refused: list[float]) -> None:
    def plan(value: float) -> TrainConfig:
        of = "dataset_options" if option == "n_eval" else "model_options"
        return TrainConfig.model_validate({"dataset": "synthetic", "model": "wrn", of: {option: value}})

    for value in allowed:
        assert plan(value)
    for value in refused:
        with pytest.raises(BadInput, match=f"option {option} is {float(value)}; it must be "):
            plan(value)


@pytest.mark.parametrize(
    ("changes", "error", "complaint"),
    [
        ({"method": "riggle"}, UnknownName, 'unknown method "riggle". Did you mean "rigl"?'),
        ({"model": "lenet"}, UnknownName, 'Did you mean "lenet_300_100"?'),
        ({"dataset": "fashion"}, UnknownName, 'unknown data set "fashion". Did you mean "fashion_mnist"?'),
        ({"anneal": "cos"}, UnknownName, 'unknown anneal "cos"'),
        ({"anneal": "cos", "method": "pruning"}, UnknownName, 'unknown anneal "cos"'),
        ({"anneal": "cos", **TEXT}, UnknownName, 'unknown anneal "cos"'),
        ({"model": "wrn", "model_options": {"deph": 10}}, BadInput, 'takes no option "deph"'),
        ({"model": "wrn", "model_options": {"depth": 10.5}}, BadInput, "must be a whole number"),
        ({"dataset_options": {"n_train": 5}}, BadInput, 'data set "fashion_mnist" takes no option "n_train"'),
        ({"lr": True}, BadInput, "lr is true, which is for what is on or off"),
        ({"momentum": 0.0}, BadInput, "nesterov is true but momentum is 0"),
        (
            {"method": "snfs", "momentum": 0.0, "nesterov": False},
            BadInput,
            'method "snfs" looks at momentum, which is 0',
        ),
        ({"model": "wrn", "model_options": {"depth": 11}}, BadInput, "option depth is 11.0; it must be 6n + 4"),
        ({"model": "wrn", "model_options": {"width": -1}}, BadInput, "option width is -1.0; it must be above 0"),
        ({"model": "wrn_22_2", "model_options": {"dropout": 1}}, BadInput, "must be in [0, 1)"),
        (
            {"dataset": "synthetic", "dataset_options": {"n_train": 0}},
            BadInput,
            "n_train is 0.0; it must be at least 1",
        ),
        ({"dataset": "digits", "train_size": 1298}, BadInput, "train_size is 1298"),
        ({"dataset": "synthetic", "train_size": 2001}, BadInput, "train_size is 2001"),
        ({**SMALL, "train_size": 8}, BadInput, "train_size is 8"),
        (
            {**SMALL, "model": "wrn_10_1", "dataset_options": {"height": 3}},
            BadInput,
            'images of data set "synthetic" are 3×32; model "wrn_10_1" needs at least 4×4.',
        ),
        ({"dataset": "digits", "epochs": 3, "method": "pruning"}, BadInput, "lower ramp_start"),
        ({**TEXT, "method": "pruning", "train_size": 100}, BadInput, "lower ramp_start"),
        ({"seeds": (1, 1)}, BadInput, "every seed may appear once"),
        (
            {"model": "char_gru"},
            BadInput,
            'model "char_gru" reads text, and data set "fashion_mnist" holds images; models for images: lenet_300_100,',
        ),
        ({"dataset": "synthetic_text"}, BadInput, "models for text: char_gru."),
        ({**TEXT, "augmentation": "crop_flip"}, BadInput, 'augmentation is "crop_flip", which changes images'),
        ({**TEXT, "text_file": None}, BadInput, 'data set "text" is a file of yours; name it with text_file'),
        ({"text_file": "corpus.txt"}, BadInput, 'belong to data set "text", not to "fashion_mnist"'),
        ({"text_sha256": "0" * 64}, BadInput, 'belong to data set "text", not to "fashion_mnist"'),
        ({**TEXT, "text_sha256": None}, BadInput, "text_file needs text_sha256 beside it"),
    ],
)
def test_values_that_do_not_fit_together(changes: dict, error: type[Exception], complaint: str) -> None:
    with pytest.raises(error) as caught:
        TrainConfig.model_validate(changes)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.reads == "images"])
def test_images_are_too_small_for_the_plan_exactly_where_they_are_for_the_network(name: str) -> None:
    def plan(size: int) -> TrainConfig:
        options = {"channels": 1, "height": size, "width": size}
        return TrainConfig.model_validate({"model": name, "dataset": "synthetic", "dataset_options": options})

    model = MODELS[name]
    least = model.smallest_image
    assert plan(least).model == name
    network = model(num_classes=10, in_channels=1, image_size=(least, least))
    assert network(torch.zeros(2, 1, least, least)).shape == (2, 10)
    if least > 1:
        with pytest.raises(BadInput, match=f"needs at least {least}×{least}"):
            plan(least - 1)
        with pytest.raises(BadInput, match=f"{least - 1}×{least - 1}"):
            model(num_classes=10, in_channels=1, image_size=(least - 1, least - 1))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_images_are_too_small_for_the_plan_exactly_where_they_are_for_the_augmentation(name: str) -> None:
    def plan(size: int) -> TrainConfig:
        options = {"channels": 1, "height": size, "width": size}
        return TrainConfig.model_validate({"augmentation": name, "dataset": "synthetic", "dataset_options": options})

    def augmented(size: int) -> Tensor:
        return AUGMENTATIONS[name](torch.zeros(2, 1, size, size), torch.Generator().manual_seed(0))

    least = SMALLEST_AUGMENTED.get(name, 1)
    assert plan(least).augmentation == name
    assert augmented(least).shape == (2, 1, least, least)
    if least > 1:
        with pytest.raises(BadInput, match=f'augmentation "{name}" needs at least {least}×{least}'):
            plan(least - 1)
        with pytest.raises(BadInput):
            augmented(least - 1)


@pytest.mark.parametrize("options", [{}, {"channels": 1, "height": 5, "width": 7, "num_classes": 3, "n_train": 20}])
def test_what_the_plan_knows_of_synthetic_images_is_so(options: dict[str, float]) -> None:
    data = DATASETS["synthetic"](**options)
    assert DATASETS["synthetic"].shape(options) == data.image_shape
    assert DATASETS["synthetic"].n_items(options) == data.n_train
    assert DATASETS["synthetic"].n_classes(options) == data.num_classes


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.smallest_image > 1])
def test_a_last_batch_of_one_image_is_refused_where_it_could_not_be_normalised(name: str) -> None:
    def plan(size: int, width: int | None = None, **changes: int) -> TrainConfig:
        options = {"channels": 1, "height": size, "width": width or size, "n_train": 17}
        return TrainConfig.model_validate(
            {"model": name, "dataset": "synthetic", "dataset_options": options, "batch_size": 16, **changes}
        )

    least = MODELS[name].smallest_image
    network = MODELS[name](num_classes=10, in_channels=1, image_size=(least, least))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        network(torch.zeros(1, 1, least, least))
    for changes in ({}, {"batch_size": 1}, {"batch_size": 7, "train_size": 15}):
        with pytest.raises(BadInput, match="leaves one image to the last batch"):
            plan(least, **changes)

    assert plan(least + 1).batch_size == 16
    assert plan(least, least + 1).batch_size == plan(least + 1, least).batch_size == 16
    assert plan(least, batch_size=15).batch_size == 15
    assert plan(least, train_size=16).train_size == 16
    assert plan(least + 1, train_size=17).train_size == 17, "all there are"
    network(torch.zeros(1, 1, least + 1, least))


def test_a_network_that_does_not_normalise_takes_one_image_of_one_pixel() -> None:
    options = {"channels": 1, "height": 1, "width": 1, "n_train": 17}
    assert TrainConfig.model_validate({"dataset": "synthetic", "dataset_options": options, "batch_size": 16})


@pytest.mark.parametrize("delta_t", [1, 15, 16, 17, 100])
@pytest.mark.parametrize("method", METHODS)
def test_masks_stand_still_exactly_where_no_step_of_the_training_changes_them(method: str, delta_t: int) -> None:
    config = TrainConfig(method=method, delta_t=delta_t, dataset="digits", epochs=2, ramp_start=5)
    assert config.n_steps == 22
    schedule = config.topology_schedule(22)
    moves = METHODS[method].drop is not None and not any(map(schedule.is_update_step, range(22)))
    assert config.masks_stand_still == moves
    assert TrainConfig(dataset="digits", train_size=100, batch_size=30, epochs=3).n_steps == 12
    assert TrainConfig.model_validate({**TEXT, "train_size": 100, "batch_size": 30, "epochs": 3}).n_steps == 12
    assert TrainConfig.model_validate(TEXT).n_steps is None
