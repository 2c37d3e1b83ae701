//! How the images of a data owner are cut into runs.

use super::FIRST_GRANT;
use twoply_preprocessing::Cut;

/// Images of every run when one data owner has all images of a fresh key set computed over one link, `batch` to a request:
/// runs end where requests and segments do, and the first has at most [`FIRST_GRANT`].
pub fn runs(cut: Cut, batch: u64) -> Vec<usize> {
    let (mut all, mut next) = (vec![], 0);
    while next < cut.images() {
        let end = cut.images().min(next.saturating_add(batch.max(1)));
        let first = match next {
            0 => end.min(u64::from(FIRST_GRANT.min(cut.segment_images()))),
            _ => next,
        };
        all.extend(cut.pieces(next..first).chain(cut.pieces(first..end)).map(|(_, piece)| piece.len()));
        next = end;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_run_is_short() {
        let of = |images, segment, batch| runs(Cut::new(images, segment).unwrap(), batch);
        assert_eq!(of(3, 128, 1), [1, 1, 1]);
        assert_eq!(of(16, 128, 16), [16]);
        assert_eq!(of(17, 128, 128), [16, 1]);
        assert_eq!(of(300, 128, 128), [16, 112, 128, 44]);
        assert_eq!(of(60, 128, 20), [16, 4, 20, 20]);
        assert_eq!(of(24, 20, 24), [16, 4, 4]);
        // a first segment that ends before the first grant does
        assert_eq!(of(24, 10, 24), [10, 10, 4]);
    }
}
