//! Guidelines for the people who judge the answers of a collection.

use serde::{Deserialize, Serialize};

use super::error::{Error, Result, cut};

/// The largest number of bytes of the text.
pub const MAX_GUIDELINES_BYTES: usize = 16 << 10;
/// The largest number of bytes of a label.
const MAX_LABEL_BYTES: usize = 64;
/// The numbers of grades that a scale may have.
const GRADES: std::ops::RangeInclusive<usize> = 2..=7;

/// What people who judge a collection are told, and the grades they choose from.
///
/// The order of the fields is the format on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guidelines {
    /// Text for those who judge, at most 16 KiB; it may be empty.
    pub text: String,
    /// The grades, 2 to 7, in rising order, at least one below 0 and one above.
    pub scale: Vec<ScaleGrade>,
}

/// A grade of a scale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleGrade {
    /// Its name, 1 to 64 bytes.
    pub label: String,
    /// The grade of a judgement, -1 (irrelevant) to 1 (relevant).
    pub grade: f32,
}

impl Default for Guidelines {
    /// No text, and four grades from irrelevant to relevant.
    fn default() -> Self {
        let grades = [
            ("Irrelevant", -1.0),
            ("Rather irrelevant", -0.5),
            ("Rather relevant", 0.5),
            ("Relevant", 1.0),
        ];
        let scale = grades.map(|(label, grade)| ScaleGrade {
            label: label.to_owned(),
            grade,
        });
        Self {
            text: String::new(),
            scale: scale.to_vec(),
        }
    }
}

impl Guidelines {
    /// Checks lengths, grades and their order.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] with the first rule that is broken.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |setting, value: String, allowed: &str| {
            Err(Error::InvalidSetting {
                setting,
                value,
                allowed: allowed.to_owned(),
            })
        };
        if self.text.len() > MAX_GUIDELINES_BYTES {
            let value = format!("{} bytes long", self.text.len());
            return refuse("the text of the guidelines", value, "at most 16 KiB long");
        }
        if !GRADES.contains(&self.scale.len()) {
            let value = format!("of {} grades", self.scale.len());
            return refuse("the scale", value, "of 2 to 7 grades");
        }
        for (at, ScaleGrade { label, grade }) in self.scale.iter().enumerate() {
            if label.trim().is_empty() || label.len() > MAX_LABEL_BYTES {
                return refuse(
                    "the label of a grade",
                    format!("{:?}", cut(label)),
                    "a name of 1 to 64 bytes",
                );
            }
            if !(-1.0..=1.0).contains(grade) {
                return refuse("a grade of the scale", grade.to_string(), "from -1 to 1");
            }
            let earlier = &self.scale[..at];
            if earlier.iter().any(|before| before.label == *label) {
                return refuse(
                    "the label of a grade",
                    format!("{:?} twice", cut(label)),
                    "another one for each grade",
                );
            }
            if earlier.last().is_some_and(|before| before.grade >= *grade) {
                return refuse(
                    "a grade of the scale",
                    grade.to_string(),
                    "above the one before it",
                );
            }
        }
        let ends =
            [self.scale.first(), self.scale.last()].map(|end| end.map_or(0.0, |end| end.grade));
        if ends[0] >= 0.0 || ends[1] <= 0.0 {
            return refuse(
                "the scale",
                format!("from {} to {}", ends[0], ends[1]),
                "from a grade below 0 to one above: a metric learns from both",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(grades: &[(&str, f32)]) -> Guidelines {
        let scale = grades.iter().map(|(label, grade)| ScaleGrade {
            label: (*label).to_owned(),
            grade: *grade,
        });
        Guidelines {
            text: String::new(),
            scale: scale.collect(),
        }
    }

    #[test]
    fn a_scale_rises_from_below_zero_to_above() {
        Guidelines::default().check().expect("the default");
        scale(&[("no", -1.0), ("yes", 1.0)]).check().expect("two");
        scale(&[("no", -1.0), ("neutral", 0.0), ("yes", 1.0)])
            .check()
            .expect("three");
        for (wrong, word) in [
            (scale(&[("yes", 1.0)]), "2 to 7"),
            (scale(&[("a", 0.0), ("b", 1.0)]), "below 0"),
            (scale(&[("a", -1.0), ("b", -0.5)]), "below 0"),
            (
                scale(&[("a", -1.0), ("b", 1.0), ("c", 0.5)]),
                "above the one",
            ),
            (scale(&[("a", -1.0), ("a", 1.0)]), "twice"),
            (scale(&[(" ", -1.0), ("b", 1.0)]), "1 to 64"),
            (scale(&[("a", -1.0), ("b", f32::NAN)]), "from -1 to 1"),
            (scale(&[("a", -2.0), ("b", 1.0)]), "from -1 to 1"),
        ] {
            let error = wrong.check().expect_err(word).to_string();
            assert!(error.contains(word), "{error:?} does not say {word:?}");
        }
        let long = Guidelines {
            text: "x".repeat(MAX_GUIDELINES_BYTES + 1),
            ..Guidelines::default()
        };
        assert!(long.check().is_err());
    }
}
