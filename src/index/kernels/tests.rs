use super::available;
use crate::index::codes::{CODE_LANES, CodeBlock, WEIGHT_LANES, WeightBlock};
use crate::index::rows::pack;
use crate::index::tests::Random;

/// Checks one pair against f64: the error stays below n rounding steps of the sum of absolute products.
fn check(a: &[f32], b: &[f32]) {
    let exact: f64 = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
    let size: f64 = a.iter().zip(b).map(|(x, y)| (f64::from(*x) * f64::from(*y)).abs()).sum();
    let bound = size * f64::from(f32::EPSILON) * (a.len() as f64 / 8.0 + 8.0) + 1e-40;
    let (a, b) = (pack(a), pack(b));
    let lanes = (super::portable::KERNELS.dot64)(&a, &b).map(f64::to_bits);
    let zero = pack(&vec![0.0; a.len() * 16]);
    for kernels in available() {
        let error = (f64::from((kernels.dot)(&a, &b)) - exact).abs();
        assert!(error <= bound, "{}: error {error} above {bound}", kernels.name);
        let four = (kernels.dot4)(&a, [&b, &zero, &b, &a]);
        for sum in [four[0], four[2]] {
            assert!((f64::from(sum) - exact).abs() <= bound, "{} dot4", kernels.name);
        }
        assert_eq!(four[1], 0.0);
        assert_eq!((kernels.dot64)(&a, &b).map(f64::to_bits), lanes, "{} dot64", kernels.name);
        assert!((lanes.map(f64::from_bits).iter().sum::<f64>() - exact).abs() <= size * 1e-13 + 1e-40);
    }
}

#[test]
fn kernels_agree_with_f64_at_every_kind_of_length() {
    let mut random = Random::new(7);
    for n in (1..=130).chain([255, 256, 257, 384, 511, 768, 1000, 1024, 1536, 2047, 3072, 4095, 4096]) {
        check(&random.vector(n), &random.vector(n));
    }
}

#[test]
fn kernels_agree_with_f64_on_adversarial_values() {
    let mut random = Random::new(8);
    for n in [1, 15, 16, 17, 100, 384, 4096] {
        let wild: Vec<f32> = (0..n).map(|i| random.normal() * 10f32.powi((i % 31) as i32 - 15)).collect();
        check(&wild, &random.vector(n));
        let cancelling: Vec<f32> = (0..n).map(|i| if i % 2 == 0 { 1e6 } else { -1e6 }).collect();
        check(&cancelling, &vec![1.0; n]);
        check(&vec![f32::MIN_POSITIVE / 4.0; n], &vec![1.0; n]);
        check(&vec![-0.0; n], &vec![1e30; n]);
    }
}

#[test]
fn code_kernels_agree_to_the_bit() {
    let mut random = Random::new(9);
    for n in (1..=200).chain([255, 256, 257, 384, 1000, 1024, 4096]) {
        // The largest weights whose products fit: all of one sign, all codes 255, and random ones.
        let most = (i32::MAX / 256 / n).min(i32::from(i16::MAX)) as i16;
        for kind in 0..4 {
            let weight = |random: &mut Random| match kind {
                0 => most,
                1 => -most,
                _ => (random.normal() * f32::from(most) / 3.0).clamp(-f32::from(most), f32::from(most)) as i16,
            };
            let weights: Vec<i16> = (0..n).map(|_| weight(&mut random)).collect();
            let code = |random: &mut Random| if kind < 3 { 255 } else { random.next() as u8 };
            let rows: [Vec<u8>; 4] = std::array::from_fn(|_| (0..n).map(|_| code(&mut random)).collect());
            let exact = rows
                .clone()
                .map(|row| row.iter().zip(&weights).map(|(c, w)| i64::from(*c) * i64::from(*w)).sum::<i64>() as i32);
            let weights: Vec<WeightBlock> = weights.chunks(WEIGHT_LANES).map(|w| WeightBlock(padded(w))).collect();
            let rows = rows.map(|row| row.chunks(CODE_LANES).map(|c| CodeBlock(padded(c))).collect::<Vec<_>>());
            for kernels in available() {
                let four = (kernels.codes4)(&weights, rows.each_ref().map(|row| &**row));
                assert_eq!(four, exact, "{} codes4 at {n}", kernels.name);
                let one = rows.each_ref().map(|row| (kernels.codes)(&weights, row));
                assert_eq!(one, exact, "{} codes at {n}", kernels.name);
            }
        }
    }
}

/// Not a test: what `benches/callgrind.sh` counts the instructions of.
#[test]
#[ignore = "run under callgrind"]
fn loops() {
    let calls = std::env::var("AFFINIS_CALLS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut random = Random::new(1);
    let (a, b) = (pack(&random.vector(384)), pack(&random.vector(384)));
    let weights: Vec<WeightBlock> = (0..384 / WEIGHT_LANES).map(|_| WeightBlock([3; WEIGHT_LANES])).collect();
    let codes: Vec<CodeBlock> = (0..384 / CODE_LANES).map(|_| CodeBlock([200; CODE_LANES])).collect();
    let kernels = available()[0];
    for _ in 0..calls {
        let (a, b, codes) = std::hint::black_box((&*a, &*b, &*codes));
        std::hint::black_box((kernels.dot)(a, b));
        std::hint::black_box((kernels.dot4)(a, [b; 4]));
        std::hint::black_box((kernels.dot64)(a, b));
        std::hint::black_box((kernels.codes)(&weights, codes));
        std::hint::black_box((kernels.codes4)(&weights, [codes; 4]));
    }
}

fn padded<T: Copy + Default, const N: usize>(values: &[T]) -> [T; N] {
    std::array::from_fn(|i| values.get(i).copied().unwrap_or_default())
}
