//! Rated answers as others keep them: TREC qrels, BEIR qrels, and Quepid's csv.
//!
//! | format | a line |
//! |---|---|
//! | `qrels` | `topic iteration item grade`, between white space |
//! | `beir` | `topic<TAB>item<TAB>grade`, after the header `query-id corpus-id score` |
//! | `quepid` | `query,docid,rating`, csv with that header; a line without a rating is left out |
//!
//! In the first two a query is a topic, whose text is in a file of [topics](super::topics); in the
//! last one it is a text. Grades are numbers; 0 and below are irrelevant.

use std::collections::HashMap;
use std::io::BufRead;

use super::check::check_id;
use super::error::{InputError, Place, cut, listed};
use super::lines::Lines;

/// Format of rated answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RatingFormat {
    /// TREC qrels.
    Qrels,
    /// BEIR qrels.
    Beir,
    /// Quepid's csv of ratings.
    Quepid,
}

/// The columns of a csv by their names; case does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvColumns {
    /// The text of the query.
    pub query: String,
    /// The id of the item.
    pub item: String,
    /// The grade.
    pub grade: String,
}

/// A rated answer with its line.
#[derive(Debug, Clone, PartialEq)]
pub struct Rated {
    /// Line of the file, from 1.
    pub line: u64,
    /// The topic, or the text of the query where the format has texts.
    pub query: String,
    /// Id of the item.
    pub item: String,
    /// The grade as it is in the file.
    pub grade: f64,
}

impl RatingFormat {
    /// The format of a file by its first line that is not blank.
    ///
    /// # Errors
    /// A reason when it is none of the formats.
    pub fn of_first_line(line: &str) -> Result<Self, String> {
        let line = line.trim();
        if is_beir_header(line) {
            return Ok(Self::Beir);
        }
        if csv_columns(line, None).is_ok() {
            return Ok(Self::Quepid);
        }
        match line.split_whitespace().count() {
            4 => Ok(Self::Qrels),
            3 if line.contains('\t') => Ok(Self::Beir),
            fields => Err(format!(
                "{fields} fields; a line of TREC qrels has 4 (topic, iteration, item, grade), one of BEIR \
                 qrels 3 with tabs between them (topic, item, grade), and Quepid's csv begins with \
                 query,docid,rating"
            )),
        }
    }
}

fn is_beir_header(line: &str) -> bool {
    let fields: Vec<&str> = line.split_whitespace().collect();
    matches!(fields[..], ["query-id", "corpus-id", "score"])
}

/// Reads rated answers; the format is that of the first line where none is named. The columns of a
/// csv are Quepid's where none are named.
///
/// # Errors
/// [`InputError`] at the first line that cannot be used, for an answer that is rated twice, and for
/// an input without ratings.
pub fn ratings(
    reader: impl BufRead,
    file: &str,
    format: Option<RatingFormat>,
    columns: Option<&CsvColumns>,
) -> Result<(RatingFormat, Vec<Rated>), InputError> {
    ratings_of(Lines::new(reader, file), file, format, columns)
}

/// Reads rated answers from numbered lines.
///
/// # Errors
/// As [`ratings`].
pub fn ratings_of(
    mut lines: impl Iterator<Item = Result<(u64, String), InputError>>,
    file: &str,
    format: Option<RatingFormat>,
    columns: Option<&CsvColumns>,
) -> Result<(RatingFormat, Vec<Rated>), InputError> {
    let first = loop {
        match lines.next().transpose()? {
            Some((_, text)) if text.trim().is_empty() => {}
            other => break other,
        }
    };
    let empty = || InputError::new(file, Place::File, "the input is empty: it holds no ratings");
    let (number, first) = first.ok_or_else(empty)?;
    let wrong = |number, reason: String| InputError::new(file, Place::Line(number), reason);
    let format = match format {
        Some(format) => format,
        None => RatingFormat::of_first_line(&first).map_err(|reason| wrong(number, reason))?,
    };
    let mut rated = Vec::new();
    let rest = std::iter::once(Ok((number, first))).chain(lines);
    match format {
        RatingFormat::Quepid => csv_ratings(rest, file, columns, &mut rated)?,
        RatingFormat::Qrels | RatingFormat::Beir => {
            for line in rest {
                let (number, text) = line?;
                let is_header =
                    number == 1 && format == RatingFormat::Beir && is_beir_header(&text);
                if !is_header && !text.trim().is_empty() {
                    let fields = split(&text, format).map_err(|reason| wrong(number, reason))?;
                    rated.push(rated_line(number, fields).map_err(|reason| wrong(number, reason))?);
                }
            }
        }
    }
    if rated.is_empty() {
        return Err(empty());
    }
    let mut seen: HashMap<(&str, &str), u64> = HashMap::new();
    for Rated {
        line, query, item, ..
    } in &rated
    {
        if let Some(first) = seen.insert((query, item), *line) {
            return Err(wrong(
                *line,
                format!(
                    "topic {:?} and item {:?} occur already in line {first}",
                    cut(query),
                    cut(item)
                ),
            ));
        }
    }
    Ok((format, rated))
}

/// Topic, item and grade of a line of qrels.
fn split(line: &str, format: RatingFormat) -> Result<[&str; 3], String> {
    if format == RatingFormat::Beir {
        let fields: Vec<&str> = line.split('\t').map(str::trim).collect();
        let [topic, item, grade] = fields[..] else {
            return Err(format!(
                "{} fields between tabs; a line of BEIR qrels has 3: topic, item, grade",
                fields.len()
            ));
        };
        return Ok([topic, item, grade]);
    }
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [topic, _, item, grade] = fields[..] else {
        return Err(format!(
            "{} fields; a line of TREC qrels has 4: topic, iteration, item, grade",
            fields.len()
        ));
    };
    Ok([topic, item, grade])
}

fn rated_line(line: u64, [topic, item, grade]: [&str; 3]) -> Result<Rated, String> {
    check_id(topic).map_err(|e| format!("the topic: {e}"))?;
    check_id(item).map_err(|e| format!("the item: {e}"))?;
    Ok(Rated {
        line,
        query: topic.to_owned(),
        item: item.to_owned(),
        grade: grade_of(grade)?,
    })
}

fn grade_of(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(grade) if grade.is_finite() => Ok(grade),
        _ => Err(format!("the grade {:?} is not a number", cut(text))),
    }
}

/// Positions of the query, the item and the rating among the columns of a csv header.
fn csv_columns(header: &str, named: Option<&CsvColumns>) -> Result<[usize; 3], String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(header.as_bytes());
    let names: Vec<String> = match reader.records().next() {
        Some(Ok(record)) => record
            .iter()
            .map(|name| name.trim().to_lowercase())
            .collect(),
        _ => Vec::new(),
    };
    let position = |known: &[&str]| {
        let is_known = |name: &String| {
            known
                .iter()
                .any(|known| known.trim().to_lowercase() == *name)
        };
        names.iter().position(is_known).ok_or_else(|| match named {
            None => format!(
                "the header has no column {:?}; Quepid's csv has query,docid,rating",
                known[0]
            ),
            Some(_) => format!(
                "the header has no column {:?}; it has {}",
                cut(known[0]),
                listed(names.iter().map(String::as_str))
            ),
        })
    };
    match named {
        None => Ok([
            position(&["query"])?,
            position(&["docid", "doc_id"])?,
            position(&["rating"])?,
        ]),
        Some(CsvColumns { query, item, grade }) => {
            Ok([position(&[query])?, position(&[item])?, position(&[grade])?])
        }
    }
}

/// Reads a csv of rated answers. A record is a line or, with line breaks between quotes, several.
fn csv_ratings(
    lines: impl Iterator<Item = Result<(u64, String), InputError>>,
    file: &str,
    named: Option<&CsvColumns>,
    rated: &mut Vec<Rated>,
) -> Result<(), InputError> {
    let mut columns: Option<[usize; 3]> = None;
    let mut record = String::new();
    let mut begins = 0;
    for line in lines {
        let (number, text) = line?;
        if record.is_empty() {
            begins = number;
        } else {
            record.push('\n');
        }
        record.push_str(&text);
        // Within quotes the record goes on in the next line.
        if record.matches('"').count() % 2 == 1 {
            continue;
        }
        let whole = std::mem::take(&mut record);
        if whole.trim().is_empty() {
            continue;
        }
        let wrong = |reason: String| InputError::new(file, Place::Line(begins), reason);
        match columns {
            None => columns = Some(csv_columns(&whole, named).map_err(wrong)?),
            Some(columns) => rated.extend(csv_rated(&whole, begins, columns).map_err(wrong)?),
        }
    }
    if record.is_empty() {
        Ok(())
    } else {
        let reason = "a quote is not closed before the end of the file";
        Err(InputError::new(file, Place::Line(begins), reason))
    }
}

/// The rated answer of a record; `None` where it has no rating.
fn csv_rated(record: &str, line: u64, columns: [usize; 3]) -> Result<Option<Rated>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(record.as_bytes());
    let fields = reader
        .records()
        .next()
        .transpose()
        .map_err(|e| e.to_string())?
        .unwrap_or_default();
    let field = |column: usize| {
        fields.get(column).map(str::trim).ok_or_else(|| {
            format!(
                "the record has {} fields, fewer than the header",
                fields.len()
            )
        })
    };
    let [query, item, rating] = [field(columns[0])?, field(columns[1])?, field(columns[2])?];
    if rating.is_empty() {
        return Ok(None);
    }
    if query.is_empty() {
        return Err("the query is empty".to_owned());
    }
    check_id(item).map_err(|e| format!("the docid: {e}"))?;
    Ok(Some(Rated {
        line,
        query: query.to_owned(),
        item: item.to_owned(),
        grade: grade_of(rating)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Line, query, item and grade.
    type Row = (u64, String, String, f64);

    fn read(text: &str) -> Result<(RatingFormat, Vec<Row>), String> {
        let (format, rated) =
            ratings(text.as_bytes(), "f", None, None).map_err(|e| e.to_string())?;
        let rated = rated.into_iter();
        let fields = rated.map(|r| (r.line, r.query, r.item, r.grade));
        Ok((format, fields.collect()))
    }

    fn rated(line: u64, query: &str, item: &str, grade: f64) -> (u64, String, String, f64) {
        (line, query.to_owned(), item.to_owned(), grade)
    }

    #[test]
    fn each_format_is_known_by_its_first_line() {
        assert_eq!(
            read("1 0 765 1.0\n\n2\tQ0\t3 0.5\n"),
            Ok((
                RatingFormat::Qrels,
                vec![rated(1, "1", "765", 1.0), rated(3, "2", "3", 0.5)]
            ))
        );
        let beir = vec![rated(2, "1", "765", 1.0), rated(3, "a b", "x", 2.0)];
        assert_eq!(
            read("query-id\tcorpus-id\tscore\n1\t765\t1\na b\tx\t2\n"),
            Ok((RatingFormat::Beir, beir))
        );
        let quepid = vec![
            rated(2, "dog, barking", "765", 3.0),
            rated(3, "two\nlines \"q\"", "3", 0.0),
        ];
        assert_eq!(
            read(
                "query,docid,rating\n\"dog, barking\",765,3\n\"two\nlines \"\"q\"\"\",3,0\nx,4,\n"
            ),
            Ok((RatingFormat::Quepid, quepid))
        );
    }

    #[test]
    fn columns_of_a_csv_can_be_named() {
        let columns = CsvColumns {
            query: "Search".into(),
            item: "sku".into(),
            grade: "Score".into(),
        };
        let read = |text: &str| {
            ratings(
                text.as_bytes(),
                "f",
                Some(RatingFormat::Quepid),
                Some(&columns),
            )
        };
        let text = "sku,note,search,score\nx,,\"red, shoes\",2\n";
        let wanted = Rated {
            line: 2,
            query: "red, shoes".into(),
            item: "x".into(),
            grade: 2.0,
        };
        assert_eq!(read(text).unwrap().1, [wanted]);
        let error = read("sku,query,score\n").unwrap_err().to_string();
        assert!(
            error.contains("no column \"Search\"; it has \"sku\""),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_line() {
        for (text, word) in [
            ("", "holds no ratings"),
            ("one two", "line 1: 2 fields"),
            ("1 0 x 1\n1 0 x", "line 2: 3 fields"),
            ("1 0 x one", "line 1: the grade \"one\" is not a number"),
            ("1 0 x nan", "not a number"),
            (
                "1 0 x 1\n\n1 0 x 0",
                "line 3: topic \"1\" and item \"x\" occur already in line 1",
            ),
            (
                "query-id\tcorpus-id\tscore\n1\tx",
                "line 2: 2 fields between tabs",
            ),
            ("query,docid,rating\nq,x", "fewer than the header"),
            ("query,docid,rating\n,x,1", "the query is empty"),
            (
                "query,docid,rating\n\"q,x,1\n",
                "line 2: a quote is not closed",
            ),
            ("query,docid,rating\n", "holds no ratings"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(word), "{text:?}: {error}");
        }
        let no_rating = ratings(&b"query,id\n"[..], "f", Some(RatingFormat::Quepid), None);
        assert!(
            no_rating
                .unwrap_err()
                .to_string()
                .contains("no column \"docid\"")
        );
    }
}
