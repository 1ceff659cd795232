//! Any input gives a value or an error that names the file: the fuzz targets of what a program can
//! reach, on stable Rust, and the parsers on random bytes and tokens. Well-formed files are read
//! back bit for bit.
//!
//! `AFFINIS_FUZZ_SECONDS` says how long each target runs (1):
//! `AFFINIS_FUZZ_SECONDS=60 cargo test --workspace --test hostile_input -- --nocapture`

use affinis::Item;
use affinis_cli::input::{self, Expected, Place};
use affinis_mahalanobis::Mahalanobis;
use affinis_testkit::fuzz::{bodies, drive};
use ndarray::Array2;
use proptest::prelude::*;
use serde_json::json;

fn texts(inputs: &[&str]) -> Vec<Vec<u8>> {
    inputs.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn hostile_files_are_parsed_or_refused() {
    let mut corpus = texts(&[
        "0{\"id\": \"a\", \"text\": \"t\", \"vector\": [1, 2, 3], \"meta\": {\"b\": [1]}}\n{\"id\": \"b\", \"vector\": [0, 0, 1e-9]}\n",
        "1label\tsome text\nother\ttext\n",
        "0x,y,z,label\n1,2,3,a\n-1e5,.5,3,\"b \"\"c\"\n",
        "0{\"query\": \"t\", \"item\": \"a\", \"relevant\": true, \"user\": \"u\", \"at\": \"2025-06-07T08:09:10Z\"}\n",
        "0{\"query_vector\": [1, 2, 3], \"item\": \"a\", \"grade\": 0.5, \"shown\": [\"a\"]}\n{\"a\": \"x\", \"b\": \"y\", \"similar\": true}\n",
        "11 0 a 1\n1 0 b 0\n2 0 c 3\n",
        "0{\"query_id\": \"a\", \"relevant\": [\"b\", \"c\"]}\n",
    ]);
    let mut npy =
        b"0\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }          \n".to_vec();
    npy.extend([1.0_f32, 2.0, 3.0].iter().flat_map(|x| x.to_le_bytes()));
    corpus.push(npy);
    let export = include_str!("../../tests/fixtures/exports/points.export");
    corpus.push([b"0", export.as_bytes()].concat());
    drive("parsers", bodies::parsers, &corpus);
}

#[test]
fn hostile_filters_are_refused_or_have_a_negation() {
    let corpus = texts(&[
        "{\"year\": {\"$gte\": 2020, \"$lt\": 2030}, \"lang\": {\"$in\": [\"en\", \"de\"]}}",
        "{\"$or\": [{\"a\": 1}, {\"b.c\": {\"$exists\": true}}], \"$not\": {\"a\": {\"$ne\": \"x\"}}}",
        "{\"$and\": [{\"a\": {\"$not\": {\"$gt\": 1}}}, {\"b.c\": {\"$nin\": [1, null, {}]}}]}",
    ]);
    drive("filter", bodies::filter, &corpus);
}

#[test]
fn hostile_metrics_are_refused_or_encode_to_the_same_bytes() {
    use affinis::plugin::MetricLearner;
    let matrices = [
        ndarray::array![[1.5, 0.25], [0.25, 0.5]],
        ndarray::array![[1.0, 0.0], [0.0, 1.0]],
    ];
    let mut corpus = Vec::new();
    for matrix in matrices {
        let metric = Mahalanobis::default()
            .from_matrix(matrix.view())
            .expect("a metric");
        let bytes = metric.encode();
        // Without the checksum, which the target adds.
        corpus.push(bytes[..bytes.len() - 4].to_vec());
        corpus.push(bytes);
    }
    let base = bodies::metric_base();
    let vectors = ndarray::array![[0.0, 0.0, 0.0], [1.0, 0.0, 0.1], [0.1, 1.0, 0.0]];
    let graded = [(1, 1.0), (2, -1.0)].map(|(item, grade)| affinis::plugin::Graded {
        query: 0,
        item,
        grade,
        weight: 1.0,
    });
    let examples = affinis::plugin::Examples {
        vectors,
        graded: graded.into(),
        pairs: vec![],
    };
    let sample = affinis::plugin::Sample::default();
    for rank in [1, 2] {
        let task = affinis::plugin::Task::new(3, &examples, &sample)
            .with_seed(1)
            .with_update_of(Some(affinis::plugin::UpdateOf { base: &base, rank }));
        let bytes = Mahalanobis::default()
            .fit(&task)
            .expect("a change")
            .metric
            .encode();
        corpus.push(bytes[..bytes.len() - 4].to_vec());
    }
    drive("metric", bodies::metric, &corpus);
}

#[test]
fn hostile_models_are_refused_or_give_finite_rows() {
    let settings = texts(&[
        "\0\x0a{\"max_position_embeddings\": 512, \"pad_token_id\": 0, \"model_type\": \"bert\"}",
        "\0\x0b[{\"idx\": 1, \"type\": \"sentence_transformers.models.Pooling\", \"path\": \"1_Pooling\"}]",
        "\0\x0c{\"word_embedding_dimension\": 4, \"pooling_mode_cls_token\": true, \"pooling_mode_max_tokens\": true}",
        "\0\x0d{\"max_seq_length\": 4}",
        "\0\x0e{\"model_max_length\": 1e30}",
    ]);
    let graphs =
        (0..7).flat_map(|which| (0..9).map(move |file| vec![which, file, 200, 0, 0, 40, 1, 255]));
    drive(
        "model",
        bodies::model,
        &settings.into_iter().chain(graphs).collect::<Vec<_>>(),
    );
}

#[test]
fn any_operations_with_faults_leave_the_contents_of_a_map() {
    let mut random = fastrand::Rng::with_seed(9);
    let corpus: Vec<Vec<u8>> = (0..4)
        .map(|_| (0..120).map(|_| random.u8(..)).collect())
        .collect();
    drive("operations", bodies::operations, &corpus);
}

#[test]
fn any_judgements_give_a_positive_definite_metric() {
    let mut random = fastrand::Rng::with_seed(9);
    let corpus: Vec<Vec<u8>> = (0..4)
        .map(|_| (0..300).map(|_| random.u8(..)).collect())
        .collect();
    drive("judgements", bodies::judgements, &corpus);
}

const ANY: Expected = Expected {
    dim: 3,
    texts: true,
    distance: affinis::Distance::L2,
    skip_bad: false,
};

/// Gives an input to every parser, and checks the errors.
fn parse_all(bytes: &[u8], skip_bad: bool) -> Result<(), TestCaseError> {
    let lines = bytes.split(|b| *b == b'\n').count() as u64;
    for error in bodies::parsed(bytes, skip_bad) {
        prop_assert_eq!(&error.file, bodies::FILE);
        prop_assert!(!error.reason.is_empty());
        if let Place::Line(line) = error.place {
            prop_assert!(
                (1..=lines).contains(&line),
                "{error} in a file of {lines} lines"
            );
        }
    }
    Ok(())
}

/// Inputs made of tokens that the parsers know, which get further than random bytes.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&str; 28] = [
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        ":",
        "\n",
        "\t",
        "\r\n",
        " ",
        "1",
        "-0.5",
        "1e999",
        "NaN",
        "null",
        "true",
        "\"id\"",
        "\"vector\"",
        "\"item\"",
        "\"relevant\"",
        "\"query_id\"",
        "[1, 2, 3]",
        "\"a\"",
        "{\"id\": \"a\", \"vector\": [1, 2, 3]}",
        "1 0 a 1",
        "x,y,z,label\n1,2,3,a",
        "\u{93}NUMPY\u{1}\u{0}v\u{0}{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }",
    ];
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40).prop_map(|chosen| {
        chosen
            .concat()
            .chars()
            .filter_map(|c| u8::try_from(c as u32).ok())
            .collect()
    })
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused_by_line(bytes in prop::collection::vec(any::<u8>(), 0..300), skip: bool) {
        parse_all(&bytes, skip)?;
    }

    #[test]
    fn any_tokens_are_parsed_or_refused_by_line(bytes in pieces(), skip: bool) {
        parse_all(&bytes, skip)?;
    }

    #[test]
    fn items_written_as_json_are_read_back_bit_for_bit(
        items in prop::collection::vec(
            ("[a-z\u{e9}\"\\\\]{1,8}", any::<Option<String>>(), prop::array::uniform3(-1e15_f32..1e15)),
            1..20,
        )
    ) {
        let items: Vec<Item> = items
            .into_iter()
            .enumerate()
            .map(|(at, (id, text, vector))| Item {
                id: format!("{id}{at}"), text, vector: Some(vector.to_vec()), meta: json!({"at": at}), ..Item::default()
            })
            .collect();
        let text: String = items
            .iter()
            .map(|i| json!({"id": i.id, "text": i.text, "vector": i.vector, "meta": i.meta}).to_string() + "\n")
            .collect();
        let read = input::items_json(text.as_bytes(), "f", ANY, &input::Layout::default()).unwrap();
        prop_assert_eq!(read.items, items);
    }

    #[test]
    fn matrices_written_as_npy_are_read_back_bit_for_bit(
        rows in 1..6_usize, columns in 1..6_usize, seed in prop::collection::vec(-1e300..1e300_f64, 36)
    ) {
        let matrix = Array2::from_shape_fn((rows, columns), |(i, j)| seed[i * 6 + j]);
        let mut bytes = Vec::new();
        input::write_npy_f64(&mut bytes, &matrix.view()).unwrap();
        prop_assert_eq!(input::npy_f64(&bytes[..], "f").unwrap(), matrix);
        for end in 0..bytes.len() {
            prop_assert!(input::npy_f64(&bytes[..end], "f").is_err());
        }
    }
}
