//! Files that the tools of TREC read: runs of searches, and qrels.

use std::io::{self, Write};

/// Name of this program in runs.
const TAG: &str = "affinis";

/// A run, `topic Q0 item rank score tag` a line.
///
/// `trec_eval` orders by the score, as a 32-bit float, and equal scores by falling id. So each
/// score is written below the one before it, if by the least step, and the order stays that of the
/// answer.
pub(crate) struct Run<'a> {
    out: &'a mut dyn Write,
}

impl<'a> Run<'a> {
    pub(crate) fn new(out: &'a mut dyn Write) -> Self {
        Self { out }
    }

    /// Writes the answer to a topic: ids with their scores, best first.
    pub(crate) fn answer<'h>(
        &mut self,
        topic: &str,
        hits: impl Iterator<Item = (&'h str, f32)>,
    ) -> io::Result<()> {
        let topic = field(topic)?;
        let mut before: Option<f32> = None;
        for (rank, (id, mut score)) in hits.enumerate() {
            if let Some(before) = before.filter(|before| score >= *before) {
                score = before.next_down();
            }
            before = Some(score);
            let id = field(id)?;
            writeln!(self.out, "{topic} Q0 {id} {} {score:?} {TAG}", rank + 1)?;
        }
        Ok(())
    }
}

/// A field of a line, which white space would end.
pub(crate) fn field(text: &str) -> io::Result<&str> {
    if !text.is_empty() && !text.contains(char::is_whitespace) {
        return Ok(text);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{text:?} has white space, which ends a field of this format"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_fall_whatever_they_are() {
        let mut bytes = Vec::new();
        let hits = [("a", 0.0), ("b", 0.0), ("c", -1e-45), ("d", -2.5)];
        Run::new(&mut bytes).answer("7", hits.into_iter()).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let fields = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let scores: Vec<f32> = fields.clone().map(|f| f[4].parse().unwrap()).collect();
        assert!(scores.is_sorted_by(|a, b| a > b), "{scores:?}");
        assert_eq!(scores[3], -2.5);
        let ids: Vec<String> = fields
            .map(|f| [f[0], f[1], f[2], f[3], f[5]].join(" "))
            .collect();
        assert_eq!(ids[1], "7 Q0 b 2 affinis");
        let refused = Run::new(&mut Vec::new()).answer("7", [("a b", 1.0)].into_iter());
        assert!(refused.is_err());
    }
}
