//! Affine maps `y = x * scale + shift` with coefficients that broadcast over a wire: what BatchNormalization is after training,
//! and what constants added or multiplied are.

/// Coefficients of a map on a wire.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Map {
    /// One extent per axis of the wire: the wire's own, or 1 where all places along the axis have the same coefficients.
    pub(crate) dims: Vec<usize>,
    /// Factors, in row-major order of `dims`.
    pub(crate) scale: Vec<f64>,
    /// Addends, likewise.
    pub(crate) shift: Vec<f64>,
}

impl Map {
    /// The same two numbers everywhere on a wire of `rank` axes.
    pub(crate) fn scalar(rank: usize, scale: f64, shift: f64) -> Map {
        Map { dims: vec![1; rank], scale: vec![scale], shift: vec![shift] }
    }
    pub(crate) fn is_finite(&self) -> bool {
        self.scale.iter().chain(&self.shift).all(|v| v.is_finite())
    }
    /// Whether it adds and does not multiply.
    pub(crate) fn only_adds(&self) -> bool {
        self.scale.iter().all(|&s| s == 1.0)
    }
    pub(crate) fn only_multiplies(&self) -> bool {
        self.shift.iter().all(|&t| t == 0.0)
    }
    /// Axes along which the coefficients vary.
    pub(crate) fn axes(&self) -> Vec<usize> {
        (0..self.dims.len()).filter(|&a| self.dims[a] != 1).collect()
    }
    /// The map behind a transpose of the wire.
    pub(crate) fn permuted(&self, perm: &[usize]) -> Map {
        let order = places(&self.dims, perm);
        let pick = |v: &[f64]| order.iter().map(|&i| v[i]).collect();
        Map {
            dims: perm.iter().map(|&a| self.dims[a]).collect(),
            scale: pick(&self.scale),
            shift: pick(&self.shift),
        }
    }
    /// The map on the wire in another shape, if it has one: the axes it varies along must stand together and stay whole.
    pub(crate) fn reshaped(&self, from: &[usize], to: &[usize]) -> Option<Map> {
        let axes = self.axes();
        let (Some(&first), Some(&last)) = (axes.first(), axes.last()) else {
            return Some(Map { dims: vec![1; to.len()], ..self.clone() });
        };
        let inside = &self.dims[first..=last];
        if inside != &from[first..=last] {
            return None;
        }
        let size = |s: &[usize]| s.iter().product::<usize>();
        let (before, behind) = (size(&from[..first]), size(&from[last + 1..]));
        // The first cut that leaves as much in front, and the first behind it that leaves as much behind.
        let start = (0..=to.len()).find(|&a| size(&to[..a]) == before)?;
        let end = (start..=to.len()).find(|&a| size(&to[a..]) == behind)?;
        let mut dims = vec![1; to.len()];
        dims[start..end].copy_from_slice(&to[start..end]);
        (size(&dims) == self.scale.len()).then(|| Map { dims, ..self.clone() })
    }
    /// Coefficients repeated along the axes where `dims` has an extent and this map has 1.
    pub(crate) fn spread(&self, dims: &[usize]) -> Map {
        let repeated = |v: &[f64]| repeat(v, &self.dims, dims);
        Map { dims: dims.to_vec(), scale: repeated(&self.scale), shift: repeated(&self.shift) }
    }
    /// Extents of this map followed by another.
    pub(crate) fn joined(&self, next: &Map) -> Vec<usize> {
        self.dims.iter().zip(&next.dims).map(|(a, b)| *a.max(b)).collect()
    }
    /// This map, and then `next`.
    pub(crate) fn then(&self, next: &Map) -> Map {
        let dims = self.joined(next);
        let (mut map, next) = (self.spread(&dims), next.spread(&dims));
        for (i, (s, t)) in map.scale.iter_mut().zip(&mut map.shift).enumerate() {
            (*s, *t) = (*s * next.scale[i], *t * next.scale[i] + next.shift[i]);
        }
        map
    }
    /// One pair of coefficients per place of axis 0 of the wire, if they vary along no other.
    pub(crate) fn per_channel(&self, shape: &[usize]) -> Option<Map> {
        let mut dims = vec![1; shape.len()];
        dims[0] = shape[0];
        self.axes().iter().all(|&a| a == 0).then(|| self.spread(&dims))
    }
}

/// Values of extents `from` repeated to extents `to`; those of `from` are the same or 1.
pub(crate) fn repeat<T: Copy>(v: &[T], from: &[usize], to: &[usize]) -> Vec<T> {
    let mut place = vec![0];
    for (&extent, &wanted) in from.iter().zip(to) {
        let along = |at: usize| (0..wanted).map(move |i| at * extent + if extent == 1 { 0 } else { i });
        place = place.into_iter().flat_map(along).collect();
    }
    place.into_iter().map(|at| v[at]).collect()
}

/// For each element of the transposed extents, its place in row-major order of `dims`.
fn places(dims: &[usize], perm: &[usize]) -> Vec<usize> {
    perm.iter().fold(vec![0], |before, &a| {
        let step: usize = dims[a + 1..].iter().product();
        before.into_iter().flat_map(|at| (0..dims[a]).map(move |i| at + i * step)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(dims: &[usize]) -> Map {
        let n: usize = dims.iter().product();
        let scale = (1..=n).map(|i| i as f64).collect();
        Map { dims: dims.to_vec(), scale, shift: (0..n).map(|i| -(i as f64)).collect() }
    }

    #[test]
    fn maps_go_behind_moves() {
        let turned = ramp(&[2, 1, 3]).permuted(&[2, 0, 1]);
        assert_eq!((turned.dims, turned.scale), (vec![3, 2, 1], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
        let reshaped =
            |dims: &[usize], from: &[usize], to: &[usize]| ramp(dims).reshaped(from, to).map(|m| m.dims);
        assert_eq!(reshaped(&[4, 1], &[4, 6], &[4, 2, 3]), Some(vec![4, 1, 1]));
        assert_eq!(reshaped(&[4, 1], &[4, 6], &[2, 2, 6]), Some(vec![2, 2, 1]));
        assert_eq!(reshaped(&[4, 1, 1], &[4, 1, 1], &[1, 4]), Some(vec![1, 4]));
        assert_eq!(reshaped(&[1, 3], &[4, 3], &[2, 2, 3]), Some(vec![1, 1, 3]));
        assert_eq!(reshaped(&[1, 1], &[4, 3], &[12]), Some(vec![1]));
        assert_eq!(reshaped(&[4, 1], &[4, 6], &[24]), None);
        assert_eq!(reshaped(&[2, 1, 3], &[2, 2, 3], &[4, 3]), None);
        assert_eq!(reshaped(&[4, 1], &[4, 6], &[3, 8]), None);
    }

    #[test]
    fn maps_follow_each_other() {
        let both = ramp(&[2, 1]).then(&ramp(&[1, 3]));
        assert_eq!(both.dims, [2, 3]);
        assert_eq!(both.scale, [1.0, 2.0, 3.0, 2.0, 4.0, 6.0]);
        assert_eq!(both.shift, [0.0, -1.0, -2.0, -1.0, -3.0, -5.0]);
        assert!(ramp(&[2, 1]).per_channel(&[2, 3]).is_some());
        assert_eq!(Map::scalar(2, 3.0, 1.0).per_channel(&[2, 3]).unwrap().scale, [3.0, 3.0]);
        assert!(ramp(&[1, 3]).per_channel(&[2, 3]).is_none());
    }
}
