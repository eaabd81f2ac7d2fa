//! The simulation can fail: each canary spoils one thing below or in the engine, and must be caught.
//!
//! Where something is spoilt and no seed says so, the oracle or the disk is what must be sharpened.

use tfgrid_zdb::canary::{choose, Canary};
use tfgrid_zdb::Omissions;

use crate::play_with;

/// Seeds that are tried before a canary counts as not caught.
const SEEDS: u64 = 4000;

/// The first seed that catches it.
fn caught(omissions: Omissions, canary: Option<Canary>) -> Option<u64> {
    choose(canary);
    let seed =
        (0..SEEDS).find(|&seed| std::panic::catch_unwind(|| play_with(seed, omissions)).is_err());
    choose(None);
    seed
}

fn omitted(omissions: Omissions) {
    let seed = caught(omissions, None);
    println!("{omissions:?}: caught by seed {seed:?}");
    assert!(seed.is_some(), "{omissions:?} was not caught");
}

fn sung(canary: Canary) {
    let seed = caught(Omissions::default(), Some(canary));
    println!("{canary:?}: caught by seed {seed:?}");
    assert!(seed.is_some(), "{canary:?} was not caught");
}

/// What the engine would do wrong with the disk, told as lies of the disk.
macro_rules! omissions {
    ($($name:ident: $field:ident $path:literal;)*) => {
        $(#[test]
        fn $name() {
            omitted(Omissions { $field: Some($path), ..Omissions::default() });
        })*
    };
}

omissions! {
    no_fsync_at_all: sync "";
    no_fsync_of_data_before_the_reply: sync "/d0";
    no_fsync_of_properties_before_their_rename: sync "/namespace.new";
    no_fsync_of_a_compacted_file_before_its_rename: sync "/d0.new";
    a_failed_fsync_is_acknowledged: sync_error "";
    no_sync_of_directories: folder "";
    no_sync_of_the_root: folder "one";
    a_short_write_counts_as_whole: short "";
    what_a_failed_write_left_is_not_cut: truncate "/d0";
}

/// What the engine would do wrong by itself.
macro_rules! canaries {
    ($($name:ident: $canary:ident;)*) => {
        $(#[test]
        fn $name() {
            sung(Canary::$canary);
        })*
    };
}

canaries! {
    nothing_is_verified: Unchecked;
    headers_are_not_verified: HeaderUnchecked;
    records_are_believed_at_any_place: PlaceUnchecked;
    payloads_are_not_verified: PayloadUnchecked;
    a_failed_commit_goes_on_being_shown: FailureShown;
    the_index_is_ahead_of_durable_data: IndexEarly;
    every_record_claims_durability: BarrierAlways;
    compaction_drops_current_versions: CurrentDropped;
    compaction_drops_tombstones_too_early: TombstoneDropped;
    ids_are_given_out_again: IdsReused;
    the_next_file_is_named_too_early: NamedAhead;
    a_removed_namespace_comes_back: RemovedRevived;
}
