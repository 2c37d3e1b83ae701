//! What a network takes: the shape of an image, how its pixels are normalised, and how the imported file had its axes.

use super::elements;
use serde::{Deserialize, Serialize};

/// The input of a network.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Name, from the imported file.
    pub name: String,
    /// Shape of one image, without the batch axis; `[c, h, w]` for pictures.
    pub shape: Vec<usize>,
    /// What the data owner does to raw pixels before encoding them.
    #[serde(default)]
    pub normalise: Normalise,
    /// Where the imported file has the channels of its pictures; the graph has them first.
    #[serde(default, skip_serializing_if = "Layout::is_first")]
    pub layout: Layout,
}

/// Order of the axes of pictures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// `[c, h, w]`.
    #[default]
    ChannelsFirst,
    /// `[h, w, c]`.
    ChannelsLast,
}

impl Layout {
    fn is_first(&self) -> bool {
        *self == Layout::ChannelsFirst
    }
}

/// `x = (raw * scale - mean[c]) / std[c]`, c the channel. Applied in floating point by the data owner's client before
/// encoding. An empty `mean` means 0 everywhere, an empty `std` means 1.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalise {
    /// Factor on the raw value: 1/255 brings bytes to 0..=1.
    pub scale: f64,
    /// Mean per channel, after scaling.
    #[serde(default)]
    pub mean: Vec<f64>,
    /// Standard deviation per channel, after scaling.
    #[serde(default)]
    pub std: Vec<f64>,
}

impl Default for Normalise {
    fn default() -> Self {
        Normalise { scale: 1.0, mean: Vec::new(), std: Vec::new() }
    }
}

impl Normalise {
    /// The normalised value of one raw value of `channel`.
    pub fn apply(&self, raw: f64, channel: usize) -> f64 {
        let mean = self.mean.get(channel).copied().unwrap_or(0.0);
        let std = self.std.get(channel).copied().unwrap_or(1.0);
        (raw * self.scale - mean) / std
    }
    /// The raw value that [`Normalise::apply`] makes `value` of.
    pub fn invert(&self, value: f64, channel: usize) -> f64 {
        let mean = self.mean.get(channel).copied().unwrap_or(0.0);
        let std = self.std.get(channel).copied().unwrap_or(1.0);
        (value * std + mean) / self.scale
    }
}

impl Input {
    /// Channels that [`Normalise`] tells apart: the first extent of `[c, h, w]`, otherwise 1.
    pub fn channels(&self) -> usize {
        if self.shape.len() == 3 { self.shape[0] } else { 1 }
    }
    /// Values of whole images as the imported file has them, in the order of the graph.
    pub fn turned<T: Copy>(&self, values: &[T]) -> Vec<T> {
        let (Layout::ChannelsLast, &[channels, h, w]) = (self.layout, &self.shape[..]) else {
            return values.to_vec();
        };
        let plane =
            |image: &[T], c: usize| image.iter().skip(c).step_by(channels).copied().collect::<Vec<T>>();
        let image = |image: &[T]| (0..channels).flat_map(|c| plane(image, c)).collect::<Vec<T>>();
        values.chunks(channels * h * w).flat_map(image).collect()
    }
    /// Elements per image; 0 where the shape is beyond [`super::MAX_ELEMENTS`].
    pub fn row(&self) -> usize {
        elements(&self.shape).unwrap_or(0)
    }
    /// Smallest and largest normalised value a byte pixel of each channel can take.
    pub fn byte_range(&self) -> Vec<(f32, f32)> {
        let ends = |c| (self.normalise.apply(0.0, c) as f32, self.normalise.apply(255.0, c) as f32);
        (0..self.channels()).map(ends).map(|(a, b)| (a.min(b), a.max(b))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Graph;
    use super::super::check::tests::small;
    use super::*;

    #[test]
    fn normalise_uses_its_channel() {
        let input = Input {
            name: "x".into(),
            shape: vec![2, 1, 1],
            normalise: Normalise { scale: 1.0 / 255.0, mean: vec![0.0, 0.5], std: vec![1.0, 0.25] },
            layout: Layout::default(),
        };
        assert_eq!(input.byte_range(), [(0.0, 1.0), (-2.0, 2.0)]);
    }

    #[test]
    fn a_layout_is_noted_where_it_is_not_the_usual_one() {
        let mut g = small();
        assert!(!g.to_json().contains("layout"));
        g.input.layout = Layout::ChannelsLast;
        assert!(g.to_json().contains("\"layout\": \"channels_last\""));
        assert_eq!(Graph::from_json(g.to_json().as_bytes()).unwrap(), g);
        let input = Input { shape: vec![3, 1, 2], ..g.input };
        assert_eq!(input.turned(&[1, 2, 3, 4, 5, 6]), [1, 4, 2, 5, 3, 6]);
    }
}
