//! What is done from time to time: hooks about new files, rotation, compaction.
//!
//! Only namespaces that were written to since are looked at; at rest there is nothing due and no timer runs.
//! Compaction takes small steps with pauses between them, so that clients hardly notice.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use tfgrid_zdb::NamespaceId;

use crate::log::{self, Field, Level};
use crate::shared::Shared;

/// Bytes read and written by one step of compaction.
const STEP_BYTES: u64 = 2 * 1024 * 1024;
/// The pause after a step: with the step's size, the share of the disk that compaction may take.
const STEP_PAUSE: Duration = Duration::from_millis(50);
/// How long after a write a namespace is looked at, so that a busy one is not looked at in every turn.
const LOOK_AFTER: Duration = Duration::from_millis(100);
/// How long after a write a namespace is looked at for something to compact.
const COMPACT_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct Chore {
    /// Written to since it was last looked at.
    fresh: bool,
    /// The data file that hooks know of.
    file: Option<u32>,
    rotate_at: Option<Instant>,
    compact_at: Option<Instant>,
}

/// What is to be done with each namespace.
#[derive(Debug, Default)]
pub struct Chores {
    all: HashMap<NamespaceId, Chore>,
    next: Option<Instant>,
}

impl Chores {
    /// Note a write.
    pub fn wrote(&mut self, namespace: NamespaceId, now: Instant) {
        self.all.entry(namespace).or_default().fresh = true;
        let soon = now + LOOK_AFTER;
        self.next = Some(self.next.map_or(soon, |next| next.min(soon)));
    }

    /// Note which data file a namespace is at, before it is written to.
    pub fn know(&mut self, namespace: NamespaceId, file: u32) {
        self.all.entry(namespace).or_default().file = Some(file);
    }

    /// When the next thing is due.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.next
    }
}

/// Do what is due.
pub fn run(shared: &mut Shared) {
    if !shared.chores.next.is_some_and(|at| at <= shared.now) {
        return;
    }
    let mut all = std::mem::take(&mut shared.chores.all);
    all.retain(|id, _| shared.engine.namespace(*id).is_ok());
    for (id, chore) in &mut all {
        look(shared, *id, chore);
    }
    let due = all
        .values()
        .flat_map(|chore| [chore.rotate_at, chore.compact_at])
        .flatten();
    shared.chores.next = due.min();
    shared.chores.all = all;
}

fn look(shared: &mut Shared, id: NamespaceId, chore: &mut Chore) {
    if std::mem::take(&mut chore.fresh) {
        if let Some(rotate) = shared.options.rotate {
            chore.rotate_at.get_or_insert(shared.now + rotate);
        }
        let space = shared.engine.namespace(id);
        let compactable = space.is_ok_and(|space| space.is_compactable());
        if compactable {
            chore.compact_at.get_or_insert(shared.now + COMPACT_AFTER);
        }
        tell_jump(shared, id, chore);
    }
    if chore.rotate_at.is_some_and(|at| at <= shared.now) {
        chore.rotate_at = None;
        rotate(shared, id);
        tell_jump(shared, id, chore);
    }
    if chore.compact_at.is_some_and(|at| at <= shared.now) {
        chore.compact_at = compact(shared, id).then(|| shared.now + STEP_PAUSE);
    }
}

fn rotate(shared: &mut Shared, id: NamespaceId) {
    let jumped = shared
        .engine
        .namespace_mut(id)
        .and_then(|space| space.jump());
    if let Err(error) = jumped {
        tell(shared, id, "a file was not rotated", &error.to_string());
    }
}

/// One step; whether there is more to do.
fn compact(shared: &mut Shared, id: NamespaceId) -> bool {
    match shared.engine.compact_step(id, STEP_BYTES) {
        Ok(more) => more,
        Err(error) => {
            tell(shared, id, "compaction stopped", &error.to_string());
            false
        }
    }
}

fn tell(shared: &Shared, id: NamespaceId, event: &str, reason: &str) {
    let name = shared.name(id);
    let fields = [
        ("namespace", Field::Text(&name)),
        ("reason", Field::Text(reason)),
    ];
    log::write(Level::Warning, event, &fields);
}

/// Tell hooks when the namespace went on to another file.
fn tell_jump(shared: &mut Shared, id: NamespaceId, chore: &mut Chore) {
    if shared.options.hook.is_none() {
        return;
    }
    let Ok(space) = shared.engine.namespace(id) else {
        return;
    };
    let (new, name) = (space.stats().data_file, space.name().to_owned());
    let old = chore.file.replace(new);
    let Some(old) = old.filter(|old| *old != new) else {
        return;
    };
    let path = |root: &Path, letter: char, file: u32| {
        root.join(&name)
            .join(format!("{letter}{file}"))
            .display()
            .to_string()
    };
    let (data, index) = (shared.options.data.clone(), shared.options.index.clone());
    for file in old..new {
        let dirty = dirty_files(shared, id);
        let next = file + 1;
        let arguments = || vec![path(&index, 'i', file), path(&index, 'i', next), dirty];
        shared.hooks.tell("jump-index", arguments);
        shared.hooks.tell("jump-data", || {
            vec![path(&data, 'd', file), path(&data, 'd', next)]
        });
    }
}

/// The numbers of the index files written since they were last asked for, with blanks between.
fn dirty_files(shared: &mut Shared, id: NamespaceId) -> String {
    let Ok(space) = shared.engine.namespace_mut(id) else {
        return String::new();
    };
    let files: Vec<String> = space.dirty().iter().map(u32::to_string).collect();
    space.reset_dirty();
    files.join(" ")
}

/// Tell hooks that the files are as they are now, before the server ends.
pub fn closing(shared: &mut Shared) {
    for name in shared.engine.names() {
        let Some(id) = shared.engine.find(&name) else {
            continue;
        };
        let Ok(file) = shared
            .engine
            .namespace(id)
            .map(|space| space.stats().data_file)
        else {
            continue;
        };
        let dirty = dirty_files(shared, id);
        let index = shared.options.index.join(&name).join(format!("i{file}"));
        let data = shared.options.data.join(&name).join(format!("d{file}"));
        let arguments = vec![
            name,
            index.display().to_string(),
            data.display().to_string(),
            dirty,
        ];
        shared.hooks.tell("namespace-closing", || arguments);
    }
}
