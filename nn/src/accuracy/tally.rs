//! Errors of one layer while they are counted.

use super::Layer;

/// Bins of the histogram of errors.
pub const BINS: usize = 18;

/// How far float32 may be beyond a limit that the exact value keeps.
const FLOAT: f64 = 1e-6;

/// Sums and maxima over the values of one layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    values: u64,
    peak: f64,
    /// Of the float run alone.
    peak_float: f64,
    sum_float: f64,
    worst: f64,
    sum: f64,
    own: f64,
    /// Length of an ulp.
    ulp: f64,
    wraps: u64,
    histogram: [u64; BINS],
}

/// A quotient for reports, which know no infinity.
fn ratio(a: f64, b: f64) -> f64 {
    if a == 0.0 { 0.0 } else { (a / b).min(f64::MAX) }
}

fn bin(ulps: f64) -> usize {
    (ulps.log2().floor() as i64).saturating_add(2).clamp(0, BINS as i64 - 1) as usize
}

impl Tally {
    /// Counts one image: the float run, the fixed run, and the float operation on the fixed operands. `limit` is the
    /// contract in real terms.
    pub(super) fn add(&mut self, float: &[f32], fixed: &[f64], alone: &[f32], (ulp, limit): (f64, f64)) {
        self.ulp = ulp;
        for ((x, y), z) in float.iter().zip(fixed).zip(alone) {
            let (x, z) = (f64::from(*x), f64::from(*z));
            let error = (x - y).abs();
            self.values += 1;
            // NaN from an infinite float must not hide.
            let most =
                [x, *y, z].into_iter().fold(0.0, |m, v| if v.is_nan() { f64::MAX } else { v.abs().max(m) });
            self.peak = self.peak.max(most.min(f64::MAX));
            self.peak_float = self.peak_float.max(x.abs());
            self.sum_float += x.abs();
            self.worst = self.worst.max(error);
            self.sum += error;
            self.own += (z - y).abs();
            self.wraps += u64::from(!(z.abs() <= limit * (1.0 + FLOAT) && y.abs() <= limit));
            self.histogram[bin(error / ulp)] += 1;
        }
    }

    pub(super) fn join(mut self, other: Tally) -> Tally {
        self.values += other.values;
        self.peak = self.peak.max(other.peak);
        self.peak_float = self.peak_float.max(other.peak_float);
        self.sum_float += other.sum_float;
        self.worst = self.worst.max(other.worst);
        self.sum += other.sum;
        self.own += other.own;
        self.ulp = self.ulp.max(other.ulp);
        self.wraps += other.wraps;
        self.histogram.iter_mut().zip(other.histogram).for_each(|(a, b)| *a += b);
        self
    }

    /// Largest magnitude of the float run.
    pub(super) fn peak_float(&self) -> f64 {
        self.peak_float
    }

    pub(super) fn layer(&self, name: &str, op: &'static str, limit: f64, weights_relative: f64) -> Layer {
        let mean = |sum: f64| if self.values == 0 { 0.0 } else { sum / self.values as f64 };
        Layer {
            name: name.into(),
            op,
            values: self.values,
            peak: self.peak,
            limit,
            // A layer of zeros has all the room there is.
            headroom_bits: (limit / self.peak.max(self.ulp)).log2(),
            worst_ulp: ratio(self.worst, self.ulp),
            mean_ulp: ratio(mean(self.sum), self.ulp),
            worst_relative: ratio(self.worst, self.peak_float),
            mean_relative: ratio(self.sum, self.sum_float),
            own_relative: ratio(self.own, self.sum_float),
            weights_relative,
            wraps: self.wraps,
            histogram: self.histogram.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_fall_into_their_bins() {
        let at = [0.0, 0.49, 0.5, 0.99, 1.0, 1.99, 2.0, 4.0, 1e300].map(bin);
        assert_eq!(at, [0, 0, 1, 1, 2, 2, 3, 4, BINS - 1]);
    }

    #[test]
    fn a_layer_by_hand() {
        let mut t = Tally::default();
        t.add(&[1.0, -2.0], &[1.25, -2.0], &[1.0, -2.0], (0.25, 2.0));
        let mut u = Tally::default();
        u.add(&[3.0, 0.0], &[-1.0, 0.0], &[3.0, 0.0], (0.25, 2.0));
        let layer = t.join(u).layer("x", "relu", 2.0, 0.0);
        assert_eq!((layer.values, layer.peak, layer.wraps), (4, 3.0, 1));
        assert_eq!((layer.worst_ulp, layer.mean_ulp), (16.0, 4.25));
        assert_eq!((layer.worst_relative, layer.mean_relative), (4.0 / 3.0, 4.25 / 6.0));
        assert!(layer.headroom_bits < 0.0);
        assert_eq!((layer.histogram[0], layer.histogram[2], layer.histogram[6]), (2, 1, 1));
        let mut nan = Tally::default();
        nan.add(&[f32::NAN], &[0.0], &[f32::NAN], (0.25, 2.0));
        assert_eq!(nan.wraps, 1);
    }
}
