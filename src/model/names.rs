//! Names of the values of small enums: what `Display` writes and `FromStr` reads.

use crate::model::error::cut;

/// A name that no value of a type has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{:?} is no {what}; there are {}", cut(name), enumeration(known))]
#[non_exhaustive]
pub struct UnknownName {
    /// The type in words, such as `distance`.
    pub what: &'static str,
    /// The name that was given.
    pub name: String,
    /// All names of the type.
    pub known: &'static [&'static str],
}

/// Names in a row, as in `l2, cosine and dot`.
fn enumeration(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Implements `Display` and `FromStr` for an enum without fields, from the name of each value.
macro_rules! named {
    ($type:ident, $what:literal, { $($value:ident => $name:literal),+ $(,)? }) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self {
                    $(Self::$value => $name,)+
                })
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::model::UnknownName;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                match name {
                    $($name => Ok(Self::$value),)+
                    _ => Err($crate::model::UnknownName {
                        what: $what,
                        name: name.to_owned(),
                        known: &[$($name),+],
                    }),
                }
            }
        }
    };
}
pub(crate) use named;

#[cfg(test)]
mod tests {
    use crate::model::{Distance, Source};

    #[test]
    fn an_unknown_name_is_refused_with_those_that_there_are() {
        let refusal = "euclid".parse::<Distance>().expect_err("no such distance");
        assert_eq!(
            refusal.to_string(),
            "\"euclid\" is no distance; there are l2, cosine and dot"
        );
        assert!("guess".parse::<Source>().is_err());
    }

    #[test]
    fn names_are_read_as_they_are_displayed() {
        for source in [Source::Explicit, Source::Click, Source::Proxy] {
            assert_eq!(source.to_string().parse(), Ok(source));
        }
    }
}
