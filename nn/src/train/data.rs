//! The wires of a batch, from shares that were masked once: rows of several owners one below the other, columns of several
//! side by side.

use super::{Slice, Step};
use crate::{Error, Result};
use twoply_primitives::owner::row_keys;
use twoply_primitives::{Backend, Form, Local, Mask, Masked, Origin, Seed};

/// Number of the inputs' masks among those of a row.
pub(super) const INPUTS: u32 = 0;
/// Number of the targets' masks.
pub(super) const TARGETS: u32 = 1;

/// One share of the data, with what its holder knows of its masks.
pub struct Held<S> {
    /// Which part of the data it is.
    pub slice: Slice,
    /// Its data key set.
    pub origin: Origin,
    /// A party's seed, or the dealer's two.
    pub seed: S,
}

/// Where a row of a batch is: which share, and which of its rows.
type Place = (usize, usize);

/// Elements that lie side by side in every row of a batch.
struct Piece {
    width: usize,
    places: Vec<Place>,
}

/// The pieces of a batch of these rows, from left to right.
fn pieces<S>(data: &[Held<S>], rows: &[usize], column: u32) -> Result<Vec<Piece>> {
    let range = |h: &Held<S>| match column {
        INPUTS => h.slice.inputs.clone(),
        _ => 0..h.slice.targets,
    };
    // rows that are held out may be whole where those that are trained on come in columns
    let touched = |h: &&Held<S>| rows.iter().any(|row| h.slice.rows.contains(&(*row as u64)));
    let mut ranges: Vec<_> = data.iter().filter(touched).map(range).filter(|r| !r.is_empty()).collect();
    ranges.sort_unstable_by_key(|r| (r.start, r.end));
    ranges.dedup();
    let place = |row: usize, of: &std::ops::Range<usize>| -> Result<Place> {
        let row = row as u64;
        let found = data.iter().position(|h| range(h) == *of && h.slice.rows.contains(&row));
        let at = found.ok_or_else(|| Error::data("training data", format!("nobody brings row {row}")))?;
        Ok((at, (row - data[at].slice.rows.start) as usize))
    };
    let piece = |of: std::ops::Range<usize>| {
        let places = rows.iter().map(|row| place(*row, &of)).collect::<Result<_>>()?;
        Ok(Piece { width: of.len(), places })
    };
    ranges.into_iter().map(piece).collect()
}

/// Makes every piece and puts them together in the form that a step wants.
fn joined<S, W>(
    (data, rows, column): (&[Held<S>], &[usize], u32),
    form: &Form,
    make: impl Fn(&Form, &Piece) -> Result<W>,
    local: impl Fn(&Local, &[&W]) -> twoply_primitives::Result<W>,
) -> Result<W> {
    let pieces = pieces(data, rows, column)?;
    let of = |piece: &Piece| Form::new([rows.len(), piece.width], form.bits);
    let mut wires = pieces.iter().map(|p| make(&of(p), p)).collect::<Result<Vec<_>>>()?;
    let wire = match wires.len() {
        1 => wires.remove(0),
        _ => {
            let all: Vec<usize> = (0..pieces.iter().map(|p| p.width).sum()).collect();
            local(&Local::Gather(all.into()), &wires.iter().collect::<Vec<_>>())?
        }
    };
    Ok(local(&Local::Reshape(form.shape.0[1..].to_vec()), &[&wire])?)
}

fn forms(step: &Step) -> [(u32, Form); 2] {
    [(INPUTS, step.input()), (TARGETS, step.targets())]
}

/// The dealer's masks of a batch: of inputs, and of targets.
pub(super) fn masks<B: Backend>(
    dev: &B,
    data: &[Held<[Seed; 2]>],
    step: &Step,
    rows: &[usize],
) -> Result<[Mask<B>; 2]> {
    let one = |(column, form): (u32, Form)| {
        let make = |form: &Form, piece: &Piece| {
            let keys = |p: usize| -> Vec<[u8; 16]> {
                piece
                    .places
                    .iter()
                    .flat_map(|(at, row)| row_keys(&data[*at].seed[p], data[*at].origin, column, &[*row]))
                    .collect()
            };
            Ok(Mask::of_rows(dev, form, [&keys(0), &keys(1)]))
        };
        joined((data, rows, column), &form, make, |f, x| Mask::local(dev, f, x))
    };
    let [x, y] = forms(step).map(one);
    Ok([x?, y?])
}

/// A party's masked rows of one share, and its seed.
pub struct Stored {
    /// This party's seed.
    pub seed: Seed,
    /// Chunks of rows, packed; all but the last of one length.
    pub chunks: Vec<Vec<u8>>,
}

impl Stored {
    fn row(&self, row: usize, bytes: usize) -> Option<&[u8]> {
        let per = self.chunks.first()?.len() / bytes.max(1);
        let at = row.checked_rem(per)? * bytes;
        self.chunks.get(row / per)?.get(at..at + bytes)
    }
}

/// A party's wires of a batch: inputs, and targets.
pub(super) fn wires<B: Backend>(
    dev: &B,
    data: &[Held<Stored>],
    step: &Step,
    rows: &[usize],
) -> Result<[Masked<B>; 2]> {
    let word = step.recipe().n as usize / 8;
    let one = |(column, form): (u32, Form)| {
        let make = |form: &Form, piece: &Piece| {
            let (mut packed, mut keys) = (vec![], vec![]);
            for (at, row) in &piece.places {
                let held = &data[*at];
                let inputs = held.slice.inputs.len() * word;
                let bytes = held.seed.row(*row, held.slice.width() * word);
                let bytes =
                    bytes.ok_or_else(|| Error::data("training data", format!("row {row} is short")))?;
                packed.extend_from_slice(if column == INPUTS { &bytes[..inputs] } else { &bytes[inputs..] });
                keys.extend(row_keys(&held.seed.seed, held.origin, column, &[*row]));
            }
            Ok(Masked::of_rows(dev, form, &packed, &keys)?)
        };
        joined((data, rows, column), &form, make, |f, x| Masked::local(dev, f, x))
    };
    let [x, y] = forms(step).map(one);
    Ok([x?, y?])
}
