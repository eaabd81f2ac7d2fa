"""Every limit has a name, a unit and one home: here.

Names end in the unit and `max` or `min`. Relations between limits are asserted below, on import.
The error that a limit causes names the limit.
"""

from __future__ import annotations

from typing import Final

# Documents
integer_max: Final = 2**53 - 1
document_depth_max: Final = 16
document_bytes_max: Final = 256 * 1024
header_bytes_max: Final = 4 * 1024
text_chars_max: Final = 4096
name_chars_max: Final = 63
tags_max: Final = 32
tag_chars_max: Final = 128

# Identities
identity_keys_max: Final = 8
identity_events_max: Final = 1024

# Ledger
submit_queue_entries_max: Final = 4096
commit_batch_entries_max: Final = 512
feed_page_entries_max: Final = 256
feed_wait_seconds_max: Final = 25
checkpoint_bytes_max: Final = 8 * 1024
checkpoint_age_seconds_max: Final = 60
head_refresh_seconds: Final = 10
entry_validity_seconds_max: Final = 24 * 3600
feed_page_bytes_max: Final = 8 * 1024**2
feed_waiters_max: Final = 1024
signed_entry_bytes_max: Final = header_bytes_max + 2 * 1024
submission_bytes_max: Final = signed_entry_bytes_max + 1 + document_bytes_max
follower_view_entries_min: Final = 32
follower_view_bytes_max: Final = 64 * 1024**2
bundle_entries_max: Final = 1024
bundle_bytes_max: Final = 16 * 1024**2
response_bytes_max: Final = 32 * 1024**2
mailbox_message_bytes_max: Final = 64 * 1024
mailbox_messages_max: Final = 65_536
mailbox_boxes_per_author_max: Final = 256
mailbox_bytes_max: Final = 256 * 1024**2
mailbox_page_messages_max: Final = 256
mailbox_clock_skew_seconds: Final = 300
mailbox_ttl_seconds_max: Final = 7 * 24 * 3600

# Contracts
workloads_max: Final = 64
nodes_per_contract_max: Final = 30
approvers_max: Final = 32
# All of them are in every proof of their contract.
agreement_versions_max: Final = 64
policy_weight_max: Final = 1000
parameters_max: Final = 64
recipe_bytes_max: Final = 64 * 1024
environment_entries_max: Final = 64
environment_bytes_max: Final = 32 * 1024
arguments_max: Final = 64
routes_max: Final = 16
contract_validity_seconds_max: Final = 366 * 24 * 3600
admission_deadline_seconds: Final = 60

# Nodes
node_memory_reserve_bytes_min: Final = 256 * 1024**2
heartbeat_seconds: Final = 5
heartbeat_silent_seconds: Final = 20
log_file_bytes_max: Final = 4 * 1024**2
log_files_max: Final = 2
log_tail_bytes_max: Final = 16 * 1024
step_backoff_seconds_max: Final = 60
uids_per_container: Final = 65_536
container_processes_max: Final = 4096
node_devices_max: Final = 64

# Zero-DB namespaces
zdb_keys_max: Final = 10_000_000_000
# Of its index, for each key: 13 bytes a slot (`rust/zdb/src/table.rs`), and a table that has just
# split is half empty. A million keys were measured at 29 bytes each.
zdb_key_memory_bytes: Final = 40
# What the process of each device keeps of what was read: a node keeps it beside its own reserve.
zdb_cache_bytes: Final = 32 * 1024**2

# Images
chunk_bytes_max: Final = 1024**2
chunk_stored_bytes_max: Final = chunk_bytes_max + 64 * 1024
chunk_batch_max: Final = 64
chunk_batch_bytes_max: Final = 4 * 1024**2
image_bytes_max: Final = 16 * 1024**3
image_entries_max: Final = 250_000
image_manifest_bytes_max: Final = document_bytes_max
image_metadata_bytes_max: Final = 64 * 1024**2
path_bytes_max: Final = 4096
path_component_bytes_max: Final = 255
path_depth_max: Final = 128
symlink_bytes_max: Final = 4096
xattr_bytes_max: Final = 64 * 1024
xattrs_max: Final = 64

# Network
mtu_wireguard_bytes: Final = 1420
networks_per_node_max: Final = 1000
subnet_prefix_bits: Final = 24

assert header_bytes_max < document_bytes_max
assert commit_batch_entries_max <= submit_queue_entries_max
assert head_refresh_seconds < checkpoint_age_seconds_max
assert heartbeat_seconds * 2 < heartbeat_silent_seconds
assert log_tail_bytes_max < mailbox_message_bytes_max < document_bytes_max
assert nodes_per_contract_max + 2 <= tags_max
assert chunk_bytes_max < chunk_stored_bytes_max
assert feed_page_bytes_max < bundle_bytes_max < response_bytes_max
assert document_bytes_max * 4 // 3 < feed_page_bytes_max
