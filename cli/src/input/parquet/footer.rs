//! Checks of a footer before the crate `parquet` reads it. That crate descends as deep as a schema
//! claims to be and allocates by the children that a group claims to have; neither failure could be
//! caught.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};

use super::thrift::{Kind, Walk};

/// First and last bytes of every file.
pub(crate) const MAGIC: &[u8; 4] = b"PAR1";
/// Last bytes of a file whose footer is encrypted.
const ENCRYPTED: &[u8; 4] = b"PARE";
/// What stands behind the footer: its length and the magic bytes.
const TAIL_BYTES: u64 = 8;
/// Most groups inside each other. A list takes two of them.
const MAX_DEPTH: usize = 64;

/// Checks that the footer is whole and that its schema is a tree of bounded depth.
pub(super) fn check(mut file: &File) -> Result<(), String> {
    let unreadable = |e: io::Error| format!("cannot be read: {e}");
    let size = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
    if size == 0 {
        return Err("the input is empty: it holds no items".to_owned());
    }
    let mut magic = [0; 4];
    file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    if file.read_exact(&mut magic).is_err() || !matches!(&magic, MAGIC | ENCRYPTED) {
        return Err("is not Parquet: it does not begin with PAR1".to_owned());
    }
    let cut_short = || "is cut short or damaged: its footer is not at its end".to_owned();
    let start = size
        .checked_sub(TAIL_BYTES)
        .filter(|at| *at >= magic.len() as u64)
        .ok_or_else(cut_short)?;
    let mut tail = [0; TAIL_BYTES as usize];
    file.seek(SeekFrom::Start(start)).map_err(unreadable)?;
    file.read_exact(&mut tail).map_err(unreadable)?;
    let [a, b, c, d, magic @ ..] = tail;
    if &magic == ENCRYPTED {
        return Err("its footer is encrypted; write it without encryption".to_owned());
    }
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    if &magic != MAGIC || length + magic.len() as u64 > start {
        return Err(cut_short());
    }
    file.seek(SeekFrom::Start(start - length))
        .map_err(unreadable)?;
    let mut walk = Walk::new(BufReader::new(file), length);
    let mut schema = None;
    walk.fields(|walk, id, kind| {
        let is_schema = (id, kind) == (2, Kind::LIST);
        if is_schema {
            schema = Some(check_schema(walk)?);
        }
        Ok(is_schema)
    })
    .map_err(|error| match error.kind() {
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
            "its footer is damaged: it is not what Parquet writes".to_owned()
        }
        _ => unreadable(error),
    })?;
    match schema {
        Some(Schema::Fits) => Ok(()),
        Some(Schema::Unfit) => {
            Err("its footer is damaged: the parts of its schema do not fit together".to_owned())
        }
        Some(Schema::TooDeep) => Err(format!(
            "its columns are nested more than {MAX_DEPTH} deep; flatten them"
        )),
        None => Err("its footer is damaged: it has no schema".to_owned()),
    }
}

enum Schema {
    Fits,
    /// A group does not have the children that it claims.
    Unfit,
    TooDeep,
}

/// Reads the elements of a schema, which are a tree in the order of a walk: an element with
/// children stands before them.
fn check_schema<R: Read>(walk: &mut Walk<R>) -> io::Result<Schema> {
    let (count, kind) = walk.list()?;
    if kind != Kind::STRUCT {
        return Err(ErrorKind::InvalidData.into());
    }
    let (mut fits, mut too_deep) = (true, false);
    // The children that are still to come, of each group that is open.
    let mut open: Vec<u64> = vec![1];
    for at in 0..count {
        let mut children = 0;
        walk.fields(|walk, id, kind| {
            let is_count = id == 5 && kind.is_int();
            if is_count {
                children = walk.int()?;
            }
            Ok(is_count)
        })?;
        while open.last() == Some(&0) {
            open.pop();
        }
        let (Some(left), Ok(children)) = (open.last_mut(), u64::try_from(children)) else {
            fits = false;
            continue;
        };
        *left -= 1;
        fits &= children < count - at;
        if children > 0 {
            too_deep |= open.len() > MAX_DEPTH;
            if fits && !too_deep {
                open.push(children);
            }
        }
    }
    fits &= open.iter().all(|left| *left == 0);
    Ok(match (too_deep, fits) {
        (true, _) => Schema::TooDeep,
        (false, true) => Schema::Fits,
        (false, false) => Schema::Unfit,
    })
}
