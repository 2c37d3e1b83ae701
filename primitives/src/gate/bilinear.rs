//! Products of two wires: linear layers, convolutions, element-wise products.
//!
//! `share_b = x^ . w_b + k_b` with `w_b = [b=0] w^ - [r_w]_b` and `k_b = -[r_x]_b . w^ + [c]_b`, `c = r_x . r_w + r_out`
//! (protocols, section 3). P1 stores `c` alone, one word per result. An optional third operand, the bias, carries the
//! fraction bits of the product and needs no key. `w` may be a weight, whose mask serves every image, or another wire, or `x`
//! itself: in all cases `c` has an `r_out` of its own for every result. With `cut > 0` the result loses its lowest `cut` bits on the way:
//! `r_out = 2^cut R`, P0 sends `floor(s_0 / 2^cut)`, P1 `ceil(s_1 / 2^cut)`, both mod 2^(n-cut) (section 4).

use super::{Coins, Cost, Gate};
use crate::backend::Product;
use crate::ring::ones;
use crate::session::{Early, Own};
use crate::{
    Backend, Cpu, Deal, Error, Form, Mask, Masked, Part, Result, Ring, Session, Shape, Share, Window,
};
use serde::{Deserialize, Serialize};

const C: u32 = 1;

/// A bilinear map with a truncation of its result.
pub trait Bilinear: Serialize + Send + Sync {
    /// Name of the gate.
    const NAME: &'static str;
    /// The map.
    fn product(&self) -> Product;
    /// Bits cut off the result by a public coin; 0 for none.
    fn cut(&self) -> u32;
}

/// `x [batch, k]` times the transpose of `w [n, k]`, plus a bias `[n]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linear {
    /// Bits cut off the result.
    pub cut: u32,
}

/// `x [batch, c, h, w]` with kernels `[oc, c / groups, kh, kw]`, plus a bias `[oc]`; padded with zeros.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conv2d {
    /// Kernel size, stride, padding, dilation.
    pub window: Window,
    /// Channel groups.
    pub groups: usize,
    /// Bits cut off the result.
    pub cut: u32,
}

/// Element by element, two wires of one shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mul {
    /// Bits cut off the result.
    pub cut: u32,
}

impl Bilinear for Linear {
    const NAME: &'static str = "linear";
    fn product(&self) -> Product {
        Product::Linear
    }
    fn cut(&self) -> u32 {
        self.cut
    }
}

impl Bilinear for Conv2d {
    const NAME: &'static str = "conv2d";
    fn product(&self) -> Product {
        Product::Conv { window: self.window, groups: self.groups }
    }
    fn cut(&self) -> u32 {
        self.cut
    }
}

impl Bilinear for Mul {
    const NAME: &'static str = "mul";
    fn product(&self) -> Product {
        Product::Elementwise
    }
    fn cut(&self) -> u32 {
        self.cut
    }
}

/// `floor(x / 2^cut)` of the signed value, plus the coin, mod 2^(n-cut): what the parties' shares add up to once P0 cut its
/// own down and P1 its own up. The coin is P1's low bits `s_1`: one above the floor if `0 < s_1 <= x_low`.
pub(super) fn cut_sum<R: Ring>(x: &[R], cut: u32, coins: Coins) -> Vec<R> {
    let round = |(i, v): (usize, &R)| {
        let up = coins.is_some_and(|c| (1..=v.low() & ones(cut)).contains(&(c[i] & ones(cut))));
        R::from_i64((v.signed() >> cut) + up as i64).and(R::ones(R::BITS - cut))
    };
    x.iter().enumerate().map(round).collect()
}

/// A party's share of the sum, cut: P0 rounds down, P1 up; its low bits are the coin.
pub(super) fn cut_share<B: Backend>(s: &mut Session<B>, z: &B::Buf, cut: u32) -> B::Buf {
    let p0 = s.me.is_p0();
    if !p0 && cut > 0 {
        s.coin(|dev| dev.download(z).iter().map(|v| v.low() & ones(cut)).collect());
    }
    s.dev.shift(z, if p0 { 0 } else { ones(cut) }, cut, B::Ring::BITS - cut)
}

/// Results that one element of the bias covers: the positions of its channel.
fn span(z: &Form, bias: &Form) -> usize {
    z.shape.row() / bias.len()
}

impl<G: Bilinear> Gate for G {
    const NAME: &'static str = <G as Bilinear>::NAME;

    fn output(&self, n: u32, x: &[&Form]) -> Result<Form> {
        let (&[x, w], bias) = (
            x.get(..2).and_then(|p| <&[&Form; 2]>::try_from(p).ok()).ok_or_else(|| {
                Error::shape(<G as Bilinear>::NAME, format!("takes 2 or 3 wires, got {}", x.len()))
            })?,
            x.get(2),
        );
        if x.bits != n || w.bits != n || bias.is_some_and(|b| b.bits != n) {
            return Err(Error::shape(
                <G as Bilinear>::NAME,
                format!("operands must be {n} bits wide: lift first"),
            ));
        }
        if self.cut() >= n - 2 {
            return Err(Error::shape(
                <G as Bilinear>::NAME,
                format!("cannot cut {} of {n} bits", self.cut()),
            ));
        }
        let form = Form { shape: self.product().shape(&x.shape, &w.shape)?, bits: n - self.cut() };
        if bias.is_some_and(|b| b.len() != form.shape.0[1]) {
            return Err(Error::shape(<G as Bilinear>::NAME, "the bias wants one element per output channel"));
        }
        Ok(form)
    }

    fn ideal<R: Ring>(&self, forms: &[&Form], x: &[&[R]], coins: Coins) -> Vec<R> {
        let dev = Cpu::<R>::new();
        let mut z = dev.product(&self.product(), [forms[0], forms[1]], &x[0].to_vec(), &x[1].to_vec());
        if let (Some(b), Ok(form)) = (x.get(2), self.output(R::BITS, forms)) {
            z = dev.add_row(&z, &b.to_vec(), span(&form, forms[2]));
        }
        cut_sum(&z, self.cut(), coins)
    }

    fn deal<B: Backend>(&self, d: &mut Deal<B>, r: &[&Mask<B>]) -> Result<Mask<B>> {
        let forms: Vec<&Form> = r.iter().map(|r| r.form()).collect();
        let form = self.output(B::Ring::BITS, &forms)?;
        let (dev, out) = (d.dev.clone(), d.fresh(0, &form));
        let rr = dev.product(&self.product(), [forms[0], forms[1]], &r[0].sum(&dev), &r[1].sum(&dev));
        let scale = B::Ring::ONE.shl(self.cut());
        let c =
            dev.lin(&[(B::Ring::ONE, &rr), (scale, &out.shares[0]), (scale, &out.shares[1])], B::Ring::BITS);
        let cost = self.cost(B::Ring::BITS, &forms)?;
        d.tiles(<G as Bilinear>::NAME, 0, &cost.parts[0], |t| t.word(C, &t.part_of(&c), B::Ring::BITS))?;
        Ok(out)
    }

    fn eval<B: Backend>(&self, s: &mut Session<B>, x: &[&Masked<B>]) -> Result<Share<B>> {
        let (n, one) = (B::Ring::BITS, B::Ring::ONE);
        let forms: Vec<&Form> = x.iter().map(|x| x.form()).collect();
        let form = self.output(n, &forms)?;
        let (dev, p0) = (s.dev.clone(), s.me.is_p0());
        let k = whole_k(self, s, x)?;
        s.used(form.len(), if p0 { 0 } else { n });
        let (w, sign) = match p0 {
            true => (x[1].additive(&dev), one),
            false => (&x[1].share, B::Ring::ZERO.sub(one)),
        };
        let online = dev.product(&self.product(), [forms[0], forms[1]], &x[0].value, w);
        let z = dev.lin(&[(sign, &online), (one, &k)], n);
        Ok(Share { buf: cut_share(s, &z, self.cut()), mask: s.fresh(0, &form), form, begun: None })
    }

    fn early<B: Backend>(&self, own: &Own<B>, x: &[&Early<B>]) -> Result<Option<B::Buf>> {
        let bias = x.get(2).map(|b| b.weight);
        let (Some(w), false) = (x.get(1).and_then(|w| w.weight), bias.is_some_and(|b| b.is_none())) else {
            return Ok(None);
        };
        partial_k(self, own, x[0], (w, bias.flatten())).map(Some)
    }

    fn cost(&self, n: u32, x: &[&Form]) -> Result<Cost> {
        let form = self.output(n, x)?;
        let parts = vec![Part { elements: form.len(), fields: [vec![], vec![n]] }];
        let mut cost = Cost { parts, ..Cost::default() };
        cost.result(&form);
        Ok(cost)
    }
}

/// `k_b` of all images of a run: as far as it was prepared, and the rest now.
fn whole_k<G: Bilinear, B: Backend>(gate: &G, s: &mut Session<B>, x: &[&Masked<B>]) -> Result<B::Buf> {
    let (ready, k) = s.ready();
    let (dev, mut own, weights) = (s.dev.clone(), s.own(), (x[1], x.get(2).copied()));
    if ready == 0 {
        return partial_k(gate, &own, &Early::of(x[0]), weights);
    }
    own.images.start += ready;
    if own.images.is_empty() {
        return Ok(k);
    }
    let (form, len) = (x[0].form(), own.images.len());
    let share = dev.slice(&x[0].share, ready * form.shape.row(), len * form.shape.row());
    let shape = Shape([&[len], &form.shape.0[1..]].concat());
    let rest = Early::mask(Form { shape, bits: form.bits }, share);
    Ok(dev.concat(vec![k, partial_k(gate, &own, &rest, weights)?]))
}

/// `k_b = -[r_x]_b . w^ + [c]_b` of some images, with this party's share of the bias.
fn partial_k<G: Bilinear, B: Backend>(
    gate: &G,
    own: &Own<B>,
    x: &Early<B>,
    (w, bias): (&Masked<B>, Option<&Masked<B>>),
) -> Result<B::Buf> {
    let (dev, n, one) = (own.dev, B::Ring::BITS, B::Ring::ONE);
    let (form, minus) = (gate.output(n, &[x.form(), &w.form])?, B::Ring::ZERO.sub(one));
    let product = dev.product(&gate.product(), [x.form(), &w.form], &x.share, &w.value);
    let c = own.words(<G as Bilinear>::NAME, C, n, own.per_image(&form))?;
    let k = dev.lin(&[(minus, &product), (one, &c)], n);
    let Some(bias) = bias else { return Ok(k) };
    let share = match own.me.is_p0() {
        true => dev.lin(&[(one, &bias.value), (minus, &bias.share)], n),
        false => dev.lin(&[(minus, &bias.share)], n),
    };
    Ok(dev.add_row(&k, &share, span(&form, &bias.form)))
}
