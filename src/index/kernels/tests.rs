use super::available;
use crate::index::layout::codes::{
    CODE_BYTES, CodeBits, CodeBlock, CodeRows, WEIGHT_LANES, WeightBlock,
};
use crate::index::layout::rows::pack;
use crate::index::tests::Random;

/// Checks one pair against f64: the error stays below n rounding steps of the sum of absolute
/// products.
fn check(a: &[f32], b: &[f32]) {
    let exact: f64 = a
        .iter()
        .zip(b)
        .map(|(x, y)| f64::from(*x) * f64::from(*y))
        .sum();
    let size: f64 = a
        .iter()
        .zip(b)
        .map(|(x, y)| (f64::from(*x) * f64::from(*y)).abs())
        .sum();
    let bound = size * f64::from(f32::EPSILON) * (a.len() as f64 / 8.0 + 8.0) + 1e-40;
    let (a, b) = (pack(a), pack(b));
    let lanes = (super::portable::KERNELS.dot64)(&a, &b).map(f64::to_bits);
    let zero = pack(&vec![0.0; a.len() * 16]);
    for kernels in available() {
        let error = (f64::from((kernels.dot)(&a, &b)) - exact).abs();
        assert!(
            error <= bound,
            "{}: error {error} above {bound}",
            kernels.name
        );
        let four = (kernels.dot4)(&a, [&b, &zero, &b, &a]);
        for sum in [four[0], four[2]] {
            assert!(
                (f64::from(sum) - exact).abs() <= bound,
                "{} dot4",
                kernels.name
            );
        }
        assert_eq!(four[1], 0.0);
        assert_eq!(
            (kernels.dot64)(&a, &b).map(f64::to_bits),
            lanes,
            "{} dot64",
            kernels.name
        );
        assert!(
            (lanes.map(f64::from_bits).iter().sum::<f64>() - exact).abs() <= size * 1e-13 + 1e-40
        );
    }
}

#[test]
fn kernels_agree_with_f64_at_every_kind_of_length() {
    let mut random = Random::new(7);
    for n in (1..=130).chain([
        255, 256, 257, 384, 511, 768, 1000, 1024, 1536, 2047, 3072, 4095, 4096,
    ]) {
        check(&random.vector(n), &random.vector(n));
    }
}

#[test]
fn kernels_agree_with_f64_on_adversarial_values() {
    let mut random = Random::new(8);
    for n in [1, 15, 16, 17, 100, 384, 4096] {
        let wild: Vec<f32> = (0..n)
            .map(|i| random.normal() * 10f32.powi((i % 31) as i32 - 15))
            .collect();
        check(&wild, &random.vector(n));
        let cancelling: Vec<f32> = (0..n)
            .map(|i| if i % 2 == 0 { 1e6 } else { -1e6 })
            .collect();
        check(&cancelling, &vec![1.0; n]);
        check(&vec![f32::MIN_POSITIVE / 4.0; n], &vec![1.0; n]);
        check(&vec![-0.0; n], &vec![1e30; n]);
    }
}

#[test]
fn code_kernels_agree_to_the_bit() {
    let mut random = Random::new(9);
    for n in (1..=200).chain([255, 256, 257, 384, 1000, 1024, 4096]) {
        // The largest weights whose products fit: all of one sign, all codes as large as can be,
        // and random ones.
        let most = (i32::MAX / 256 / n).min(i32::from(i16::MAX)) as i16;
        for (bits, largest) in [(CodeBits::Four, 15), (CodeBits::Eight, 255)] {
            for kind in 0..4 {
                let weight = |random: &mut Random| match kind {
                    0 => most,
                    1 => -most,
                    _ => (random.normal() * f32::from(most) / 3.0)
                        .clamp(-f32::from(most), f32::from(most)) as i16,
                };
                let weights: Vec<i16> = (0..n).map(|_| weight(&mut random)).collect();
                let code = |random: &mut Random| {
                    if kind < 3 {
                        largest
                    } else {
                        random.next() as u8 & largest
                    }
                };
                let rows: Vec<Vec<u8>> = (0..7)
                    .map(|_| (0..n).map(|_| code(&mut random)).collect())
                    .collect();
                code_kernels_sum(bits, &weights, &rows);
            }
        }
    }
}

/// Checks the kernels' sums for more rows than four at a time and for fewer, some of them twice.
fn code_kernels_sum(bits: CodeBits, weights: &[i16], rows: &[Vec<u8>]) {
    let exact: Vec<i32> = rows
        .iter()
        .map(|row| {
            row.iter()
                .zip(weights)
                .map(|(c, w)| i64::from(*c) * i64::from(*w))
                .sum::<i64>() as i32
        })
        .collect();
    let stride = bits.blocks(weights.len());
    let mut padded = weights.to_vec();
    padded.resize(stride * bits.lanes(), 0);
    let padded: Vec<WeightBlock> = padded
        .as_chunks::<WEIGHT_LANES>()
        .0
        .iter()
        .copied()
        .map(WeightBlock)
        .collect();
    let mut blocks = vec![CodeBlock([0; CODE_BYTES]); stride * rows.len()];
    for (row, blocks) in rows.iter().zip(blocks.chunks_mut(stride)) {
        bits.pack(row, blocks);
    }
    let ids = [6, 0, 3, 1, 2, 2, 5, 4];
    for kernels in available() {
        let kernel = kernels.codes(bits);
        for count in 0..=ids.len() {
            let mut sums = vec![0; count];
            kernel(
                &padded,
                CodeRows::new(stride, &blocks),
                &ids[..count],
                &mut sums,
            );
            let exact: Vec<i32> = ids[..count].iter().map(|id| exact[*id as usize]).collect();
            assert_eq!(
                sums,
                exact,
                "{} {bits:?} at {} of {count}",
                kernels.name,
                weights.len()
            );
        }
    }
}

/// Not a test: what `benches/callgrind.sh` counts the instructions of.
#[test]
#[ignore = "run under callgrind"]
fn loops() {
    let calls = std::env::var("AFFINIS_CALLS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    let mut random = Random::new(1);
    let (a, b) = (pack(&random.vector(384)), pack(&random.vector(384)));
    let weights = |bits: CodeBits| {
        vec![WeightBlock([3; WEIGHT_LANES]); bits.blocks(384) * bits.lanes() / WEIGHT_LANES]
    };
    let codes = |bits: CodeBits| vec![CodeBlock([200; CODE_BYTES]); 4 * bits.blocks(384)];
    let (few, many) = (CodeBits::Four, CodeBits::Eight);
    let (few_weights, many_weights, few_codes, many_codes) =
        (weights(few), weights(many), codes(few), codes(many));
    let kernels = available()[0];
    let mut sums = [0; 4];
    for _ in 0..calls {
        let (a, b) = std::hint::black_box((&*a, &*b));
        std::hint::black_box((kernels.dot)(a, b));
        std::hint::black_box((kernels.dot4)(a, [b; 4]));
        std::hint::black_box((kernels.dot64)(a, b));
        (kernels.nibbles)(
            &few_weights,
            CodeRows::new(few.blocks(384), &few_codes),
            &[0, 1, 2, 3],
            &mut sums,
        );
        (kernels.bytes)(
            &many_weights,
            CodeRows::new(many.blocks(384), &many_codes),
            &[0, 1, 2, 3],
            &mut sums,
        );
        std::hint::black_box(&sums);
    }
}
