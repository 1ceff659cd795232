use super::available;
use crate::index::rows::pack;
use crate::index::tests::Random;

/// Checks one pair against f64: the error stays below n rounding steps of the sum of absolute products.
fn check(a: &[f32], b: &[f32]) {
    let exact: f64 = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
    let size: f64 = a.iter().zip(b).map(|(x, y)| (f64::from(*x) * f64::from(*y)).abs()).sum();
    let bound = size * f64::from(f32::EPSILON) * (a.len() as f64 / 8.0 + 8.0) + 1e-40;
    let (a, b) = (pack(a), pack(b));
    let zero = pack(&vec![0.0; a.len() * 16]);
    for kernels in available() {
        let error = (f64::from((kernels.dot)(&a, &b)) - exact).abs();
        assert!(error <= bound, "{}: error {error} above {bound}", kernels.name);
        let four = (kernels.dot4)(&a, [&b, &zero, &b, &a]);
        for sum in [four[0], four[2]] {
            assert!((f64::from(sum) - exact).abs() <= bound, "{} dot4", kernels.name);
        }
        assert_eq!(four[1], 0.0);
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
