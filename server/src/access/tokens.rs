//! The file of tokens, and how a token is made and found.
//!
//! A token is 256 random bits, so its SHA-256 hash needs neither salt nor stretching: nobody guesses
//! the one from the other.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use super::Role;

/// SHA-256 of a token.
type Hash = [u8; 32];

/// What every token begins with, so that one that leaked is found for what it is.
const PREFIX: &str = "affinis_";

/// Who may do what: hashes of tokens, each with a name and a role.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens(Vec<Entry>);

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    role: Role,
    hash: Hash,
}

/// A new token and the line that stands for it in the file.
#[derive(Clone, PartialEq, Eq)]
pub struct NewToken {
    /// The token. It is shown once and kept by its holder.
    pub token: String,
    /// The line `NAME ROLE HASH` for the file of tokens.
    pub line: String,
}

/// Why tokens cannot be read or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// A line that is not `NAME ROLE HASH`.
    #[error(
        "line {line} of the tokens is not `NAME ROLE HASH`, as `affinis token` prints it: {reason}"
    )]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A file without a token, with which nobody could do anything.
    #[error("there are no tokens; `affinis token NAME --role ROLE` makes a line")]
    Empty,
    /// A name that cannot stand in a line, or be that of a user.
    #[error("a token's name has 1 to 512 bytes, no white space, and does not begin with #: {0:?}")]
    Name(String),
    /// The system gave no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

// Neither prints a token or a hash.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|entry| (&entry.name, entry.role));
        f.debug_map().entries(names).finish()
    }
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewToken").finish_non_exhaustive()
    }
}

impl Tokens {
    /// Reads the lines of a file of tokens. Blank lines and those that begin with `#` are passed
    /// over.
    ///
    /// # Errors
    /// [`TokenError::Line`] with the first line that cannot be read; [`TokenError::Empty`].
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let mut entries = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |reason: String| TokenError::Line {
                line: at + 1,
                reason,
            };
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [name, role, hash] = fields[..] else {
                return Err(wrong(format!("it has {} fields", fields.len())));
            };
            check_name(name).map_err(|error| wrong(error.to_string()))?;
            let role = role.parse().map_err(|error| wrong(format!("{error}")))?;
            let hash = from_hex(hash)
                .ok_or_else(|| wrong("the hash is not 64 hexadecimal digits".to_owned()))?;
            entries.push(Entry {
                name: name.to_owned(),
                role,
                hash,
            });
        }
        if entries.is_empty() {
            return Err(TokenError::Empty);
        }
        Ok(Self(entries))
    }

    /// Makes a token.
    ///
    /// # Errors
    /// [`TokenError::Name`] for a name that no user can have; [`TokenError::Random`].
    pub fn make(name: &str, role: Role) -> Result<NewToken, TokenError> {
        check_name(name)?;
        let token = format!("{PREFIX}{}", random_name()?);
        let line = format!("{name} {role} {}", to_hex(&hash(&token)));
        Ok(NewToken { token, line })
    }

    /// Name and role of a token. Takes the same time for every token.
    pub(super) fn find(&self, token: &str) -> Option<(&str, Role)> {
        let given = hash(token);
        let mut found = u64::MAX;
        for (at, entry) in self.0.iter().enumerate() {
            found.conditional_assign(&(at as u64), entry.hash[..].ct_eq(&given[..]));
        }
        let entry = self.0.get(usize::try_from(found).ok()?)?;
        Some((&entry.name, entry.role))
    }
}

/// 256 random bits, in 43 characters that may stand in a header, a cookie and an address.
pub(super) fn random_name() -> Result<String, TokenError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(TokenError::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

pub(super) fn hash(token: &str) -> Hash {
    Sha256::digest(token.as_bytes()).into()
}

fn check_name(name: &str) -> Result<(), TokenError> {
    let fits = (1..=affinis::limits::MAX_ID_BYTES).contains(&name.len())
        && !name.starts_with('#')
        && !name.contains(|c: char| c.is_whitespace() || c.is_control());
    if fits {
        return Ok(());
    }
    Err(TokenError::Name(name.to_owned()))
}

fn to_hex(hash: &Hash) -> String {
    use fmt::Write as _;
    hash.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_line_and_no_other_is() {
        let ann = Tokens::make("ann", Role::Judge).expect("a token");
        let bob = Tokens::make("bob", Role::Admin).expect("a token");
        let file = format!("# who\n\n{}\n{}\n", ann.line, bob.line);
        let tokens = Tokens::parse(&file).expect("tokens");
        assert_eq!(tokens.find(&ann.token), Some(("ann", Role::Judge)));
        assert_eq!(tokens.find(&bob.token), Some(("bob", Role::Admin)));
        let mut other = bob.token.clone();
        other.pop();
        for wrong in ["", "ann", other.as_str(), bob.line.as_str()] {
            assert_eq!(tokens.find(wrong), None, "{wrong}");
        }
        assert!(!format!("{tokens:?}{ann:?}").contains(&ann.token));
    }

    #[test]
    fn what_is_no_line_of_tokens_is_refused_with_its_number() {
        let good = Tokens::make("ann", Role::Judge).expect("a token").line;
        for line in [
            "ann judge",
            "ann boss 00",
            "ann judge 00",
            &good.replace("judge", "judge more"),
        ] {
            let error = Tokens::parse(&format!("{good}\n{line}")).expect_err(line);
            assert!(error.to_string().contains("line 2"), "{error}");
        }
        assert!(matches!(Tokens::parse("# none\n"), Err(TokenError::Empty)));
        assert!(Tokens::make("two words", Role::Search).is_err());
    }
}
