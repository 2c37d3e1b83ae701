//! MatMul and Gemm along any axis.

use super::*;

/// The element at these indexes of a counted constant ([`Model::init`]).
fn w(at: &[usize], dims: &[usize]) -> f32 {
    at.iter().zip(dims).fold(0, |i, (a, d)| i * d + a) as f32 / 8.0 - 1.0
}

#[test]
fn weights_of_any_shape_on_either_side() {
    let x: Vec<f32> = (0..12).map(|i| ((i * 5) % 7) as f32 - 3.0).collect();
    let at = |c: usize, h: usize, k: usize| x[(c * 2 + h) * 3 + k];
    let right = |dims: &[i64]| {
        let m = Model::new(&[2, 2, 3]).init("w", dims).node("MatMul", &["x", "w"], "y", vec![]);
        run(&m.import().unwrap(), &x)
    };
    let sum = |f: &dyn Fn(usize) -> f32, n: usize| (0..n).map(f).sum::<f32>();
    let all = |f: &dyn Fn(usize, usize, usize) -> f32, last: usize| -> Vec<f32> {
        (0..4 * last).map(|i| f(i / (2 * last), i / last % 2, i % last)).collect()
    };
    let plain = all(&|c, h, o| sum(&|k| at(c, h, k) * w(&[k, o], &[3, 4]), 3), 4);
    close(&right(&[3, 4]), &plain);
    close(&right(&[1, 1, 3, 4]), &plain);
    close(&right(&[3]), &all(&|c, h, _| sum(&|k| at(c, h, k) * w(&[k], &[3]), 3), 1));
    // A matrix for each of the leading places: a convolution in groups.
    let grouped = all(&|c, h, o| sum(&|k| at(c, h, k) * w(&[c, k, o], &[2, 3, 4]), 3), 4);
    close(&right(&[2, 3, 4]), &grouped);
    let m = Model::new(&[2, 2, 3]).init("w", &[3, 3, 4]).node("MatMul", &["x", "w"], "y", vec![]);
    assert!(m.obstacle().contains("do not broadcast"));
    let left = |dims: &[i64]| {
        let m = Model::new(&[2, 2, 3]).init("w", dims).node("MatMul", &["w", "x"], "y", vec![]);
        run(&m.import().unwrap(), &x)
    };
    let want: Vec<f32> =
        (0..24).map(|i| sum(&|h| w(&[i / 3 % 4, h], &[4, 2]) * at(i / 12, h, i % 3), 2)).collect();
    close(&left(&[4, 2]), &want);
    let want: Vec<f32> = (0..6).map(|i| sum(&|h| w(&[h], &[2]) * at(i / 3, h, i % 3), 2)).collect();
    close(&left(&[2]), &want);
}

#[test]
fn what_is_no_product_of_a_wire_and_a_constant_is_refused() {
    let m = Model::new(&[3, 3]).node("MatMul", &["x", "x"], "y", vec![]);
    assert!(m.obstacle().contains("one of them must be a constant"));
    let m = Model::new(&[3]).init("w", &[2, 4]).node("Gemm", &["x", "w"], "y", vec![int("transB", 1)]);
    assert!(m.obstacle().contains("from 4 to 2"));
    let m = Model::new(&[3]).init("w", &[2, 3]).node("MatMul", &["w", "x"], "y", vec![]);
    assert!(m.obstacle().contains("mix images"));
}
