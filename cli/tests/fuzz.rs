//! The fuzz targets (`fuzz/`) of what a program can reach:
//! `AFFINIS_FUZZ_SECONDS=60 cargo test --workspace --test fuzz -- --nocapture`

#[path = "../../fuzz/bodies.rs"]
mod bodies;
#[path = "../../tests/common/drive.rs"]
mod drive;

use affinis_mahalanobis::Mahalanobis;

use drive::drive;

fn texts(inputs: &[&str]) -> Vec<Vec<u8>> {
    inputs.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn parsers() {
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
fn filter() {
    let corpus = texts(&[
        "{\"year\": {\"$gte\": 2020, \"$lt\": 2030}, \"lang\": {\"$in\": [\"en\", \"de\"]}}",
        "{\"$or\": [{\"a\": 1}, {\"b.c\": {\"$exists\": true}}], \"$not\": {\"a\": {\"$ne\": \"x\"}}}",
        "{\"$and\": [{\"a\": {\"$not\": {\"$gt\": 1}}}, {\"b.c\": {\"$nin\": [1, null, {}]}}]}",
    ]);
    drive("filter", bodies::filter, &corpus);
}

#[test]
fn metric() {
    use affinis::MetricLearner;
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
        // Without its checksum, which the target adds.
        corpus.push(bytes[..bytes.len() - 4].to_vec());
        corpus.push(bytes);
    }
    let base = bodies::metric_base();
    let vectors = ndarray::array![[0.0, 0.0, 0.0], [1.0, 0.0, 0.1], [0.1, 1.0, 0.0]];
    let graded = [(1, 1.0), (2, -1.0)].map(|(item, grade)| affinis::Graded {
        query: 0,
        item,
        grade,
        weight: 1.0,
    });
    let examples = affinis::Examples {
        vectors,
        graded: graded.into(),
        pairs: vec![],
    };
    for rank in [1, 2] {
        let task = affinis::Task {
            dim: 3,
            learner: None,
            seed: 1,
            examples: &examples,
            incumbent: None,
            sample: &affinis::Sample::default(),
            change: Some(affinis::Change { base: &base, rank }),
            cancel: &|| false,
        };
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
fn model() {
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
fn operations() {
    let mut random = fastrand::Rng::with_seed(9);
    let corpus: Vec<Vec<u8>> = (0..4)
        .map(|_| (0..120).map(|_| random.u8(..)).collect())
        .collect();
    drive("operations", bodies::operations, &corpus);
}

#[test]
fn judgements() {
    let mut random = fastrand::Rng::with_seed(9);
    let corpus: Vec<Vec<u8>> = (0..4)
        .map(|_| (0..300).map(|_| random.u8(..)).collect())
        .collect();
    drive("judgements", bodies::judgements, &corpus);
}
