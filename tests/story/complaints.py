"""What operators of fleets of panels complain about, in plain words, and the tests that would have caught it.

A complaint is answered by tests, each named by its file and its function; `test_complaints.py` sees that all
of them are there. Callers: that test. Not here: the story of the one shop (`lines`).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Complaint:
    """What somebody suffers from; `tests`: `file::function` below tests/, at least one."""

    text: str
    tests: tuple[str, ...]


MOVES, FLEETS, TRAPS = (
    "e2e/test_moves.py",
    "story/test_fleets.py",
    "integration/runtime/test_traps.py",
)
QUOTA, SALES = "integration/runtime/test_quota.py", "e2e/test_sales.py"
SOLD = "integration/store/test_commands_sales.py"
FAULTS, LIFE = "integration/runtime/test_faults.py", "contract/live/test_lifecycle.py"
ADOPTED, ORDER = "e2e/test_adoption.py", "story/test_order.py"
RESTORE, BACKUP = "integration/backup/test_restore.py", "e2e/test_backup.py"
GONE = "integration/runtime/test_write_off.py"
OLD, KEPT = "integration/runtime/test_recovery.py", "integration/runtime/test_backups.py"

MISSING = {
    "a second panel stays empty": Complaint(
        "A second panel is added, is said to be fine, and no client is ever made there; nobody is told.",
        (
            f"{MOVES}::test_a_node_that_joins_the_running_service_gets_every_key_that_is_to_live_everywhere",
            "integration/runtime/test_daemon.py::test_a_node_that_is_declared_later_joins_and_is_filled",
        ),
    ),
    "a node is online and its inbounds never arrive": Complaint(
        "Clients of a node show neither use nor state; one email that clashes keeps the whole node out.",
        (
            f"{FLEETS}::test_one_email_that_a_stranger_holds_keeps_no_other_key_out",
            "faults/test_explorer.py::test_no_single_fault_breaks_a_promise",
            "integration/runtime/test_sampling.py::test_a_look_tells_the_traffic_and_the_host_of_its_node",
        ),
    ),
    "switched on again, and back nowhere": Complaint(
        "Switching a client off takes it from every node, switching it on does not bring it back; what ran "
        "out and was renewed returns with one inbound of many.",
        (
            f"{SALES}::test_what_is_switched_off_goes_dark_on_every_node_and_returns_as_it_was",
            f"{FLEETS}::test_what_ran_out_and_was_deleted_returns_on_every_inbound_of_every_node",
            f"{LIFE}::test_a_client_without_its_inbounds_is_attached_again",
        ),
    ),
    "dead until somebody saves it by hand": Complaint(
        "After a restart of a panel or of its Xray every node is dead until each one is opened and saved.",
        (
            f"{FLEETS}::test_a_panel_that_was_restarted_serves_without_anybody_opening_it",
            f"{TRAPS}::test_a_controller_that_died_after_the_edit_has_xray_restarted_when_it_is_back",
        ),
    ),
    "works only once it was saved again": Complaint(
        "A client that a shop made works only after somebody opened and saved it in the panel, or after "
        "the core was restarted.",
        (
            f"{TRAPS}::test_renewed_shadowsocks_keys_are_served_after_one_restart_for_all_of_them",
            f"{LIFE}::test_what_was_sold_is_what_the_panel_enforces",
        ),
    ),
    "filled at start only": Complaint(
        "Users are filled in at a start or after a failed call, not when a node comes back; a lost wake-up "
        "leaves them out for good.",
        (
            "integration/runtime/test_wakeups.py::test_what_nobody_heard_of_is_read_again",
            "integration/runtime/test_daemon.py::test_damage_by_hand_is_healed_at_the_next_look",
        ),
    ),
    "paid, and empty": Complaint(
        "Money is taken, the subscription is active, and there is no server in it.",
        (
            f"{SOLD}::test_what_is_paid_while_nothing_can_carry_it_is_a_key_that_waits_and_is_shown",
            f"{SALES}::test_what_is_paid_is_served_on_every_node_and_shown_as_it_is",
            "property/test_money.py::test_any_order_duplication_and_loss_of_messages_credits_each_payment_once",
            "property/test_fleet_life.py::test_whoever_is_entitled_is_served_and_nobody_else_whatever_happens",
        ),
    ),
    "logged in, and nothing handed out": Complaint(
        "The bot logs in and cannot hand out a trial; a tool for an older panel leaves the list empty.",
        (
            f"{LIFE}::test_a_key_lives_from_issue_to_rotation_to_revocation",
            f"{SALES}::test_a_trial_is_given_once_and_another_tariff_takes_over",
        ),
    ),
}
UNDEAD = {
    "deleted here, alive on the nodes": Complaint(
        "A user is deleted on the main panel and lives on, on the nodes.",
        (
            f"{ORDER}::test_no_row_goes_while_the_panel_still_holds_the_client",
            "faults/test_life.py::test_created_moved_and_deleted_over_two_families_under_every_single_fault",
        ),
    ),
    "what is disabled cannot be deleted": Complaint(
        "A client that is switched off is skipped by the delete, and the error is hidden.",
        (f"{FLEETS}::test_what_is_switched_off_is_deleted_too_from_inbounds_of_every_protocol",),
    ),
    "deleted again and again": Complaint(
        "A client has to be deleted several times; success is told while the remote delete failed.",
        (
            f"{FAULTS}::test_a_lost_or_false_answer_loses_and_doubles_nothing",
            f"{TRAPS}::test_what_a_refused_call_stored_all_the_same_is_neither_lost_nor_doubled",
        ),
    ),
    "a delete that was dropped": Complaint(
        "A delete is tried once, and dropped when the node is off or when more than a few go at once.",
        (
            f"{MOVES}::test_keys_of_a_killed_node_live_elsewhere_and_its_debts_are_paid_on_its_return",
            f"{FLEETS}::test_forty_deletes_that_a_dead_node_owes_are_shown_and_all_done_when_it_is_back",
        ),
    ),
    "the node was removed first": Complaint(
        "A client cannot be deleted any more, since its node was removed before it; what a removed node held "
        "stays on its panel.",
        (
            "e2e/test_forgetting.py::test_a_dead_node_is_forgotten_and_its_panel_comes_back_under_another_name",
            "e2e/test_forgetting.py::test_a_node_of_the_policy_drain_goes_by_itself_once_it_is_empty",
            f"{GONE}::test_a_panel_that_comes_back_is_relieved_of_what_was_written_off",
        ),
    ),
    "cut off on all nodes but two": Complaint(
        "A limited user is cut on all nodes but some, removal is missing for one protocol, and nobody "
        "acknowledges it.",
        (
            f"{QUOTA}::test_a_quota_used_up_on_one_node_is_not_surfed_on_through_another",
            f"{FLEETS}::test_what_is_switched_off_is_deleted_too_from_inbounds_of_every_protocol",
        ),
    ),
    "deleted, and back as somebody new": Complaint(
        "Deleting only disables, and the user comes back at once as a new one.",
        (
            f"{SOLD}::test_a_trial_is_given_once_in_a_life",
            f"{LIFE}::test_a_key_lives_from_issue_to_rotation_to_revocation",
        ),
    ),
}
WIPED = {
    "a panel joins and loses what it had": Complaint(
        "A working server is added as a node, and its inbounds are deleted instead of taken over.",
        (
            f"{FLEETS}::test_a_panel_that_is_in_use_and_joins_loses_nothing",
            "integration/runtime/test_adoption.py::test_adopting_and_the_cycles_after_it_send_nothing_that_writes",
        ),
    ),
    "an inbound is switched off, and gone": Complaint(
        "An inbound that is switched off on a node is deleted there and here; taking one inbound from one "
        "client deletes them all.",
        (
            f"{FLEETS}::test_an_inbound_that_is_switched_off_takes_no_client_with_it",
            "e2e/test_nobody_is_cut_off.py::test_a_rematch_while_the_only_inbound_is_off_changes_nothing",
        ),
    ),
    "ended with time and traffic left": Complaint(
        "Many users are disabled for expiry or traffic while they have both left.",
        (
            f"{FLEETS}::test_nobody_is_switched_off_who_has_time_and_traffic_left",
            f"{QUOTA}::test_a_node_whose_whole_history_is_added_again_ends_nobodys_quota",
        ),
    ),
    "destroyed at its quota": Complaint(
        "A client that reaches its quota is destroyed on both panels seconds later.",
        (f"{TRAPS}::test_an_ended_key_is_switched_off_whether_the_panel_would_or_not",),
    ),
    "one subscription takes the other along": Complaint(
        "Deleting one subscription removes the account that the person's other one uses.",
        (f"{FLEETS}::test_of_two_subscriptions_of_one_person_the_other_one_stays",),
    ),
    "sold, and vanished": Complaint(
        "What was sold vanishes from the panel hours or days later.",
        (
            "integration/runtime/test_daemon.py::test_damage_by_hand_is_healed_at_the_next_look",
            "e2e/test_nobody_is_cut_off.py::test_keys_that_were_deleted_by_hand_are_not_called_verified",
            f"{FAULTS}::test_many_deletes_wait_for_an_approval_of_exactly_that_set",
        ),
    ),
}
DOUBLED = {
    "an email that must be unique": Complaint(
        "After an upgrade nothing can be added or attached to a second inbound: the email is taken.",
        (
            "integration/runtime/test_upgrades.py::test_an_upgrade_keeps_the_journal_and_creates_nothing_twice",
            "integration/runtime/test_keys.py::test_keys_on_several_inbounds_follow_the_family",
        ),
    ),
    "an update that doubles": Complaint(
        "An update changes the client and makes a second one; the next edit fails.",
        (
            "contract/panels/test_quirks.py::test_quirk_update_replaces",
            "unit/controller_core/test_plan.py::test_twins_are_both_deleted",
        ),
    ),
    "deleted and never to be made again": Complaint(
        "Emails are invented for one person's many inbounds; deleted and created again with one email fails "
        "for ever.",
        (
            f"{FLEETS}::test_an_email_that_was_used_before_is_no_hindrance",
            "integration/runtime/test_keys.py::test_keys_on_several_inbounds_follow_the_family",
        ),
    ),
    "a number for an identity": Complaint(
        "The panel returns a number and wants the UUID back; the update fails with an empty id.",
        (f"{LIFE}::test_what_was_changed_by_hand_is_healed_and_foreign_clients_stay",),
    ),
    "every sync adds a subscription": Complaint(
        "Each press of a sync button adds a subscription nobody chose; a stale id of the panel is never "
        "replaced.",
        (
            f"{ADOPTED}::test_adopting_changes_nothing_on_the_panel_and_a_second_look_finds_nothing_new",
            f"{ADOPTED}::test_what_would_be_adopted_foreign_and_doubled_is_told_with_reasons",
        ),
    ),
    "made by hand, and not to be touched": Complaint(
        "Users of a panel that were made by hand are to be left alone.",
        (
            f"{FLEETS}::test_a_panel_that_is_in_use_and_joins_loses_nothing",
            "unit/controller_core/test_guards.py::test_foreign_clients_are_in_no_plan",
        ),
    ),
    "renewed what is not there": Complaint(
        "The bot renews what does not exist any more and tells everybody that it worked; a new buyer is "
        "handed somebody's older config.",
        (
            f"{FLEETS}::test_what_ran_out_and_was_deleted_returns_on_every_inbound_of_every_node",
            "e2e/test_nobody_is_cut_off.py::test_keys_that_were_deleted_by_hand_are_not_called_verified",
            f"{LIFE}::test_a_rotated_key_has_nothing_in_common_with_the_old_one",
        ),
    ),
    "two writers, one lost": Complaint(
        "A change by somebody else is lost, or takes ours away: two writers race on one panel.",
        (f"{TRAPS}::test_a_client_that_another_writer_wrote_over_is_created_after_all",),
    ),
}
COUNTED = {
    "counters set back": Complaint(
        "A sync writes 0 over the local counters; traffic is reset again and again.",
        (
            f"{QUOTA}::test_a_reset_by_hand_is_a_new_base_and_no_credit",
            f"{QUOTA}::test_a_restart_of_the_controller_counts_nothing_twice",
        ),
    ),
    "phantom traffic": Complaint(
        "Traffic of new clients compounds; a new client begins with somebody's 50 GB.",
        (
            f"{QUOTA}::test_a_row_that_the_panel_kept_of_an_earlier_client_is_no_use",
            f"{QUOTA}::test_a_little_on_each_node_is_one_sum",
        ),
    ),
    "a reboot adds the whole history": Complaint(
        "One node's reboot adds all that it ever counted once more, and dozens of users are disabled.",
        (f"{QUOTA}::test_a_node_whose_whole_history_is_added_again_ends_nobodys_quota",),
    ),
    "usage stands at 0": Complaint(
        "With the larger database usage stands at 0, and nobody knows when a client was last seen.",
        (
            "integration/runtime/test_reads.py::test_what_is_used_counts_over_all_nodes_and_generations",
        ),
    ),
    "used up here, surfed on there": Complaint(
        "A quota is used up on one node, and the client surfs on through another.",
        (f"{QUOTA}::test_a_quota_used_up_on_one_node_is_not_surfed_on_through_another",),
    ),
    "used while cut off, and lost": Complaint(
        "Traffic that is used while a node is cut off is lost; nothing is recorded until a restart.",
        (
            f"{QUOTA}::test_traffic_used_while_a_node_was_cut_off_is_caught_up",
            f"{QUOTA}::test_the_counters_of_a_dead_node_are_kept",
        ),
    ),
    "how much on which node": Complaint(
        "A cap of traffic for each node is asked for. It is not offered: the quota is one over all nodes; "
        "what was used on each is kept and shown.",
        (f"{QUOTA}::test_a_little_on_each_node_is_one_sum",),
    ),
}
RESTORED = {
    "a restore that leaves everything down": Complaint(
        "A restore hangs, fails, or leaves panel and core down.",
        (
            f"{RESTORE}::test_a_damaged_backup_changes_nothing",
            f"{RESTORE}::test_a_failed_backup_leaves_nothing_behind",
            f"{OLD}::test_a_restore_that_fails_leaves_everything_as_it_was",
            f"{QUOTA}::test_a_panel_set_back_to_its_backup_counts_nothing_twice",
        ),
    ),
    "a dump for one kind of database": Complaint(
        "A dump of one kind of database cannot be restored into the other, and brings the old host's "
        "addresses along.",
        (
            f"{RESTORE}::test_a_backup_of_postgresql_is_restored_into_sqlite",
            f"{RESTORE}::test_every_row_comes_back_into_either_kind_of_database",
        ),
    ),
    "restored, and no node connects": Complaint(
        "After a restore on a new server no node connects.",
        (
            f"{BACKUP}::test_a_lost_database_comes_back_by_two_commands_and_nothing_is_written_before_the_second",
            f"{OLD}::test_after_a_restore_on_a_new_server_every_node_connects",
        ),
    ),
    "an old database takes over": Complaint(
        "The database that comes back is older than the panels: it deletes what was sold since, cuts off who "
        "renewed, and brings leaked keys back.",
        (
            f"{OLD}::test_a_restored_database_that_is_older_than_the_panels_deletes_nothing",
            f"{OLD}::test_a_key_rotated_after_the_backup_stops_its_node",
            "unit/controller_core/test_restored.py::test_accepted_it_creates_and_takes_nothing_away",
        ),
    ),
    "a panel set back brings the dead along": Complaint(
        "A panel that is set back to its own backup serves clients deleted since, and lacks others.",
        (
            f"{OLD}::test_a_panel_set_back_to_its_own_backup_is_swept_and_filled_again",
            f"{KEPT}::test_tombstones_outlive_the_oldest_backup_and_sweep_what_an_old_panel_brings_back",
        ),
    ),
    "no backup, and links rewritten by hand": Complaint(
        "There is no backup at all, and after a loss every customer's link changes.",
        (
            f"{MOVES}::test_a_wiped_panel_is_rebuilt_with_the_same_credentials_after_one_approval",
            f"{RESTORE}::test_every_row_comes_back_into_either_kind_of_database",
        ),
    ),
}
COMPLAINTS = {**MISSING, **UNDEAD, **WIPED, **DOUBLED, **COUNTED, **RESTORED}
