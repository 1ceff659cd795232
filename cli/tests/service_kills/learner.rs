//! The client that learns, imports, promotes and rolls back.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use affinis_testkit::Random;
use serde_json::{Value, json};

use crate::found::Found;
use crate::serving::Client;

/// What the lane that learns asks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Learn {
    Refit,
    Import,
    Promote(u64),
    Rollback,
}

/// What that lane was told.
#[derive(Default)]
pub(crate) struct Learner {
    pub(crate) versions: BTreeSet<u64>,
    pub(crate) active: u64,
    pub(crate) next: u64,
    pub(crate) under_way: Option<Learn>,
}

impl Learner {
    /// Asks until the service is gone.
    pub(crate) fn work(&mut self, client: Client<'_>, random: &mut Random, acks: &AtomicU64) {
        loop {
            let versions: Vec<u64> = self.versions.iter().copied().collect();
            let op = match random.below(6) {
                0..=1 => Learn::Refit,
                2 => Learn::Import,
                3..=4 if !versions.is_empty() => {
                    Learn::Promote(versions[random.below(versions.len())])
                }
                _ => Learn::Rollback,
            };
            self.under_way = Some(op);
            if self.run(op, client, random).is_none() {
                return;
            }
            self.under_way = None;
            acks.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// `None` where the service is gone.
    pub(crate) fn run(&mut self, op: Learn, client: Client<'_>, random: &mut Random) -> Option<()> {
        const METRICS: &str = "POST /v1/collections/main/metrics";
        self.next += 1;
        let key = format!("learn-{}", self.next);
        match op {
            Learn::Import => {
                let matrix: Vec<Vec<f64>> = (0..4)
                    .map(|row| {
                        (0..4)
                            .map(|column| {
                                f64::from(u8::from(row == column)) * (1.0 + f64::from(row))
                            })
                            .collect()
                    })
                    .collect();
                let call = format!("{METRICS}/import");
                let answer = client.ask(&call, Some(&key), &json!({"matrix": matrix}))?;
                assert_eq!(answer.status, 201, "{}", answer.body);
                let version = answer.body["version"].as_u64().expect("a version");
                assert!(self.versions.insert(version), "{version} was given before");
            }
            Learn::Promote(version) => {
                let call = format!("{METRICS}/{version}/promote");
                let answer = client.ask(&call, Some(&key), &Value::Null)?;
                assert_eq!(answer.status, 200, "{}", answer.body);
                self.active = version;
            }
            Learn::Rollback => {
                let call = format!("{METRICS}/rollback");
                let answer = client.ask(&call, Some(&key), &json!({}))?;
                match answer.status {
                    200 => self.active = answer.body["active"].as_u64().expect("a version"),
                    // There is nothing to go back to.
                    status => assert_eq!((status, self.active), (409, 0), "{}", answer.body),
                }
            }
            Learn::Refit => {
                // With other settings each time, since what was learned already is not stored again.
                let body = json!({"force": true, "seed": random.next() >> 12,
                    "half_life_days": 30 + random.below(10_000)});
                let begun = client.ask("POST /v1/collections/main/refit", Some(&key), &body)?;
                assert_eq!(begun.status, 202, "{}", begun.body);
                let job = begun.body["job"].as_str().expect("a job").to_owned();
                loop {
                    let path = format!("GET /v1/jobs/{job}");
                    let job = client.ask(&path, None, &Value::Null)?.body;
                    match job["state"].as_str() {
                        Some("running") => std::thread::sleep(Duration::from_millis(5)),
                        Some("done") => {
                            if let Some(version) = job["result"]["version"].as_u64() {
                                assert!(self.versions.insert(version), "{job}");
                                if job["result"]["promoted"] == true {
                                    self.active = version;
                                }
                            }
                            break;
                        }
                        // Too few judgements of items that are there.
                        _ => {
                            let kind = job["error"]["type"].as_str().unwrap_or_default();
                            assert!(
                                ["urn:affinis:invalid-input", "urn:affinis:conflict"]
                                    .contains(&kind),
                                "{job}"
                            );
                            break;
                        }
                    }
                }
            }
        }
        Some(())
    }

    pub(crate) fn check(&mut self, found: &Found, context: &str) {
        let under_way = self.under_way.take();
        let context = format!("{context}, under way {under_way:?}");
        let held: BTreeSet<u64> = found.versions.keys().copied().filter(|v| *v > 0).collect();
        let lost: Vec<_> = self.versions.difference(&held).collect();
        assert!(lost.is_empty(), "{context}: versions {lost:?} are lost");
        let new: Vec<u64> = held.difference(&self.versions).copied().collect();
        let may_be_new = matches!(under_way, Some(Learn::Refit | Learn::Import));
        assert!(
            new.len() <= usize::from(may_be_new),
            "{context}: versions {new:?} came"
        );
        let mut allowed = vec![self.active];
        match under_way {
            Some(Learn::Promote(version)) => allowed.push(version),
            Some(Learn::Rollback) => allowed.extend(found.versions.get(&self.active)),
            Some(Learn::Refit) => allowed.extend(&new),
            _ => {}
        }
        assert!(
            allowed.contains(&found.active),
            "{context}: {} is active, not one of {allowed:?}",
            found.active
        );
        self.versions = held;
        self.active = found.active;
    }
}
