//! What a service holds, as it tells it.

use std::collections::{BTreeMap, BTreeSet};

use crate::serving::Client;

/// What the service holds.
#[derive(Default)]
pub(crate) struct Found {
    /// The items of each batch of each lane, with their revisions.
    pub(crate) items: BTreeMap<(usize, u64), BTreeMap<usize, u64>>,
    pub(crate) judged: BTreeMap<String, usize>,
    /// Parent of each version.
    pub(crate) versions: BTreeMap<u64, u64>,
    pub(crate) active: u64,
}

impl Found {
    pub(crate) fn read(client: Client<'_>) -> Self {
        let mut found = Self::default();
        let number = |text: Option<&str>| text.expect("a part").parse::<u64>().expect("a number");
        let path = "/v1/collections/main/items?limit=10000&vector=false";
        for item in client.get(path)["items"].as_array().expect("items") {
            let id = item["id"].as_str().expect("an id");
            let mut parts = id.strip_prefix('w').expect(id).split('-');
            let lane = number(parts.next()) as usize;
            let batch = number(parts.next());
            let at = number(parts.next()) as usize;
            let revision = item["meta"]["revision"].as_u64().expect("a revision");
            let items = found.items.entry((lane, batch)).or_default();
            items.insert(at, revision);
        }
        let mut after: Option<u64> = None;
        loop {
            let after_last = after.map_or_else(String::new, |after| format!("&after={after}"));
            let path = format!("/v1/collections/main/judgements?limit=10000{after_last}");
            let page = client.get(&path);
            for judgement in page["judgements"].as_array().expect("judgements") {
                let user = judgement["user"].as_str().expect("a user").to_owned();
                *found.judged.entry(user).or_default() += 1;
            }
            match page["next"].as_u64() {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let versions = client.get("/v1/collections/main/metrics");
        for version in versions["metrics"].as_array().expect("versions") {
            let number = version["version"].as_u64().expect("a number");
            found
                .versions
                .insert(number, version["parent"].as_u64().unwrap_or_default());
            if version["active"] == true {
                found.active = number;
            }
        }
        found
    }

    /// Size and revision of a whole batch; `None` where nothing of it is there. A batch of two
    /// revisions or with gaps has the size 0.
    pub(crate) fn batch(&self, lane: usize, batch: u64) -> Option<(usize, u64)> {
        let items = self.items.get(&(lane, batch))?;
        let revisions: BTreeSet<u64> = items.values().copied().collect();
        let is_whole = items.keys().copied().eq(0..items.len()) && revisions.len() == 1;
        Some((
            if is_whole { items.len() } else { 0 },
            *revisions.first().expect("an item"),
        ))
    }

    pub(crate) fn of_lane(&self, lane: usize) -> (BTreeSet<u64>, BTreeMap<String, usize>) {
        let batches = self.items.keys().filter(|(of, _)| *of == lane);
        let prefix = format!("u{lane}-");
        let judged = self
            .judged
            .iter()
            .filter(|(user, _)| user.starts_with(&prefix));
        (
            batches.map(|(_, batch)| *batch).collect(),
            judged.map(|(user, count)| (user.clone(), *count)).collect(),
        )
    }
}
