//! Windows that hang over, pools over everything, and convolutions turned round.

use super::*;

#[test]
fn windows_hang_over_the_end() {
    let x: Vec<f32> = (1..=25).map(|i| i as f32).collect();
    let two = || vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2]), int("ceil_mode", 1)];
    let max = Model::new(&[1, 5, 5]).node("MaxPool", &["x"], "y", two()).import().unwrap();
    assert_eq!(run(&max, &x), [7.0, 9.0, 10.0, 17.0, 19.0, 20.0, 22.0, 24.0, 25.0]);
    // The mean of what is there; padding counts if it shall, and what hangs over it never does.
    let mean = |extra: Vec<Attribute>| {
        let m = Model::new(&[1, 5, 5]).node("AveragePool", &["x"], "y", [two(), extra].concat());
        run(&m.import().unwrap(), &x)
    };
    close(&mean(vec![]), &[4.0, 6.0, 7.5, 14.0, 16.0, 17.5, 21.5, 23.5, 25.0]);
    let counted = mean(vec![ints("pads", &[0, 0, 1, 1]), int("count_include_pad", 1)]);
    close(&counted, &[4.0, 6.0, 3.75, 14.0, 16.0, 8.75, 10.75, 11.75, 6.25]);
    let one = vec![ints("kernel_shape", &[3]), ints("strides", &[2]), ints("pads", &[1, 0])];
    let m = |mode| {
        let attributes = [one.clone(), vec![int("ceil_mode", 1), int("count_include_pad", mode)]].concat();
        Model::new(&[1, 5]).node("AveragePool", &["x"], "y", attributes).import().unwrap()
    };
    close(&run(&m(1), &[3.0, 6.0, 9.0, 12.0, 15.0]), &[3.0, 9.0, 13.5]);
    close(&run(&m(0), &[3.0, 6.0, 9.0, 12.0, 15.0]), &[4.5, 9.0, 13.5]);
}

#[test]
fn padding_that_readers_begin_at_different_rows_is_refused() {
    let conv = |kernel: i64, stride: i64, dilation: i64| {
        Model::new(&[1, 12, 12]).init("w", &[1, 1, kernel, kernel]).node(
            "Conv",
            &["x", "w"],
            "y",
            vec![
                text("auto_pad", "SAME_UPPER"),
                ints("strides", &[stride; 2]),
                ints("dilations", &[dilation; 2]),
            ],
        )
    };
    assert_eq!(conv(1, 2, 1).import().unwrap().graph.shapes().unwrap()[0], [1, 6, 6]);
    assert!(conv(1, 4, 1).obstacle().contains("different rows"));
    assert!(conv(3, 1, 2).obstacle().contains("dilations"));
}

#[test]
fn reductions_over_any_axes() {
    let x: Vec<f32> = (0..24).map(|i| ((i * 7) % 24) as f32 - 10.0).collect();
    for (op, fold) in [
        ("ReduceSum", (|v: &[f32]| v.iter().sum()) as fn(&[f32]) -> f32),
        ("ReduceMean", |v| v.iter().sum::<f32>() / v.len() as f32),
        ("ReduceMax", |v| v.iter().copied().fold(f32::MIN, f32::max)),
        ("ReduceMin", |v| v.iter().copied().fold(f32::MAX, f32::min)),
    ] {
        for axes in [&[1][..], &[-1], &[1, 3], &[2, 3], &[1, 2, 3]] {
            let m = Model::new(&[2, 3, 4]).node(op, &["x"], "y", vec![ints("axes", axes)]).import().unwrap();
            let gone = |a: i64| axes.contains(&a) || axes.contains(&(a - 4));
            let mut groups: std::collections::BTreeMap<[usize; 3], Vec<f32>> = Default::default();
            for (i, v) in x.iter().enumerate() {
                let at = [i / 12, i / 4 % 3, i % 4];
                let key = [0, 1, 2].map(|a| if gone(a as i64 + 1) { 0 } else { at[a] });
                groups.entry(key).or_default().push(*v);
            }
            let want: Vec<f32> = groups.values().map(|v| fold(v)).collect();
            close(&run(&m, &x), &want);
        }
        let all = Model::new(&[2]).node(op, &["x"], "y", vec![]);
        assert!(all.obstacle().contains("mix images"));
    }
}

/// Every product added where it belongs, from the definition.
#[test]
fn convolutions_turned_round() {
    let (stride, pads, dilation, extra) = (3, (1, 2), 2, 1);
    let m = Model::new(&[4, 5]).init("w", &[4, 1, 3]).floats("b", &[2], &[0.5, -0.5]).node(
        "ConvTranspose",
        &["x", "w", "b"],
        "y",
        vec![
            int("group", 2),
            ints("strides", &[stride]),
            ints("pads", &[pads.0, pads.1]),
            ints("dilations", &[dilation]),
            ints("output_padding", &[extra]),
        ],
    );
    let x: Vec<f32> = (0..20).map(|i| ((i * 5) % 7) as f32 - 3.0).collect();
    let length = stride * 4 + dilation * 2 + 1 + extra - pads.0 - pads.1;
    let mut want = [vec![0.5; length as usize], vec![-0.5; length as usize]];
    for (c, i, k) in (0..60).map(|t| (t / 15, t / 3 % 5, t % 3)) {
        let at = i as i64 * stride + k as i64 * dilation - pads.0;
        if (0..length).contains(&at) {
            want[c / 2][at as usize] += x[c * 5 + i] * ((c * 3 + k) as f32 / 8.0 - 1.0);
        }
    }
    close(&run(&m.import().unwrap(), &x), &want.concat());
    let bad = Model::new(&[3, 5]).init("w", &[4, 1, 3]).node("ConvTranspose", &["x", "w"], "y", vec![]);
    assert!(bad.obstacle().contains("4 channels"));
}
