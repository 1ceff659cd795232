//! Batches of texts of similar length, so that little padding is computed.
//!
//! A batch has limits on its number of texts and on its number of token positions, padding
//! included. The second limit keeps the activations of a transformer in cache and its memory small
//! for texts of any length.

use std::borrow::Cow;

use ndarray::Array2;

use super::engine::{Feeds, Numbers};
use super::signature::Feed;
use super::tokens::Tokens;

/// The inputs of a model for one batch of `b` texts of up to `s` tokens; each is `b x s`.
#[derive(Debug)]
pub(super) struct Batch {
    /// Token ids.
    pub(super) ids: Array2<i64>,
    /// 1 for a token, 0 for padding.
    pub(super) mask: Array2<i64>,
    /// Segment ids, 0 for single texts.
    pub(super) types: Array2<i64>,
}

impl Feeds for Batch {
    fn of(&self, feed: Feed) -> Numbers<'_> {
        let tokens = match feed {
            Feed::Mask => Cow::Borrowed(&self.mask),
            Feed::Types => Cow::Borrowed(&self.types),
            Feed::Positions => {
                let place = |(_, place): (usize, usize)| place as i64;
                Cow::Owned(Array2::from_shape_fn(self.ids.dim(), place))
            }
            Feed::Ids => Cow::Borrowed(&self.ids),
            // A graph of texts takes no pixels.
            #[cfg(feature = "images")]
            Feed::Pixels => Cow::Borrowed(&self.ids),
        };
        Numbers::Tokens(tokens)
    }
}

impl Batch {
    /// The batch of the texts at the positions `members` of `tokens`, one row each, padded with
    /// `pad` to the longest of them.
    pub(super) fn new(tokens: &[Tokens], members: &[usize], pad: i64) -> Self {
        // No model takes a sequence of length 0, so a text without tokens is one token of padding.
        let s = members
            .iter()
            .map(|&m| tokens[m].ids.len())
            .max()
            .unwrap_or(0)
            .max(1);
        let mut ids = Array2::from_elem((members.len(), s), pad);
        let mut mask = Array2::zeros((members.len(), s));
        let mut types = Array2::zeros((members.len(), s));
        for (row, &member) in members.iter().enumerate() {
            for (column, (&id, &kind)) in tokens[member]
                .ids
                .iter()
                .zip(&tokens[member].types)
                .enumerate()
            {
                ids[[row, column]] = i64::from(id);
                types[[row, column]] = i64::from(kind);
                mask[[row, column]] = 1;
            }
            if tokens[member].ids.is_empty() {
                mask[[row, 0]] = 1;
            }
        }
        Self { ids, mask, types }
    }
}

/// Splits texts into batches, each a list of positions in `tokens`, longest texts first.
///
/// No batch has more than `max_texts` texts, nor more than `max_positions` token positions unless
/// it is a single text. Without `padding` all texts of a batch have the same length.
pub(super) fn plan(
    tokens: &[Tokens],
    max_texts: usize,
    max_positions: usize,
    padding: bool,
) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..tokens.len()).collect();
    // The sort is stable, so the result is the same on every run. With the longest texts first,
    // threads end at about the same time.
    order.sort_by_key(|&i| std::cmp::Reverse(tokens[i].ids.len()));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let (mut room, mut longest) = (0, 0);
    for i in order {
        let length = tokens[i].ids.len().max(1);
        if room == 0 || !padding && length != longest {
            longest = length;
            room = (max_positions / longest).clamp(1, max_texts.max(1));
            batches.push(Vec::with_capacity(room.min(tokens.len())));
        }
        if let Some(batch) = batches.last_mut() {
            batch.push(i);
            room -= 1;
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(lengths: &[usize]) -> Vec<Tokens> {
        lengths
            .iter()
            .map(|&n| Tokens {
                ids: vec![7; n],
                types: vec![0; n],
                truncated: false,
                unknown: n == 0,
            })
            .collect()
    }

    #[test]
    fn every_text_is_in_one_batch_and_bounds_hold() {
        let lengths: Vec<usize> = (0..200).map(|i| (i * 37) % 61).collect();
        let tokens = tokens(&lengths);
        for padding in [true, false] {
            let batches = plan(&tokens, 16, 128, padding);
            let mut seen: Vec<usize> = batches.concat();
            seen.sort_unstable();
            assert_eq!(seen, (0..200).collect::<Vec<_>>());
            for batch in &batches {
                let longest = batch.iter().map(|&i| lengths[i]).max().unwrap();
                assert!(batch.len() <= 16);
                assert!(batch.len() == 1 || batch.len() * longest <= 128);
                let same = batch.iter().all(|&i| lengths[i].max(1) == longest.max(1));
                assert!(padding || same);
            }
            assert!(batches.iter().any(|batch| batch.len() > 1));
        }
    }

    #[test]
    fn sorting_by_length_leaves_little_padding() {
        let lengths: Vec<usize> = (0..400).map(|i| 1 + (i * 37) % 61).collect();
        let batches = plan(&tokens(&lengths), 32, 1024, true);
        let padded: usize = batches
            .iter()
            .map(|b| b.len() * b.iter().map(|&i| lengths[i]).max().unwrap())
            .sum();
        assert!((padded as f64) < 1.1 * lengths.iter().sum::<usize>() as f64);
    }

    #[test]
    fn a_text_without_tokens_is_one_position() {
        let batch = Batch::new(&tokens(&[0, 2]), &[0, 1], 9);
        assert_eq!(batch.mask, ndarray::array![[1, 0], [1, 1]]);
        assert_eq!(batch.ids, ndarray::array![[9, 9], [7, 7]]);
    }
}
