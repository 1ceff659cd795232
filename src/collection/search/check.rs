//! Which settings of a search there are, and which go together.

use super::{Search, diversity, paging};
use crate::model::error::{Error, Result};
use crate::model::{MAX_K, RankBy};

impl<Q> Search<Q> {
    /// Checks the settings, each for itself and beside the others.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |reason: String| Err(Error::InvalidQuery(reason));
        if !(1..=MAX_K).contains(&self.k) {
            return wrong(format!("k is {}, not between 1 and {MAX_K}", self.k));
        }
        if self.ef == Some(0) {
            return wrong("ef is 0; it is at least 1".to_owned());
        }
        if let Some(recall) = self.recall
            && !(recall > 0.0 && recall <= 1.0)
        {
            return wrong(format!("the recall {recall} is not above 0 and at most 1"));
        }
        if let Some(distance) = self.max_distance
            && !distance.is_finite()
        {
            return wrong(format!(
                "the largest distance {distance} is not a finite number"
            ));
        }
        paging::check(self.k, self.offset)?;
        self.check_highlights()?;
        if let Some(group_by) = &self.group_by {
            group_by.check(self.k, self.offset)?;
        }
        if let Some(diversity) = self.diversity {
            diversity::check(diversity, self.k)?;
        }
        let chosen = [
            ("a cursor", self.cursor.is_some()),
            ("an offset", self.offset > 0),
            ("groups", self.group_by.is_some()),
            ("diversity", self.diversity.is_some()),
        ];
        let mut chosen = chosen.iter().filter(|(_, is_chosen)| *is_chosen);
        if let (Some((first, _)), Some((second, _))) = (chosen.next(), chosen.next())
            && (*first, *second) != ("an offset", "groups")
        {
            return wrong(format!("a search has {first} or {second}, not both"));
        }
        if self.ranking != RankBy::Meaning {
            let by_meaning = [
                ("cursor", self.cursor.is_some()),
                ("diversity", self.diversity.is_some()),
            ];
            if let Some((what, _)) = by_meaning.iter().find(|(_, is_chosen)| *is_chosen) {
                return wrong(format!(
                    "a search by words has no {what} yet; an offset, groups and a largest distance it has"
                ));
            }
        }
        Ok(())
    }
}
