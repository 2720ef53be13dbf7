//! What the catalogue is known to hold although a rule speaks against it, each with the reason.
//!
//! Whoever adds a table, a function or a grant that a rule of [`super::catalogue`] objects to either changes it or
//! says here why it is right. What is on a list and no longer there is an error too.

/// A fact and why it is right.
pub(super) type Known = (&'static str, &'static str);

/// Tables that are no tenant's.
pub(super) const WITHOUT_ROW_SECURITY: &[Known] = &[
    ("nodes", "the fleet: placement and delegates need it in every request"),
    ("uploads", "blocks that garbage collection spares; names no org"),
    ("fleet", "what is true of the fleet as a whole; names no org"),
    ("leaders", "who leads the fleet"),
    ("placement_maps", "which nodes a partition belongs on"),
    ("changed_partitions", "what the leader has yet to look at"),
    ("signing_keys", "names of keys, never a key"),
    ("revoked_tokens", "ids of tokens that are good for nothing; every pinner needs all"),
    ("token_state", "a version"),
    ("_sqlx_migrations", "which migrations were applied"),
];

/// Policies other than the two that every table of orgs has: the owner's, and the org's on itself.
pub(super) const ACROSS_ORGS: &[Known] = &[
    ("contents.worker ALL to {anchorage_worker} using true check true", "a content is held once for all orgs"),
    ("placements.worker ALL to {anchorage_worker} using true check true", "the pinner's own work; names no org"),
    ("placements.metrics SELECT to {anchorage_metrics} using true check", "counted by status; names no org"),
    (
        "pins.batch INSERT to {anchorage_api} using check (org_id = ANY (( SELECT current_orgs() AS current_orgs)::uuid[]))",
        "several orgs' pins are written by one statement; see accept_pins",
    ),
    ("pin_counts.metrics SELECT to {anchorage_metrics} using true check", "counts alone"),
];

const WORK: &str = "a pinner's own work, on jobs that name no org";
const LEAD: &str = "leading the fleet, which names no org";
const INNER: &str = "called by other functions and triggers only";
const ADMIN: &str = "administration reaches across orgs; the API decides who may";
const KEYS: &str = "keys and the denylist are the deployment's";
const GUARDED: &str = "does nothing but for the org of the transaction";

/// Functions that run with the owner's rights, with who may call each.
pub(super) const DEFINERS: &[Known] = &[
    ("admin_advance_keys for anchorage_api", KEYS),
    ("admin_create_org for anchorage_api", ADMIN),
    ("admin_prune_denylist for anchorage_api", KEYS),
    ("admin_record_token for anchorage_api", ADMIN),
    ("admin_revoke_token for anchorage_api", ADMIN),
    ("admin_rotate_key for anchorage_api", KEYS),
    ("admin_set_limits for anchorage_api", ADMIN),
    ("admin_usage for anchorage_api", ADMIN),
    ("admit for anchorage_api", GUARDED),
    ("arrange_contents for anchorage_worker", LEAD),
    ("begin_gc for anchorage_worker", WORK),
    ("charge for nobody", INNER),
    ("claim for anchorage_worker", WORK),
    ("commit_map for anchorage_worker", LEAD),
    ("count_pins for nobody", INNER),
    ("due_retries for nobody", INNER),
    ("end_gc for anchorage_worker", WORK),
    ("end_overdue_pause for anchorage_worker", LEAD),
    ("expire_leases for anchorage_worker", WORK),
    ("expire_pins for anchorage_worker", WORK),
    ("fail_overdue for anchorage_worker", WORK),
    ("fail_pins for anchorage_worker", WORK),
    ("fence for anchorage_worker", LEAD),
    ("finish_pins for anchorage_worker", WORK),
    ("finish_unpins for anchorage_worker", WORK),
    ("keep_needed for anchorage_worker", WORK),
    ("fold_counts for anchorage_worker", "adds up what is counted; shows nothing of it"),
    ("forget_unpins for anchorage_worker", LEAD),
    ("forget_upload for anchorage_worker", WORK),
    ("hand_back for anchorage_worker", WORK),
    ("has_uploads for anchorage_worker", WORK),
    ("held_jobs for anchorage_worker", WORK),
    ("keep_until for anchorage_api", "about what the transaction itself has dropped"),
    ("lock_contents for anchorage_api", GUARDED),
    ("lock_jobs for nobody", INNER),
    ("look_at for anchorage_worker", LEAD),
    ("lose_pins for anchorage_worker", WORK),
    ("may_unpin for anchorage_worker", WORK),
    ("note_bytes for nobody", INNER),
    ("note_changed for anchorage_worker", LEAD),
    ("note_failed_copies for nobody", INNER),
    (
        "note_upload for anchorage_api",
        "spares a content from garbage collection; shows whether the node is to be emptied",
    ),
    ("overdue_uploads for anchorage_worker", WORK),
    ("pause_fleet for anchorage_worker", LEAD),
    ("pin_progress for anchorage_api", GUARDED),
    ("place_pins for anchorage_api", GUARDED),
    ("release_jobs for anchorage_worker", WORK),
    ("release_kept for anchorage_worker", WORK),
    ("report_progress for anchorage_worker", WORK),
    ("requeue_lost for anchorage_worker", LEAD),
    ("resume_fleet for anchorage_worker", LEAD),
    ("revoke_own_token for anchorage_api", GUARDED),
    ("settle for nobody", INNER),
    ("surplus for anchorage_worker", WORK),
    ("take_office for anchorage_worker", LEAD),
    ("unpin_jobs for anchorage_api", GUARDED),
    ("usage_of for anchorage_api", GUARDED),
    ("waiting_uploads for anchorage_worker", WORK),
];

/// Functions with the owner's rights that are meant to reach another org's rows when the API calls them.
pub(super) const REACHES_ACROSS: &[Known] = &[
    ("admin_advance_keys", KEYS),
    ("admin_create_org", ADMIN),
    ("admin_prune_denylist", KEYS),
    ("admin_record_token", ADMIN),
    ("admin_revoke_token", ADMIN),
    ("admin_rotate_key", KEYS),
    ("admin_set_limits", ADMIN),
    ("admin_usage", ADMIN),
];

const UNGUESSABLE: &str = "an id that nobody can guess";
const CLOSED: &str = "in a table that no tenant can reach";

/// Unique keys that do not begin with the org.
pub(super) const KEYS_WITHOUT_ORG: &[Known] = &[
    ("contents_pkey", CLOSED),
    ("orgs_name_key", "names of orgs are given by administrators"),
    ("orgs_pkey", "the org itself"),
    ("pins_pkey", UNGUESSABLE),
    ("placements_pkey", CLOSED),
    ("tokens_pkey", UNGUESSABLE),
];

/// Foreign keys without the org.
pub(super) const REFERENCES_WITHOUT_ORG: &[Known] = &[
    ("fleet_gc_node_fkey", "one row about the fleet"),
    ("leaders_node_id_fkey", "who leads the fleet"),
    ("placements_content_fkey", CLOSED),
    ("placements_node_id_fkey", CLOSED),
    ("revoked_tokens_id_fkey", "an id that nobody can guess, of a token of any org or of none"),
    ("tokens_kid_fkey", "keys are the deployment's"),
    ("uploads_node_id_fkey", "blocks that garbage collection spares; names no org"),
];

/// What a service role may do with a table, beyond calling functions.
pub(super) const GRANTS: &[Known] = &[
    ("anchorage_api SELECT on _sqlx_migrations", "it refuses to serve with an older schema"),
    ("anchorage_api DELETE on members", "its own members"),
    ("anchorage_api INSERT on members", "its own members"),
    ("anchorage_api SELECT on members", "its own members"),
    ("anchorage_api UPDATE on members.role", "its own members"),
    ("anchorage_api SELECT on count_changes", "its own counts"),
    ("anchorage_api SELECT on org_usage", "its own usage"),
    ("anchorage_api SELECT on nodes", "placement and delegates"),
    ("anchorage_api SELECT on orgs", "its own org"),
    ("anchorage_api SELECT on pin_counts", "its own counts"),
    ("anchorage_api DELETE on pins", "its own pins"),
    ("anchorage_api INSERT on pins", "its own pins"),
    ("anchorage_api SELECT on pins", "its own pins"),
    ("anchorage_api SELECT on signing_keys", "tokens are verified"),
    ("anchorage_api SELECT on revoked_tokens", "tokens are verified"),
    ("anchorage_api SELECT on token_state", "tokens are verified"),
    ("anchorage_api SELECT on tokens", "its own tokens"),
    ("anchorage_metrics SELECT on nodes", "counts"),
    ("anchorage_metrics SELECT on pin_counts", "counts"),
    ("anchorage_metrics SELECT on placements", "counts"),
    ("anchorage_worker INSERT on nodes", "a pinner registers itself"),
    ("anchorage_worker SELECT on nodes", "the fleet"),
    ("anchorage_worker UPDATE on nodes", "its sign of life, and what it was asked for"),
    ("anchorage_api SELECT on fleet", "placement"),
    ("anchorage_metrics SELECT on fleet", "counts"),
    ("anchorage_worker SELECT on fleet", "the fleet"),
    ("anchorage_worker SELECT on leaders", "the fleet"),
    ("anchorage_worker SELECT on placement_maps", "the fleet"),
    ("anchorage_worker SELECT on changed_partitions", "the fleet"),
    ("anchorage_worker SELECT on contents", "its own work"),
    ("anchorage_worker SELECT on placements", "its own work"),
];
