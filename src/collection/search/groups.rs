//! Groups: at most so many hits of each value of a field.

use std::collections::HashMap;

use roaring::RoaringBitmap;

use super::{Ranked, Search};
use crate::filter::Field;
use crate::items::{Candidate, Grouping};
use crate::model::error::{Error, Result};
use crate::model::{GroupCount, Hits, MAX_K};

/// By how much a list is made longer where it holds too few groups.
const GROWTH: usize = 2;

/// The field to group by, and how many hits a group has.
#[derive(Debug, Clone)]
pub(super) struct GroupBy {
    pub(super) field: Field,
    pub(super) per_group: usize,
}

/// Which groups are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    groups: usize,
    /// Number of groups that are left out before those.
    offset: usize,
    per_group: usize,
}

impl<Q> Search<Q> {
    /// Gives at most `per_group` hits of each value of a metadata field, such as of the chunks of
    /// one document: the group with the best hit first, the hits of each group together, the best
    /// first. [`k`](Self::k) is then the number of groups, and [`offset`](Self::offset) counts
    /// groups; `(k + offset) * per_group` is at most 10,000.
    ///
    /// Each hit carries the [value](crate::Hit::group) of its group, and [`Hits::groups`] tells how
    /// many items each group has. An item without the field, or with `null`, a list or an object
    /// there, stands alone, as a group of one. The field is a name as in a [`Filter`]: a dot is part
    /// of a key or leads into an object. The first search by a field reads the metadata of all
    /// items.
    ///
    /// [`Filter`]: crate::Filter
    pub fn group_by(mut self, field: impl Into<String>, per_group: usize) -> Self {
        self.group_by = Some(GroupBy {
            field: Field::Name(field.into()),
            per_group,
        });
        self
    }
}

impl GroupBy {
    /// Checks the settings.
    pub(super) fn check(&self, k: usize, offset: usize) -> Result<()> {
        self.field.check()?;
        if self.per_group == 0 {
            return Err(Error::InvalidQuery(
                "a group has 0 hits; it has at least 1".to_owned(),
            ));
        }
        let hits = k.saturating_add(offset).saturating_mul(self.per_group);
        if hits > MAX_K {
            return Err(Error::InvalidQuery(format!(
                "k is {k}, the offset {offset} and a group has {} hits: (k + offset) times that is at most {MAX_K}",
                self.per_group
            )));
        }
        Ok(())
    }

    pub(super) fn wanted(&self, k: usize, offset: usize) -> Wanted {
        Wanted {
            groups: k,
            offset,
            per_group: self.per_group,
        }
    }
}

/// A group that was found, with its best candidates.
struct Found<'a> {
    /// Its number; `None` for an item that stands alone.
    number: Option<u32>,
    best: Vec<Candidate<'a>>,
}

/// The best hits of the best groups.
pub(super) fn answer(ranked: &mut Ranked<'_>, grouping: &Grouping, wanted: Wanted) -> Result<Hits> {
    ranked.take_snapshot(&grouping.snapshot);
    let mut found = best_groups(ranked, grouping, wanted)?;
    fill(ranked, grouping, wanted, &mut found)?;
    let left_out = found.drain(..wanted.offset.min(found.len()));
    let before: usize = left_out.map(|found| found.best.len()).sum();
    let candidates: Vec<Candidate<'_>> =
        found.iter().flat_map(|found| found.best.clone()).collect();
    let mut hits = ranked.hits(&candidates, before + 1)?;
    let mut groups = Vec::with_capacity(found.len());
    let mut of_groups = hits.hits.iter_mut();
    for found in &found {
        let value = found
            .number
            .and_then(|number| grouping.groups.value(number));
        for hit in of_groups.by_ref().take(found.best.len()) {
            hit.group = value.cloned();
        }
        let members = found
            .number
            .and_then(|number| grouping.groups.members(number));
        let count = members.map_or(1, |members| members.intersection_len(&grouping.eligible));
        groups.push(GroupCount {
            value: value.cloned(),
            count,
        });
    }
    hits.groups = Some(groups);
    Ok(hits)
}

/// The groups in the order of their best candidates, as many as are wanted after those that are left
/// out. Each has some of its best candidates.
fn best_groups<'a>(
    ranked: &mut Ranked<'a>,
    grouping: &Grouping,
    wanted: Wanted,
) -> Result<Vec<Found<'a>>> {
    let groups = wanted.offset + wanted.groups;
    let mut found: Vec<Found<'a>> = Vec::with_capacity(groups);
    let mut at: HashMap<u32, usize> = HashMap::new();
    // The items of no group found so far; all in the first round.
    let mut others: Option<RoaringBitmap> = None;
    let mut n = groups.saturating_mul(GROWTH);
    loop {
        let listed = ranked.best(n, others.as_ref())?;
        let before = found.len();
        for candidate in &listed.candidates {
            let number = grouping.groups.of(candidate.slot);
            let known = number.and_then(|number| at.get(&number).copied());
            if let Some(known) = known {
                let best = &mut found[known].best;
                if best.len() < wanted.per_group {
                    best.push(*candidate);
                }
            } else if found.len() < groups {
                if let Some(number) = number {
                    at.insert(number, found.len());
                }
                found.push(Found {
                    number,
                    best: vec![*candidate],
                });
            }
        }
        if found.len() >= groups || listed.is_whole {
            return Ok(found);
        }
        let others = others.get_or_insert_with(|| grouping.eligible.clone());
        for found in &found[before..] {
            match found
                .number
                .and_then(|number| grouping.groups.members(number))
            {
                Some(members) => *others -= members,
                None => {
                    for alone in &found.best {
                        others.remove(alone.slot);
                    }
                }
            }
        }
        if others.is_empty() {
            return Ok(found);
        }
        n = n.saturating_mul(GROWTH);
    }
}

/// Completes the candidates of groups.
fn fill<'a>(
    ranked: &mut Ranked<'a>,
    grouping: &Grouping,
    wanted: Wanted,
    found: &mut [Found<'a>],
) -> Result<()> {
    let mut unfilled: HashMap<u32, usize> = HashMap::new();
    let mut among = RoaringBitmap::new();
    for (at, group) in found.iter().enumerate() {
        if let Some(number) = group.number
            && let Some(members) = grouping.groups.members(number)
            && group.best.len() < wanted.per_group
            && members.len() > group.best.len() as u64
        {
            unfilled.insert(number, at);
            among |= members;
        }
    }
    among &= &grouping.eligible;
    for group in found.iter() {
        for candidate in &group.best {
            among.remove(candidate.slot);
        }
    }
    let mut n = unfilled
        .len()
        .saturating_mul(wanted.per_group)
        .saturating_mul(GROWTH);
    while !unfilled.is_empty() && !among.is_empty() {
        let listed = ranked.best(n, Some(&among))?;
        for candidate in &listed.candidates {
            among.remove(candidate.slot);
            let Some(number) = grouping.groups.of(candidate.slot) else {
                continue;
            };
            let Some(&at) = unfilled.get(&number) else {
                continue;
            };
            let best = &mut found[at].best;
            best.push(*candidate);
            if best.len() >= wanted.per_group {
                unfilled.remove(&number);
                if let Some(members) = grouping.groups.members(number) {
                    among -= members;
                }
            }
        }
        if listed.is_whole {
            break;
        }
        n = n.saturating_mul(GROWTH);
    }
    Ok(())
}
