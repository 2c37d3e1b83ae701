//! What passes between an owner of values and the parties: mask keys in, masked values out, result shares back.
//!
//! An owner gets from each party the key of its mask share (16 bytes per tensor or image instead of the share itself),
//! sends the same masked value to both, and adds the two shares of a result. Nothing here goes through the other party.

use crate::backend::{Packed, Packet};
use crate::deal::FRESH;
use crate::prg::{Origin, Streams};
use crate::{Backend, Cpu, Error, Form, Mask, Masked, PartyId, Result, Ring, Seed};

/// Key of a party's share of the mask of weight tensor `index`: of the key set's weight seed, one stream per tensor.
pub fn weight_key(seed: &Seed, origin: Origin, index: u32) -> [u8; 16] {
    crate::prg::owner_key(seed, origin, index, 0)
}

/// Key of a party's share of the mask of an image's input, the first gate of every program.
pub fn input_key(seed: &Seed, origin: Origin, image: u32) -> [u8; 16] {
    crate::prg::owner_key(seed, origin, 0, image.into())
}

/// Keys of a party's shares of the masks of these rows of a data set, one per row; `column` tells inputs (0) from targets (1).
/// Rows are masked once, and used in every epoch.
pub fn row_keys(seed: &Seed, origin: Origin, column: u32, rows: &[usize]) -> Vec<[u8; 16]> {
    rows.iter().map(|&row| crate::prg::owner_key(seed, origin, column, row as u64)).collect()
}

/// A mask share from its key: `len` words of `bits` bits.
pub fn mask_share<R: Ring>(key: &[u8; 16], len: usize, bits: u32) -> Vec<R> {
    Cpu::<R>::new().expand(Streams::from_key(key).field(0), 0, len, bits)
}

/// `x + r`, packed for both parties. `keys` are both parties' keys, block after block of `x` (one per image, or one).
pub fn mask<R: Ring>(x: &[R], keys: [&[[u8; 16]]; 2], bits: u32) -> Result<Vec<u8>> {
    let blocks = keys[0].len();
    if blocks == 0 || keys[1].len() != blocks || !x.len().is_multiple_of(blocks) {
        return Err(Error::shape(
            "input",
            format!("{} values under {} and {} keys", x.len(), blocks, keys[1].len()),
        ));
    }
    let dev = Cpu::<R>::new();
    let row = x.len() / blocks;
    let share = |p: usize| keys[p].iter().flat_map(|k| mask_share::<R>(k, row, bits)).collect::<Vec<R>>();
    let (one, x) = (R::ONE, x.to_vec());
    let masked = dev.lin(&[(one, &x), (one, &share(0)), (one, &share(1))], bits);
    Ok(dev.pack(&masked, bits))
}

/// Both parties' shares of a result, packed at `bits`, added up: the signed values.
pub fn join<R: Ring>(shares: [&[u8]; 2], len: usize, bits: u32) -> Result<Vec<R>> {
    let want = crate::record::packed_len(bits, len);
    if shares.iter().any(|s| s.len() != want) {
        return Err(Error::shape(
            "output",
            format!("shares of {} and {} bytes, wanted {want}", shares[0].len(), shares[1].len()),
        ));
    }
    let dev = Cpu::<R>::new();
    let part = |p: usize| dev.unpack(&Packed { bytes: shares[p].into(), at: 0, width: bits, len });
    Ok(dev.lin(&[(R::ONE, &part(0)), (R::ONE, &part(1))], bits))
}

impl<B: Backend> Mask<B> {
    /// The mask of weight tensor `index`, from both parties' weight seeds.
    pub fn weight(dev: &B, form: &Form, seeds: &[Seed; 2], origin: Origin, index: u32) -> Self {
        let share = |seed| weight_share(dev, form, seed, origin, index);
        Mask { form: form.clone(), shares: [share(&seeds[0]), share(&seeds[1])] }
    }
    /// The masks of rows of a data set, from both parties' keys; `form` is that of the rows.
    pub fn of_rows(dev: &B, form: &Form, keys: [&[[u8; 16]]; 2]) -> Self {
        Mask { form: form.clone(), shares: keys.map(|k| dev.expand_each(k, form.shape.row(), form.bits)) }
    }
}

impl<B: Backend> Masked<B> {
    /// Rows of a data set as their owner masked them, with this party's keys.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not as many bytes, or keys, as the rows want.
    pub fn of_rows(dev: &B, form: &Form, packed: &[u8], keys: &[[u8; 16]]) -> Result<Self> {
        Masked::from_owner(dev, form, packed, dev.expand_each(keys, form.shape.row(), form.bits))
    }
    /// An open wire for its owner, packed: both parties' shares add up to the value.
    ///
    /// # Errors
    /// Those of the device.
    pub fn for_owner(&self, dev: &B, me: PartyId) -> Result<Vec<u8>> {
        let minus = B::Ring::ZERO.sub(B::Ring::ONE);
        let share = match me {
            PartyId::P0 => dev.lin(&[(B::Ring::ONE, &self.value), (minus, &self.share)], self.form.bits),
            PartyId::P1 => dev.lin(&[(minus, &self.share)], self.form.bits),
        };
        dev.pack(&share, self.form.bits).wait()
    }
    /// A wire whose masked value came, packed, from its owner; `share` is this party's share of its mask.
    pub fn from_owner(dev: &B, form: &Form, packed: &[u8], share: B::Buf) -> Result<Self> {
        let len = form.len();
        if packed.len() as u64 != form.packed_bytes() || dev.len(&share) != len {
            return Err(Error::shape(
                "input",
                format!("{} bytes for {len} values of {} bits", packed.len(), form.bits),
            ));
        }
        let value = dev.unpack(&Packed { bytes: packed.into(), at: 0, width: form.bits, len });
        Ok(Masked::new(form.clone(), value, share))
    }
    /// A weight tensor under the key set's weight mask.
    pub fn weight(
        dev: &B,
        form: &Form,
        packed: &[u8],
        seed: &Seed,
        origin: Origin,
        index: u32,
    ) -> Result<Self> {
        Masked::from_owner(dev, form, packed, weight_share(dev, form, seed, origin, index))
    }
}

fn weight_share<B: Backend>(dev: &B, form: &Form, seed: &Seed, origin: Origin, index: u32) -> B::Buf {
    let streams = Streams::from_key(&weight_key(seed, origin, index));
    dev.expand(streams.field(FRESH), 0, form.len(), form.bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prg::KeySetId;

    #[test]
    fn repro_dealer_owner_and_parties_derive_the_same_weight_mask() {
        let (dev, form) = (Cpu::<u32>::new(), Form::new([2, 3], 32));
        let origin = Origin { set: KeySetId([1; 16]), segment: Origin::WEIGHTS };
        let seeds = [Seed::new([1; 32]), Seed::new([2; 32])];
        let keys = [0, 1].map(|p| [weight_key(&seeds[p], origin, 4)]);
        let x = [1u32, 2, 3, 4, 5, u32::MAX];
        let packed = mask(&x, [&keys[0], &keys[1]], 32).unwrap();
        let sides = [0, 1].map(|p| Masked::weight(&dev, &form, &packed, &seeds[p], origin, 4).unwrap());
        let clear: Vec<u32> = (0..6)
            .map(|i| sides[0].value[i].wrapping_sub(sides[0].share[i]).wrapping_sub(sides[1].share[i]))
            .collect();
        assert_eq!(clear, x);
        // and so does the dealer
        let dealt = Mask::weight(&dev, &form, &seeds, origin, 4);
        assert!((0..2).all(|p| dealt.shares[p] == sides[p].share));
        // and what a party knew of it can be overwritten
        let [mut first, _] = sides;
        assert!(first.additive(&dev).iter().any(|v| *v != 0));
        first.wipe(&dev);
        assert!(first.share.is_empty() && first.additive(&dev).is_empty(), "overwritten, and gone");
        let shares = [0, 1].map(|p| dev.pack(&if p == 0 { vec![7u32; 6] } else { x.to_vec() }, 20));
        assert_eq!(join::<u32>([&shares[0], &shares[1]], 6, 20).unwrap()[0], 8);
    }

    #[test]
    fn lengths_are_checked() {
        assert!(mask(&[1u32; 4], [&[[0; 16]; 2], &[[0; 16]; 1]], 32).is_err());
        assert!(mask(&[1u32; 4], [&[[0; 16]; 3], &[[0; 16]; 3]], 32).is_err());
        assert!(join::<u32>([&[0; 8], &[0; 7]], 2, 32).is_err());
        let dev = Cpu::<u32>::new();
        assert!(Masked::from_owner(&dev, &Form::new([1, 2], 32), &[0; 7], vec![0; 2]).is_err());
    }
}
