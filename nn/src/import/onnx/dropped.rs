//! What was dropped at the end of a network, for whoever wants the model's own output.

use super::Report;

/// A function that was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Function {
    /// Over the first axis of an image's output.
    Softmax,
    LogSoftmax,
    Sigmoid,
    /// `[1 - sigmoid(x), sigmoid(x)]` of one logit.
    Pair,
    /// Division by the sum of absolute values.
    Normalise,
}

impl Report {
    /// The model's own output for one image, of what the imported network gives for it under this shape.
    pub fn restore(&self, found: &[f32], shape: &[usize]) -> Vec<f64> {
        let row: Vec<f64> = found.iter().map(|&v| v.into()).collect();
        // Functions over classes: along the only axis there is, or the first of several.
        let classes = match shape.iter().filter(|&&d| d != 1).count() {
            0 | 1 => row.len(),
            _ => shape[0],
        };
        self.dropped.iter().filter_map(|d| d.function).fold(row, |row, function| function.of(row, classes))
    }
}

impl Function {
    fn of(self, row: Vec<f64>, classes: usize) -> Vec<f64> {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let places = row.len() / classes.max(1);
        // What all classes of a place have in common.
        let over = |f: &dyn Fn(&[f64]) -> f64| -> Vec<f64> {
            let column = |p: usize| (0..classes).map(|c| row[c * places + p]).collect::<Vec<_>>();
            (0..places).map(|p| f(&column(p))).collect()
        };
        let log_sum = |x: &[f64]| {
            let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            largest + x.iter().map(|v| (v - largest).exp()).sum::<f64>().ln()
        };
        let each = |common: Vec<f64>, f: fn(f64, f64) -> f64| {
            row.iter().enumerate().map(|(i, &v)| f(v, common[i % places])).collect()
        };
        match self {
            Function::Sigmoid => row.iter().map(|&x| sigmoid(x)).collect(),
            Function::Pair => row.iter().flat_map(|&x| [1.0 - sigmoid(x), sigmoid(x)]).collect(),
            Function::Softmax => each(over(&log_sum), |x, sum| (x - sum).exp()),
            Function::LogSoftmax => each(over(&log_sum), |x, sum| x - sum),
            Function::Normalise => {
                each(
                    over(&|x| x.iter().map(|v| v.abs()).sum()),
                    |x, sum| if sum == 0.0 { x } else { x / sum },
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Dropped;
    use super::*;

    fn restored(functions: &[Function], found: &[f32], shape: &[usize]) -> Vec<f64> {
        let dropped = |&function: &Function| Dropped {
            node: "n".into(),
            op: "f".into(),
            meaning: String::new(),
            function: Some(function),
        };
        let report = Report { dropped: functions.iter().map(dropped).collect(), ..Report::default() };
        let values = report.restore(found, shape);
        values.into_iter().map(|v| (v * 1e6).round() / 1e6).collect()
    }

    #[test]
    fn dropped_functions_can_be_applied() {
        use Function::*;
        let ln = |v: f32| v.ln();
        assert_eq!(restored(&[Softmax], &[ln(1.0), ln(3.0)], &[2]), [0.25, 0.75]);
        assert_eq!(restored(&[Softmax], &[1000.0, 1000.0], &[2, 1, 1]), [0.5, 0.5]);
        // Two classes at each of two places.
        assert_eq!(restored(&[Softmax], &[0.0, ln(1.0), 0.0, ln(3.0)], &[2, 1, 2]), [0.5, 0.25, 0.5, 0.75]);
        assert_eq!(restored(&[LogSoftmax], &[ln(1.0), ln(4.0)], &[2]), [-1.609438, -0.223144]);
        assert_eq!(restored(&[Pair], &[ln(3.0)], &[1]), [0.25, 0.75]);
        assert_eq!(restored(&[Sigmoid, Normalise], &[0.0, 0.0, 0.0], &[3]), [0.333333; 3]);
        assert_eq!(restored(&[], &[-1.5], &[1]), [-1.5]);
    }
}
