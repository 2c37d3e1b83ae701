//! Sums of products of wires: the linear gate of training, whose weights are wires like all others.
//!
//! `X = cut(sum_i x_i . w_i + sum_j a_j)`, products and addends at one fraction; a weight's gradient is summed over the batch
//! within its product. P1 stores one word per result, whatever is summed: `c = sum_i r_x,i . r_w,i + 2^cut R`. With
//! `s_0 = sum_i (x^ . (w^ - [r_w]_0) - [r_x]_0 . w^) + sum_j (a^ - [r_a]_0) + c_0` and
//! `s_1 = -sum_i (x^ . [r_w]_1 + [r_x]_1 . w^) - sum_j [r_a]_1 + c_1`, P0 sends `floor(s_0 / 2^cut)` and P1
//! `ceil(s_1 / 2^cut)`, both mod 2^(n-cut) (training, section 3).
//!
//! Without a product nothing is stored, and `c_b = 2^cut [R]_b`, of the result's mask: the update of a bias. R alone hides the
//! sum, never the operands' masks, which may serve many gates.

use super::bilinear::{cut_share, cut_sum};
use super::{Coins, Cost, Gate};
use crate::backend::Product;
use crate::{Backend, Cpu, Deal, Error, Form, Mask, Masked, Part, Result, Ring, Session, Share};
use serde::{Deserialize, Serialize};

const C: u32 = 1;

/// The sum of products and of wires of their shape; takes two wires per product, in order, then the addends, all n bits wide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// The products, all of one shape. What P0 needs of a product's second wire is kept with it: a weight, if there is one.
    pub terms: Vec<Product>,
    /// Number of addends.
    pub add: usize,
    /// Bits cut off the result by a public coin, for sums up to `2^(n-2) - 2^cut` in magnitude; 0 for none.
    pub cut: u32,
}

impl Sum {
    /// Products with their operands, and addends.
    fn split<'a, T: Copy>(&self, x: &'a [T]) -> (Vec<(Product, T, T)>, &'a [T]) {
        let (pairs, addends) = x.split_at(2 * self.terms.len());
        let pairs = pairs.as_chunks::<2>().0.iter();
        (self.terms.iter().zip(pairs).map(|(p, [x, w])| (*p, *x, *w)).collect(), addends)
    }
    /// What is stored for a result.
    fn part(&self, n: u32, form: &Form) -> Option<Part> {
        let stored = || Part { elements: form.len(), fields: [vec![], vec![n]] };
        (!self.terms.is_empty()).then(stored)
    }
}

impl Gate for Sum {
    const NAME: &'static str = "sum";

    fn output(&self, n: u32, x: &[&Form]) -> Result<Form> {
        let refused = |why: String| Err(Error::shape(Self::NAME, why));
        let wires = 2 * self.terms.len() + self.add;
        if wires == 0 || x.len() != wires {
            let terms = self.terms.len();
            return refused(format!(
                "{terms} products and {} addends take {wires} wires, got {}",
                self.add,
                x.len()
            ));
        }
        if x.iter().any(|x| x.bits != n) {
            return refused(format!("operands must be {n} bits wide: lift first"));
        }
        if self.cut >= n - 2 {
            return refused(format!("cannot cut {} of {n} bits", self.cut));
        }
        let (products, addends) = self.split(x);
        let products = products.into_iter().map(|(p, x, w)| p.shape(&x.shape, &w.shape));
        let mut shapes =
            products.chain(addends.iter().map(|a| Ok(a.shape.clone()))).collect::<Result<Vec<_>>>()?;
        if let Some(other) = shapes.iter().find(|s| **s != shapes[0]) {
            return refused(format!("cannot add {:?} and {:?}", shapes[0].0, other.0));
        }
        Ok(Form { shape: shapes.swap_remove(0), bits: n - self.cut })
    }

    fn ideal<R: Ring>(&self, forms: &[&Form], x: &[&[R]], coins: Coins) -> Vec<R> {
        let (dev, (values, addends)) = (Cpu::<R>::new(), self.split(x));
        let forms = self.split(forms).0.into_iter().map(|(_, x, w)| [x, w]);
        let product =
            |((p, x, w), forms): ((Product, &[R], &[R]), _)| dev.product(&p, forms, &x.to_vec(), &w.to_vec());
        let products = values.into_iter().zip(forms).map(product);
        let all: Vec<Vec<R>> = products.chain(addends.iter().map(|a| a.to_vec())).collect();
        let terms: Vec<_> = all.iter().map(|z| (R::ONE, z)).collect();
        cut_sum(&dev.lin(&terms, R::BITS), self.cut, coins)
    }

    fn deal<B: Backend>(&self, d: &mut Deal<B>, r: &[&Mask<B>]) -> Result<Mask<B>> {
        let (n, one) = (B::Ring::BITS, B::Ring::ONE);
        let form = self.output(n, &r.iter().map(|r| r.form()).collect::<Vec<_>>())?;
        let (dev, out) = (d.dev.clone(), d.fresh(0, &form));
        let Some(part) = self.part(n, &form) else { return Ok(out) };
        let product = |(p, x, w): (Product, &Mask<B>, &Mask<B>)| {
            dev.product(&p, [x.form(), w.form()], &x.sum(&dev), &w.sum(&dev))
        };
        let products: Vec<B::Buf> = self.split(r).0.into_iter().map(product).collect();
        let scaled = out.shares.iter().map(|r| (one.shl(self.cut), r));
        let c = dev.lin(&products.iter().map(|z| (one, z)).chain(scaled).collect::<Vec<_>>(), n);
        d.tiles(Self::NAME, 0, &part, |t| t.word(C, &t.part_of(&c), n))?;
        Ok(out)
    }

    fn eval<B: Backend>(&self, s: &mut Session<B>, x: &[&Masked<B>]) -> Result<Share<B>> {
        let (n, one, minus) = (B::Ring::BITS, B::Ring::ONE, B::Ring::ZERO.sub(B::Ring::ONE));
        let form = self.output(n, &x.iter().map(|x| x.form()).collect::<Vec<_>>())?;
        let (dev, p0, mask) = (s.dev.clone(), s.me.is_p0(), s.fresh(0, &form));
        let (products, addends) = self.split(x);
        let c = match self.part(n, &form) {
            Some(part) => {
                s.used(part.elements, if p0 { 0 } else { n });
                s.own().words(Self::NAME, C, n, s.per_image(&form))?
            }
            None => dev.lin(&[(one.shl(self.cut), &mask)], n),
        };
        let product = |(p, x, w): (Product, &Masked<B>, &Masked<B>)| {
            let of = |x_part: &B::Buf, w_part: &B::Buf| dev.product(&p, [x.form(), w.form()], x_part, w_part);
            let whole = match p0 {
                true => (one, of(&x.value, w.additive(&dev))),
                false => (minus, of(&x.value, &w.share)),
            };
            [whole, (minus, of(&x.share, &w.value))]
        };
        let products: Vec<_> = products.into_iter().flat_map(product).collect();
        let mut terms: Vec<_> = products.iter().map(|(sign, z)| (*sign, z)).collect();
        terms.push((one, &c));
        terms.extend(addends.iter().map(|a| (minus, &a.share)));
        terms.extend(addends.iter().filter(|_| p0).map(|a| (one, &a.value)));
        let buf = cut_share(s, &dev.lin(&terms, n), self.cut);
        Ok(Share { buf, mask, form, begun: None })
    }

    fn cost(&self, n: u32, x: &[&Form]) -> Result<Cost> {
        let form = self.output(n, x)?;
        let mut cost = Cost { parts: self.part(n, &form).into_iter().collect(), ..Cost::default() };
        cost.result(&form);
        Ok(cost)
    }
}
