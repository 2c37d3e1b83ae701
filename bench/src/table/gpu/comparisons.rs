//! Comparisons per second: keys on the device, in pinned memory, in a file; and their dealing.

use super::homes::{in_file, pinned};
use super::limits::Work;
use super::resident::{self, Resident};
use super::{Bench, Unit};
use crate::alone::Compared;
use crate::memory::Home;
use crate::values;
use twoply_primitives::backend::{Backend, Cuda, Merge};
use twoply_primitives::compare::digits::Digits;
use twoply_primitives::compare::{AnyComparison, Scheme, Widths};
use twoply_primitives::{PartyId, Result, Ring};

/// Compared bits: ReLU behind a truncation by 16 and by 12 bits at n=32, on all of 32 bits, on all of 64.
const WIDTHS: [u32; 4] = [15, 19, 31, 63];

const EACH: Unit = Unit::PerSecond(1e6, "M/s");

/// Both comparisons at all widths.
pub fn rows(b: &mut Bench) -> Result<()> {
    for w in b.pick(&WIDTHS[..], &WIDTHS[1..]) {
        (b.say)(&format!("comparisons of {w} bits"));
        match w {
            0..=32 => both(b, &b.dev.clone(), *w)?,
            _ => both(b, &b.dev.at::<u64>(), *w)?,
        }
    }
    Ok(())
}

fn both<R: Ring>(b: &mut Bench, dev: &Cuda<R>, w: u32) -> Result<()> {
    let elements = b.pick((1 << 26) / R::BITS as usize, 5000);
    let (alpha, x) = (values::<R>(elements, w - 1, w), values::<R>(elements + 1, w - 1, w)[1..].to_vec());
    let case = Case { dev, elements, w, alpha: &alpha, x: &x };
    case.dpf(b)?;
    case.digits(b)
}

struct Case<'c, R: Ring> {
    dev: &'c Cuda<R>,
    elements: usize,
    w: u32,
    alpha: &'c [R],
    x: &'c [R],
}

impl<R: Ring> Case<'_, R> {
    fn name(&self, case: &str) -> String {
        format!("u{} w={}, {case}", R::BITS, self.w)
    }
    fn dealt(&self, how: AnyComparison, home: Home) -> Result<Compared<Cuda<R>>> {
        Compared::new(self.dev.clone(), how, self.alpha, home)
    }
    /// Work of all comparisons from that of one.
    fn all(&self, one: Work) -> Work {
        let n = self.elements as f64;
        Work { aes: n * one.aes, memory: n * one.memory, into: n * one.into, out: n * one.out, int8: 0.0 }
    }

    fn dpf(&self, b: &mut Bench) -> Result<()> {
        let (n, name, me) = (self.elements as f64, "dpf evaluate", PartyId::P1);
        let how = || Scheme::Dpf.at(Widths { w: self.w, low: None });
        let pinned = pinned(self.dev);
        let compared = self.dealt(how(), &pinned)?;
        let key = compared.key_bytes(me) as f64 / n;
        // the blocks that no evaluation can do without; the root's own comes on top
        let blocks = f64::from(self.w - 7);
        let work = Work { aes: blocks, memory: key + size_of::<R>() as f64, ..Work::default() };
        let there = Resident::new(self.dev, &compared, me, self.x)?;
        let seconds = b.time(|| {
            there.dpf(self.w);
            Ok(())
        })?;
        drop(there);
        b.row(name, &self.name("keys on the device"), EACH, (n, seconds), self.all(work));
        self.streamed(b, name, &compared, work, "keys in pinned memory")?;
        drop(compared);
        let compared = self.dealt(how(), &in_file)?;
        self.streamed(b, name, &compared, work, "keys in a file")?;

        let (name, alpha) = ("dpf generate", self.dev.upload(self.alpha));
        let work = Work { aes: 2.0 * blocks + 2.0, memory: key, ..Work::default() };
        let seconds = b.time(|| {
            resident::generate(self.dev, self.w, &alpha);
            Ok(())
        })?;
        b.row(name, &self.name("keys stay on the device"), EACH, (n, seconds), self.all(work));
        self.dealing(b, name, &compared, Work { out: key, ..work })
    }

    fn digits(&self, b: &mut Bench) -> Result<()> {
        let (n, name, widths) = (self.elements as f64, "digits evaluate", Widths { w: self.w, low: None });
        let (how, digits) = (|| Scheme::Digits.at(widths), Digits::new(widths));
        let pinned = pinned(self.dev);
        let compared = self.dealt(how(), &pinned)?;
        let (merge, tables) = (Merge { k: digits.split().len() }, digits.split().iter().map(|m| 1u64 << m));
        let key = compared.key_bytes(PartyId::P1) as f64 / n;
        // P0 expands what P1 stores; both expand their masks
        let masks = merge.planes() as f64 / 128.0;
        let expanded = (tables.sum::<u64>() + merge.stored() as u64) as f64 / 128.0;
        let word = size_of::<R>() as f64;
        let mine = [
            Work { aes: masks + expanded, memory: word, ..Work::default() },
            Work { aes: masks, memory: key + word, ..Work::default() },
        ];
        for (me, work) in PartyId::BOTH.into_iter().zip(mine) {
            let there = Resident::new(self.dev, &compared, me, self.x)?;
            let seconds = b.time(|| {
                there.digits(digits.split());
                Ok(())
            })?;
            let case = ["P0, which has no keys", "P1, keys on the device"][me.index()];
            b.row(name, &self.name(case), EACH, (n, seconds), self.all(work));
        }
        self.streamed(b, name, &compared, mine[1], "P1, keys in pinned memory")?;
        drop(compared);
        let compared = self.dealt(how(), &in_file)?;
        self.streamed(b, name, &compared, mine[1], "P1, keys in a file")?;
        let work = Work { aes: 2.0 * masks + expanded, out: key, memory: 0.0, ..Work::default() };
        self.dealing(b, "digits deal", &compared, work)
    }

    /// P1's evaluation with its keys on their way, and how fast they come.
    fn streamed(
        &self,
        b: &mut Bench,
        name: &str,
        compared: &Compared<Cuda<R>>,
        one: Work,
        case: &str,
    ) -> Result<()> {
        let (n, x) = (self.elements as f64, self.dev.upload(self.x));
        let seconds = b.time(|| compared.evaluate(PartyId::P1, &x))?;
        let bytes = compared.key_bytes(PartyId::P1) as f64;
        let work = Work { into: bytes / n, ..one };
        let rate = bytes / seconds;
        let bus =
            b.limits.into.map_or(String::new(), |most| format!(", {:.0} % of the bus", 100.0 * rate / most));
        let row = b.row(name, &self.name(case), EACH, (n, seconds), self.all(work));
        row.note = Some(format!("{:.3} GB/s of keys{bus}", rate / 1e9));
        Ok(())
    }

    /// The dealer's whole work on one part, tiles in the host's memory; they are thrown away.
    fn dealing(&self, b: &mut Bench, name: &str, compared: &Compared<Cuda<R>>, one: Work) -> Result<()> {
        let seconds = b.time(|| compared.deal())?;
        let case = self.name("tiles to the host");
        b.row(name, &case, EACH, (self.elements as f64, seconds), self.all(one));
        Ok(())
    }
}
