//! [`Pages`]: entries that come page by page.

use std::collections::VecDeque;

use crate::error::Result;

/// Reads the page behind a place, and says where the next one begins.
type Read<T> = Box<dyn FnMut(Option<&str>) -> Result<(Vec<T>, Option<String>)> + Send>;

/// Entries of a list that is read page by page. After an error it ends.
pub struct Pages<T> {
    read: Read<T>,
    page: VecDeque<T>,
    /// Where the next page begins; `None` behind the last one.
    next: Option<Place>,
}

enum Place {
    Start(Option<String>),
    After(String),
}

impl<T> Pages<T> {
    /// Reads behind a place, from the start where there is none.
    pub(crate) fn new(
        after: Option<String>,
        read: impl FnMut(Option<&str>) -> Result<(Vec<T>, Option<String>)> + Send + 'static,
    ) -> Self {
        Self {
            read: Box::new(read),
            page: VecDeque::new(),
            next: Some(Place::Start(after)),
        }
    }
}

impl<T> Iterator for Pages<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.page.pop_front() {
                return Some(Ok(entry));
            }
            let after = match self.next.take()? {
                Place::Start(after) => after,
                Place::After(after) => Some(after),
            };
            match (self.read)(after.as_deref()) {
                Ok((page, next)) => {
                    self.page = page.into();
                    self.next = next.map(Place::After);
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn all_pages_are_read_and_an_error_ends_them() {
        let pages = |fails: bool| {
            Pages::new(Some("0".to_owned()), move |after| match after {
                Some("0") => Ok((vec![1, 2], Some("2".to_owned()))),
                Some("2") => Ok((Vec::new(), Some("3".to_owned()))),
                Some("3") if fails => Err(Error::Unsupported("it")),
                Some("3") => Ok((vec![3], None)),
                other => panic!("{other:?}"),
            })
        };
        let all: Vec<i32> = pages(false).collect::<Result<_>>().expect("all");
        assert_eq!(all, [1, 2, 3]);
        let mut failing = pages(true).skip(2);
        assert!(failing.next().expect("an error").is_err());
        assert!(failing.next().is_none());
    }
}
