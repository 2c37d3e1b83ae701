//! Wires at rest: what a party, and the dealer, write of a wire that outlives its segment, such as weights in training.
//!
//! Bytes are packed as on their way to an owner. What a party writes says no more than what it held; nothing here is sent.

use crate::backend::{Packed, Packet};
use crate::{Backend, Error, Form, Mask, Masked, Result};
use zeroize::Zeroizing;

fn pack<B: Backend>(dev: &B, buf: &B::Buf, form: &Form) -> Result<Zeroizing<Vec<u8>>> {
    dev.pack(buf, form.bits).wait().map(Zeroizing::new)
}

fn unpack<B: Backend>(dev: &B, form: &Form, bytes: &[u8]) -> Result<B::Buf> {
    let (len, wanted) = (form.len(), form.packed_bytes());
    if bytes.len() as u64 != wanted {
        let what = format!("{} bytes where {len} values of {} bits have {wanted}", bytes.len(), form.bits);
        return Err(Error::shape("a kept wire", what));
    }
    Ok(dev.unpack(&Packed { bytes: bytes.into(), at: 0, width: form.bits, len }))
}

impl<B: Backend> Mask<B> {
    /// Both parties' shares, packed: the dealer's to keep.
    ///
    /// # Errors
    /// Those of the device.
    pub fn kept(&self, dev: &B) -> Result<[Zeroizing<Vec<u8>>; 2]> {
        Ok([pack(dev, &self.shares[0], &self.form)?, pack(dev, &self.shares[1], &self.form)?])
    }
    /// A mask that was kept.
    ///
    /// # Errors
    /// [`Error::Shape`] for bytes of another length than the form's.
    pub fn from_kept(dev: &B, form: &Form, shares: [&[u8]; 2]) -> Result<Self> {
        let [a, b] = shares;
        Ok(Mask { form: form.clone(), shares: [unpack(dev, form, a)?, unpack(dev, form, b)?] })
    }
}

impl<B: Backend> Masked<B> {
    /// The masked value, which both parties have, and this party's share of its mask, each packed: the party's to keep.
    ///
    /// # Errors
    /// Those of the device.
    pub fn kept(&self, dev: &B) -> Result<(Vec<u8>, Zeroizing<Vec<u8>>)> {
        Ok((dev.pack(&self.value, self.form.bits).wait()?, pack(dev, &self.share, &self.form)?))
    }
    /// A wire that was kept.
    ///
    /// # Errors
    /// [`Error::Shape`] for bytes of another length than the form's.
    pub fn from_kept(dev: &B, form: &Form, value: &[u8], share: &[u8]) -> Result<Self> {
        Ok(Masked::new(form.clone(), unpack(dev, form, value)?, unpack(dev, form, share)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cpu, KeySetId, Origin, Seed, owner};

    #[test]
    fn wires_come_back_as_they_were() {
        let (dev, form) = (Cpu::<u32>::new(), Form::new([2, 3], 32));
        let origin = Origin { set: KeySetId([1; 16]), segment: Origin::WEIGHTS };
        let seeds = [Seed::new([1; 32]), Seed::new([2; 32])];
        let keys = [0, 1].map(|p| [owner::weight_key(&seeds[p], origin, 0)]);
        let packed = owner::mask(&[1u32, 2, 3, 4, 5, u32::MAX], [&keys[0], &keys[1]], 32).unwrap();
        let wire = Masked::weight(&dev, &form, &packed, &seeds[0], origin, 0).unwrap();
        let (value, share) = wire.kept(&dev).unwrap();
        assert_eq!(value, packed);
        let back = Masked::from_kept(&dev, &form, &value, &share).unwrap();
        assert_eq!((&back.value, &back.share), (&wire.value, &wire.share));

        let mask = Mask::weight(&dev, &form, &seeds, origin, 0);
        let kept = mask.kept(&dev).unwrap();
        assert_eq!(*kept[0], *share);
        let back = Mask::from_kept(&dev, &form, [&kept[0], &kept[1]]).unwrap();
        assert_eq!(back.shares, mask.shares);

        let why = Masked::from_kept(&dev, &form, &value[1..], &share).map(drop).unwrap_err().to_string();
        assert!(why.contains("23 bytes where 6 values of 32 bits have 24"), "{why}");
        assert!(Mask::from_kept(&dev, &form, [&kept[0], &kept[1][1..]]).is_err());
    }
}
