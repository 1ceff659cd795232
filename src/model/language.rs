//! [`Language`]: whose inflections keyword search looks past.

use serde::{Deserialize, Serialize};

use crate::model::names::named;

/// The language of a collection's texts, for keyword search: a word is found in every inflected form
/// that the language's stemmer reduces to the same stem.
///
/// The order of the values is the format on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Language {
    /// No language: words are found as they are written, but for case and accents.
    #[serde(rename = "simple")]
    Simple,
    /// Arabic, `ar`.
    #[serde(rename = "ar")]
    Arabic,
    /// Danish, `da`.
    #[serde(rename = "da")]
    Danish,
    /// Dutch, `nl`.
    #[serde(rename = "nl")]
    Dutch,
    /// English, `en`.
    #[serde(rename = "en")]
    English,
    /// Finnish, `fi`.
    #[serde(rename = "fi")]
    Finnish,
    /// French, `fr`.
    #[serde(rename = "fr")]
    French,
    /// German, `de`.
    #[serde(rename = "de")]
    German,
    /// Greek, `el`.
    #[serde(rename = "el")]
    Greek,
    /// Hungarian, `hu`.
    #[serde(rename = "hu")]
    Hungarian,
    /// Italian, `it`.
    #[serde(rename = "it")]
    Italian,
    /// Norwegian, `no`.
    #[serde(rename = "no")]
    Norwegian,
    /// Portuguese, `pt`.
    #[serde(rename = "pt")]
    Portuguese,
    /// Romanian, `ro`.
    #[serde(rename = "ro")]
    Romanian,
    /// Russian, `ru`.
    #[serde(rename = "ru")]
    Russian,
    /// Spanish, `es`.
    #[serde(rename = "es")]
    Spanish,
    /// Swedish, `sv`.
    #[serde(rename = "sv")]
    Swedish,
    /// Tamil, `ta`.
    #[serde(rename = "ta")]
    Tamil,
    /// Turkish, `tr`.
    #[serde(rename = "tr")]
    Turkish,
}

// The command line and JSON have the same names: those of ISO 639-1.
named!(Language, "language of keywords", {
    Simple => "simple",
    Arabic => "ar",
    Danish => "da",
    Dutch => "nl",
    English => "en",
    Finnish => "fi",
    French => "fr",
    German => "de",
    Greek => "el",
    Hungarian => "hu",
    Italian => "it",
    Norwegian => "no",
    Portuguese => "pt",
    Romanian => "ro",
    Russian => "ru",
    Spanish => "es",
    Swedish => "sv",
    Tamil => "ta",
    Turkish => "tr",
});
