//! Clients that write items and judgements, each in a lane of ids of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use affinis_testkit::Random;
use serde_json::{Value, json};

use crate::found::Found;
use crate::serving::Client;

/// The number of batches that a lane keeps before it deletes more than it adds.
const MOST_BATCHES: usize = 12;

/// What a lane asks of the service.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// Adds a batch of so many items, or replaces it, with a revision.
    Put(u64, usize, u64),
    /// Deletes a batch.
    Delete(u64),
    /// Gives so many judgements, under a name that nobody used before.
    Judge(String, usize),
}

/// What a lane was told is stored.
#[derive(Default)]
pub(crate) struct Lane {
    /// Size and revision of each batch.
    pub(crate) batches: BTreeMap<u64, (usize, u64)>,
    /// Number of judgements of each name.
    pub(crate) judged: BTreeMap<String, usize>,
    /// Numbers batches, revisions, names and keys.
    pub(crate) next: u64,
    pub(crate) under_way: Option<Op>,
}

pub(crate) fn id(lane: usize, batch: u64, at: usize) -> String {
    format!("w{lane}-{batch}-{at}")
}

/// The vector of an item, which no other has.
pub(crate) fn vector(lane: usize, batch: u64, at: usize) -> [f32; 4] {
    [lane as f32, batch as f32, at as f32, 1.0]
}

impl Lane {
    pub(crate) fn operation(&mut self, lane: usize, random: &mut Random) -> Op {
        self.next += 1;
        let known: Vec<u64> = self.batches.keys().copied().collect();
        let one = (!known.is_empty()).then(|| known[random.below(known.len().max(1))]);
        match (random.below(10), one) {
            (0..=1, Some(batch)) => Op::Put(batch, self.batches[&batch].0, self.next),
            (2..=3, Some(batch)) => Op::Delete(batch),
            (4..=7, Some(batch)) if known.len() >= MOST_BATCHES => Op::Delete(batch),
            (4..=5, Some(_)) => Op::Judge(format!("u{lane}-{}", self.next), 1 + random.below(6)),
            _ => Op::Put(self.next, 2 + random.below(40), self.next),
        }
    }

    pub(crate) fn done(&mut self, op: &Op) {
        match op {
            Op::Put(batch, size, revision) => {
                self.batches.insert(*batch, (*size, *revision));
            }
            Op::Delete(batch) => {
                self.batches.remove(batch);
            }
            Op::Judge(name, count) => {
                self.judged.insert(name.clone(), *count);
            }
        }
    }

    pub(crate) fn request(&self, lane: usize, op: &Op) -> (&'static str, Value) {
        match op {
            Op::Put(batch, size, revision) => {
                let items = (0..*size).map(|at| {
                    json!({"id": id(lane, *batch, at), "vector": vector(lane, *batch, at),
                        "meta": {"revision": revision}})
                });
                (
                    "POST /v1/collections/main/items",
                    json!({"items": items.collect::<Vec<_>>()}),
                )
            }
            Op::Delete(batch) => {
                let (size, _) = self.batches[batch];
                let ids: Vec<String> = (0..size).map(|at| id(lane, *batch, at)).collect();
                ("POST /v1/collections/main/delete", json!({"ids": ids}))
            }
            Op::Judge(name, count) => {
                let mut known = self.batches.iter().cycle();
                let judgements = (0..*count).map(|at| {
                    let (batch, (size, _)) = known.next().expect("a batch");
                    json!({"query_id": id(lane, *batch, 0), "item": id(lane, *batch, size - 1),
                        "relevant": at % 2 == 0, "user": name})
                });
                (
                    "POST /v1/collections/main/judgements",
                    json!({"judgements": judgements.collect::<Vec<_>>()}),
                )
            }
        }
    }

    /// Asks until the service is gone.
    pub(crate) fn work(
        &mut self,
        lane: usize,
        client: Client<'_>,
        random: &mut Random,
        acks: &AtomicU64,
    ) {
        loop {
            let op = self.operation(lane, random);
            let (call, body) = self.request(lane, &op);
            self.under_way = Some(op.clone());
            let key = format!("{lane}-{}", self.next);
            // One in four clients hangs up, and sends the same again.
            if random.below(4) == 0 {
                drop(client.send(call, Some(&key), &body));
            }
            let answer = loop {
                match client.ask(call, Some(&key), &body) {
                    None => return,
                    // The first one is still being answered.
                    Some(answer) if answer.status == 409 => {}
                    Some(answer) => break answer,
                }
            };
            assert_eq!(answer.status, 200, "{op:?}: {}", answer.body);
            self.done(&op);
            self.under_way = None;
            acks.fetch_add(1, Ordering::Relaxed);
            if random.below(4) == 0 {
                let Some(again) = client.ask(call, Some(&key), &body) else {
                    return;
                };
                assert!(again.replayed && again.body == answer.body, "{op:?}");
            }
        }
    }

    /// Checks what a kill left of the lane, and takes it over.
    pub(crate) fn check(&mut self, lane: usize, found: &Found, context: &str) {
        let under_way = self.under_way.take();
        let context = format!("{context}, lane {lane}, under way {under_way:?}");
        if let Some(op) = under_way {
            let is_done = match &op {
                Op::Put(batch, size, revision) => {
                    found.batch(lane, *batch) == Some((*size, *revision))
                }
                Op::Delete(batch) => found.batch(lane, *batch).is_none(),
                Op::Judge(name, count) => found.judged.get(name) == Some(count),
            };
            if is_done {
                self.done(&op);
            }
        }
        for (batch, state) in &self.batches {
            assert_eq!(
                found.batch(lane, *batch),
                Some(*state),
                "{context}: batch {batch}"
            );
        }
        let (batches, judged) = found.of_lane(lane);
        assert_eq!(
            batches,
            self.batches.keys().copied().collect(),
            "{context}: batches"
        );
        assert_eq!(judged, self.judged, "{context}: judgements");
    }
}
