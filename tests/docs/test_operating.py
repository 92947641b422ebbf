"""Every way of dying on docs/operating.md names its tests here, and every one of them exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

DYING, SURVIVAL = "tests/acceptance/test_dying.py", "tests/acceptance/test_survival.py"
OBJECTIVE, OUTAGE, LOOP, POOL, DEATH = (
    "tests/workers/test_objective.py",
    "tests/workers/test_objective_outage.py",
    "tests/workers/test_loop.py",
    "tests/workers/test_pool.py",
    "tests/studies/test_tickets_death.py",
)

ANSWERS, IDENTITY = "tests/studies/database/test_answers.py", "tests/studies/test_identity.py"
CHECKPOINTS, WAITING = "tests/workers/test_objective_checkpoints.py", "tests/workers/test_loop_waiting.py"

PROVED_BY = {
    "SIGTERM or Ctrl-C, once": [
        (SURVIVAL, "test_sigterm_gives_the_ticket_back"),
        (OBJECTIVE, "test_a_stop_costs_the_step_at_hand_and_one_checkpoint"),
    ],
    "SIGTERM while the database is away": [
        (DYING, "test_a_worker_told_to_stop_in_an_outage_does_not_wait_for_its_end"),
    ],
    "SIGUSR1 or SIGUSR2": [("tests/workers/test_stop.py", "test_notices_are_requests_and_never_kill")],
    "SIGTERM or Ctrl-C, twice": [(SURVIVAL, "test_the_second_sigterm_ends_a_worker_at_once")],
    "SIGKILL, power cut": [(SURVIVAL, "test_a_killed_workers_trial_is_finished_by_another")],
    "Out of memory": [
        (DYING, "test_a_worker_that_the_kernel_kills_for_its_memory"),
        (LOOP, "test_a_failure_is_told_and_the_worker_goes_on"),
    ],
    "A worker that cannot say why it ends (a signal, `os._exit` in a library)": [
        (POOL, "test_how_a_worker_ended_that_could_not_say_it_is_said_in_one_line"),
        (POOL, "test_a_real_worker_that_is_killed_is_replaced_and_its_trial_finished"),
    ],
    "Frozen (SIGSTOP, a machine asleep)": [
        (SURVIVAL, "test_a_worker_that_was_frozen_and_wakes_up_changes_nothing"),
        (DEATH, "test_a_frozen_worker_in_the_middle_of_a_write_blocks_no_sweeper"),
    ],
    "The database goes away": [
        (SURVIVAL, "test_the_database_is_stopped_for_ten_seconds"),
        (OUTAGE, "test_training_goes_on_while_the_database_is_away"),
        (OUTAGE, "test_no_checkpoint_is_written_while_the_ticket_may_be_lost"),
    ],
    "It is there and does not answer (a pooler or proxy that hangs)": [
        (ANSWERS, "test_a_statement_without_an_answer_is_an_outage"),
        (ANSWERS, "test_a_server_that_still_sends_is_not_cut_off"),
        (ANSWERS, "test_what_goes_through_all_trials_is_given_more_time"),
    ],
    "A campaign is deleted while it is trained": [
        (IDENTITY, "test_the_queue_of_a_deleted_study_does_nothing_to_the_one_that_has_its_number"),
        (IDENTITY, "test_what_a_worker_says_of_a_deleted_trial_does_not_reach_the_one_that_has_its_number"),
    ],
    "The database is set back to an earlier state (a failover, a restored backup)": [
        (IDENTITY, "test_a_server_that_was_set_back_is_told_again_what_it_has_forgotten"),
        (IDENTITY, "test_a_claim_whose_parameters_the_server_has_forgotten_is_lost"),
        (IDENTITY, "test_results_that_the_server_has_forgotten_are_not_learned_from"),
    ],
    "It stays away": [
        (OUTAGE, "test_what_was_trained_is_kept_when_the_database_stays_away"),
        (POOL, "test_a_real_worker_says_that_it_lost_patience"),
        (POOL, "test_who_lost_patience_is_started_again_while_others_go_on"),
        (POOL, "test_a_pool_that_lost_patience_as_a_whole_ends"),
    ],
    "Data that a machine lacks": [
        (WAITING, "test_missing_data_give_the_ticket_back_and_end_the_worker"),
        (WAITING, "test_a_campaign_whose_data_are_missing_holds_up_no_other"),
        (WAITING, "test_missing_data_are_no_failure_once_others_have_done_what_needed_them"),
        (WAITING, "test_a_worker_that_runs_for_ever_looks_for_missing_data_again"),
    ],
    "A GPU that stops computing": [
        (LOOP, "test_a_gpu_that_stops_computing_ends_the_worker_and_fails_no_trial"),
        (
            "tests/rigl_core/test_runtime.py",
            "test_a_gpu_that_stops_computing_is_told_as_that",
        ),
        (POOL, "test_who_lost_patience_is_started_again_while_others_go_on"),
    ],
    "A trial that kills its worker": [
        (DYING, "test_a_trial_that_kills_its_workers_is_failed_and_show_says_why"),
        (DEATH, "test_a_trial_whose_workers_die_is_not_given_up_while_it_gets_further"),
        (DEATH, "test_a_poison_ticket_may_be_retried_and_then_has_as_many_lives"),
    ],
    "A training error (the loss diverges)": [
        (OBJECTIVE, "test_a_diverged_training_is_told_and_leaves_no_checkpoint"),
        (LOOP, "test_three_failures_in_a_row_end_the_worker"),
    ],
    "A full disk": [(DYING, "test_when_the_disk_is_full_training_goes_on_from_the_previous_checkpoint")],
    "A lost checkpoint volume": [
        (DYING, "test_a_checkpoint_folder_that_is_gone_costs_no_trial"),
        (DYING, "test_a_trial_whose_checkpoint_is_lost_with_its_worker_starts_over"),
    ],
    "A checkpoint is lost or damaged": [
        (OBJECTIVE, "test_a_damaged_checkpoint_is_set_aside"),
        (DYING, "test_a_trial_whose_checkpoint_is_lost_with_its_worker_starts_over"),
    ],
    "A checkpoint that only others can go on from (not readable here, or begun on a GPU where there is none)": [
        (CHECKPOINTS, "test_a_checkpoint_that_cannot_be_read_here_is_left_to_others"),
        (CHECKPOINTS, "test_what_a_gpu_began_is_left_to_gpus"),
    ],
    "A worker of another version": [
        (DYING, "test_a_worker_of_another_version_leaves_the_ticket_waiting"),
        (
            "tests/rigl_core/test_checkpoint.py",
            "test_versions_go_on_from_each_others_checkpoints_where_a_new_setting_changes_nothing",
        ),
    ],
    "Clocks that disagree": [
        (DYING, "test_workers_whose_clocks_are_an_hour_apart"),
        (DEATH, "test_times_are_the_databases"),
    ],
}


def rows() -> list[str]:
    """What happens: the first column of the page's first table."""
    page = (ROOT / "docs/operating.md").read_text(encoding="utf-8").partition("## Where everything is")[0]
    return re.findall(r"^\| (?!What happens)(.+?) \|", page, re.MULTILINE)


def test_every_row_is_proved_and_nothing_else() -> None:
    assert rows() == list(PROVED_BY)


@pytest.mark.parametrize(("path", "name"), sorted({proof for proofs in PROVED_BY.values() for proof in proofs}))
def test_the_proof_exists(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
