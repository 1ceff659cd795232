//! The model: what the store should hold, and which operation comes next. Both follow from the seed
//! and the model alone, so that the child and the parent agree without exchanging them.

use std::collections::BTreeMap;

use affinis::Item;
use serde_json::json;

use crate::Random;
use crate::stores::chunk;

pub(super) const DIM: usize = 6;
pub(super) const IDS: usize = 60;

/// A judgement: the user, the query's id, the item's id, and whether the item was relevant.
pub(super) type Judged = (String, String, String, bool);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) parent: u32,
    pub(super) withdrawn: bool,
}

/// The contents of one collection.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Content {
    pub(super) items: BTreeMap<String, Item>,
    pub(super) judgements: BTreeMap<u64, Judged>,
    pub(super) next_judgement: u64,
    pub(super) versions: BTreeMap<u32, Version>,
    pub(super) next_version: u32,
    pub(super) active: u32,
}

/// The contents of the store: the collection that the operations change, copies of it as they were
/// imported, and the last backup.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    pub(super) main: Content,
    pub(super) copies: BTreeMap<String, Content>,
    pub(super) backup: Option<(String, Box<Model>)>,
}

/// An operation on the store.
#[derive(Debug, Clone)]
pub enum Op {
    /// Adds or replaces these items.
    Add(Vec<Item>),
    /// Deletes the items with these ids.
    Delete(Vec<String>),
    /// Records these judgements.
    Judge(Vec<Judged>),
    /// Refits with this seed and promotes the result.
    Refit(u64),
    /// Promotes this version.
    Promote(u32),
    /// Rolls back to the last promoted version.
    Rollback,
    /// Forgets this user.
    Forget(String),
    /// Builds the graph of all items anew.
    Optimize,
    /// Reads all items and the history.
    Export,
    /// Copies the collection under this name.
    Import(String),
    /// Drops the copy of this name.
    Drop(String),
    /// Writes a backup to the directory of this name.
    Backup(String),
    /// Restores the backup in the directory of this name.
    Restore(String),
    /// Compacts the closed store.
    Compact,
    /// Closes the store and opens it again.
    Reopen,
}

impl Content {
    /// Removes the items of ids, and the chunks of documents of these ids.
    fn remove(&mut self, ids: &[String]) {
        let is_named = |id: &str| ids.iter().any(|other| other == id);
        self.items.retain(|id, item| {
            let document = item.meta["document"].as_str();
            !(is_named(id) || document.is_some_and(is_named))
        });
    }

    fn live(&self, random: &mut Random) -> Option<String> {
        let skip = if self.items.is_empty() {
            return None;
        } else {
            random.below(self.items.len())
        };
        self.items.keys().nth(skip).cloned()
    }

    /// The version that a rollback activates; `None` from version 0.
    pub(super) fn rollback(&self) -> Option<u32> {
        let mut to = self.versions.get(&self.active)?.parent;
        while let Some(version) = self.versions.get(&to).filter(|version| version.withdrawn) {
            to = version.parent;
        }
        Some(to)
    }
}

impl Model {
    /// Whether what was seen while an operation was under way, or after it, is what this model holds,
    /// whatever backups there are.
    pub fn is_seen_as(&self, seen: &Self, under_way: Option<&Op>) -> bool {
        let main = &self.main;
        let same_main = match under_way {
            // The judgements go in one commit, and what was learned from them in others.
            Some(Op::Forget(_)) => {
                (&main.items, &main.judgements) == (&seen.main.items, &seen.main.judgements)
            }
            _ => *main == seen.main,
        };
        same_main && self.copies == seen.copies
    }

    /// The numbers of items, judgements and versions of the collection that the operations change.
    pub fn counts(&self) -> (usize, usize, usize) {
        let main = &self.main;
        (main.items.len(), main.judgements.len(), main.versions.len())
    }

    /// Operation `number` of the run with a seed, given these contents.
    pub fn operation(&self, seed: u64, number: u64) -> Op {
        let mut random =
            Random(seed.wrapping_mul(0x1_0000_0001) ^ number.wrapping_mul(0x9e37_79b9));
        let main = &self.main;
        match random.below(100) {
            0..35 => {
                let count = [1, 1, 3, 25][random.below(4)];
                let mut items: BTreeMap<String, Item> = BTreeMap::new();
                for _ in 0..count {
                    let id = format!("i{}", random.below(IDS));
                    if random.below(8) == 0 {
                        for number in 1..=1 + random.below(3) {
                            let chunk = chunk(&id, number, random.vector(DIM));
                            items.insert(chunk.id.clone(), chunk);
                        }
                        continue;
                    }
                    let mut item = Item::vector(id.clone(), random.vector(DIM));
                    if random.below(3) == 0 {
                        item = item.with_meta(json!({"n": number, "tags": [random.below(5)]}));
                    }
                    if random.below(6) == 0 {
                        item =
                            item.with_text(format!("{number} ").repeat(1 + random.below(40_000)));
                    }
                    items.insert(id, item);
                }
                Op::Add(items.into_values().collect())
            }
            35..45 => {
                let mut ids: Vec<String> = (0..=random.below(3))
                    .filter_map(|_| main.live(&mut random))
                    // Of a chunk all chunks of its document go.
                    .map(|id| id.split('#').next().unwrap_or_default().to_owned())
                    .collect();
                ids.sort_unstable();
                ids.dedup();
                Op::Delete(ids)
            }
            45..60 => {
                let mut judged = Vec::new();
                for _ in 0..12 {
                    let user = format!("u{}", random.below(3));
                    if let (Some(a), Some(b)) = (main.live(&mut random), main.live(&mut random))
                        && a != b
                    {
                        // Items are similar if their first numbers have the same sign, so that
                        // there is something to learn.
                        let sign =
                            |id: &str| main.items[id].vector.as_ref().is_some_and(|v| v[0] > 0.0);
                        let relevant = sign(&a) == sign(&b);
                        judged.push((user, a, b, relevant));
                    }
                }
                Op::Judge(judged)
            }
            60..68 => Op::Refit(number),
            68..71 => {
                let usable: Vec<u32> = main
                    .versions
                    .iter()
                    .filter(|(_, v)| !v.withdrawn)
                    .map(|(number, _)| *number)
                    .chain([0])
                    .collect();
                Op::Promote(usable[random.below(usable.len())])
            }
            71..75 => Op::Rollback,
            75..78 => Op::Forget(format!("u{}", random.below(3))),
            78..82 => Op::Optimize,
            82..84 => Op::Export,
            84..88 => Op::Import(format!("copy{}", random.below(2))),
            88..90 => Op::Drop(format!("copy{}", random.below(2))),
            90..93 => Op::Backup(format!("backup-{number}")),
            93..95 => match &self.backup {
                Some((name, _)) => Op::Restore(name.clone()),
                None => Op::Reopen,
            },
            95..98 => Op::Compact,
            _ => Op::Reopen,
        }
    }

    /// The contents after an operation, as far as they follow without its outcome.
    pub(super) fn after(&self, op: &Op) -> Self {
        let mut model = self.clone();
        let main = &mut model.main;
        match op {
            Op::Add(items) => {
                let ids: Vec<String> = items.iter().map(|item| item.id.clone()).collect();
                main.remove(&ids);
                let added = items.iter().map(|item| (item.id.clone(), item.clone()));
                main.items.extend(added);
            }
            Op::Delete(ids) => main.remove(ids),
            Op::Judge(judged) => {
                for judged in judged {
                    main.judgements.insert(main.next_judgement, judged.clone());
                    main.next_judgement += 1;
                }
            }
            Op::Promote(version) => main.active = *version,
            Op::Rollback => main.active = main.rollback().unwrap_or(main.active),
            Op::Forget(user) => main.judgements.retain(|_, judged| judged.0 != *user),
            Op::Import(name) if !model.copies.contains_key(name) => {
                model.copies.insert(name.clone(), self.main.clone());
            }
            Op::Drop(name) => drop(model.copies.remove(name)),
            Op::Backup(name) => {
                model.backup = Some((
                    name.clone(),
                    Box::new(Model {
                        backup: None,
                        ..self.clone()
                    }),
                ));
            }
            Op::Restore(_) => {
                if let Some((_, backup)) = self.backup.clone() {
                    model = Model {
                        backup: self.backup.clone(),
                        ..*backup
                    };
                }
            }
            // The outcome of a refit depends on the learner.
            Op::Refit(_) | Op::Import(_) | Op::Optimize | Op::Export | Op::Compact | Op::Reopen => {
            }
        }
        model
    }

    /// Applies an acknowledged operation, with the words by which the child reported its outcome.
    pub fn done(&mut self, op: &Op, words: &[String]) {
        *self = self.after(op);
        let number = |at: usize| words[at].parse::<u32>().expect("a number");
        match op {
            Op::Refit(_) if words[0] == "version" => self.main.learned(number(1)),
            Op::Forget(_) => {
                let (active, refitted) = (number(0), number(1));
                for withdrawn in &words[2..words.len() - 1] {
                    let version = withdrawn.parse().expect("a version");
                    self.main
                        .versions
                        .get_mut(&version)
                        .expect("it was there")
                        .withdrawn = true;
                }
                if refitted > 0 {
                    self.main.active = 0;
                    self.main.learned(refitted);
                }
                self.main.active = active;
            }
            _ => {}
        }
    }
}

impl Content {
    /// Adds a version that was learned and promoted.
    pub(super) fn learned(&mut self, version: u32) {
        assert!(
            version >= self.next_version.max(1),
            "version {version} was given before"
        );
        self.versions.insert(
            version,
            Version {
                parent: self.active,
                withdrawn: false,
            },
        );
        (self.active, self.next_version) = (version, version + 1);
    }
}
