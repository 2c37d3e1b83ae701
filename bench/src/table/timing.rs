//! Times of things that are to be compared, taken in turns.

use std::time::Instant;

/// Most turns; medians are over these.
const TURNS: usize = 21;

/// Fewest, of things that take long.
const LEAST: usize = 5;

/// A turn of one thing lasts at least this long, in nanoseconds.
const TURN: f64 = 4e6;

/// All turns last about this long, in nanoseconds, if they are many.
const ALL: f64 = 1e9;

/// Something to time.
pub struct Timed<'a> {
    /// Does it once.
    pub run: &'a mut dyn FnMut(),
    /// How many units once is.
    pub units: f64,
}

/// Median nanoseconds per unit of every thing, and the median of each one's time by the first one's in the same turn.
/// Turns go round, so that a slow moment of the machine falls on all of them.
pub fn in_turns(things: &mut [Timed]) -> Vec<(f64, f64)> {
    let once = |t: &mut Timed| {
        let begin = Instant::now();
        (t.run)();
        begin.elapsed().as_nanos() as f64
    };
    let warm: Vec<f64> = things.iter_mut().map(|t| once(t).min(once(t)).max(1.0)).collect();
    let repeats: Vec<usize> = warm.iter().map(|ns| (TURN / ns).ceil() as usize).collect();
    let turn: f64 = warm.iter().map(|ns| ns.max(TURN)).sum();
    let mut turns: Vec<Vec<f64>> = vec![];
    for _ in 0..((ALL / turn) as usize).clamp(LEAST, TURNS) {
        let turn = things.iter_mut().zip(&repeats).map(|(t, &n)| {
            let ns: f64 = (0..n).map(|_| once(t)).sum();
            ns / (n as f64 * t.units)
        });
        turns.push(turn.collect());
    }
    let of = |f: &dyn Fn(&[f64]) -> f64| median(turns.iter().map(|t| f(t)).collect());
    (0..things.len()).map(|i| (of(&|t| t[i]), of(&|t| t[i] / t[0]))).collect()
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_first() {
        let (mut a, mut b) = (0u64, 0u64);
        let mut run_a = || a += std::hint::black_box(1);
        let mut run_b = || b += std::hint::black_box(1);
        let got =
            in_turns(&mut [Timed { run: &mut run_a, units: 1.0 }, Timed { run: &mut run_b, units: 2.0 }]);
        assert_eq!((got.len(), got[0].1), (2, 1.0));
        assert!(got.iter().all(|g| g.0 > 0.0) && a > 0 && b > 0);
    }
}
