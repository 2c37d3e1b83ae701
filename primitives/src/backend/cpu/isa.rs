//! Instruction sets: which kernels this process runs.
//!
//! A ladder of three. Every kernel exists on each rung and gives the same bits; a batch asks once, not an element.

use std::sync::atomic::{AtomicU8, Ordering};

/// Environment variable that keeps a process below a rung, for tests, benchmarks and machines in doubt.
pub const VARIABLE: &str = "TWOPLY_CPU";

/// A rung of the ladder.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Isa {
    /// Any machine: plain code, and the `aes` crate's constant-time software AES where there is no instruction.
    Portable,
    /// AES-NI and AVX2: every x86-64 server since 2013.
    Avx2,
    /// AVX-512 with VAES, IFMA, VNNI, VBMI2, BITALG and VPOPCNTDQ: Ice Lake, Zen 4 and later.
    Avx512,
}

/// 0: not asked yet; else the rung plus 1.
static CURRENT: AtomicU8 = AtomicU8::new(0);

impl Isa {
    /// Lowest first.
    pub const ALL: [Isa; 3] = [Isa::Portable, Isa::Avx2, Isa::Avx512];

    /// The highest rung of this machine.
    pub fn detected() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            macro_rules! all { ($($f:tt),*) => { $(is_x86_feature_detected!($f))&&* } }
            let avx2 = all!("aes", "avx2", "bmi1", "bmi2", "popcnt", "ssse3", "sse4.1");
            let avx512 = all!(
                "avx512f",
                "avx512bw",
                "avx512dq",
                "avx512vl",
                "avx512vbmi",
                "avx512vbmi2",
                "avx512ifma",
                "avx512vnni",
                "avx512bitalg",
                "avx512vpopcntdq",
                "vaes",
                "gfni"
            );
            match (avx2, avx512) {
                (true, true) => Isa::Avx512,
                (true, false) => Isa::Avx2,
                _ => Isa::Portable,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Portable
    }

    /// The rung this process is on: the machine's highest, or what `TWOPLY_CPU` names if that is lower.
    pub fn current() -> Isa {
        match CURRENT.load(Ordering::Relaxed) {
            0 => {
                let named = std::env::var(VARIABLE).ok().and_then(|v| Isa::named(&v));
                Isa::force(named.unwrap_or(Isa::Avx512))
            }
            n => Isa::ALL[n as usize - 1],
        }
    }

    /// Keeps the process at or below a rung from now on; returns the rung it is on.
    pub fn force(highest: Isa) -> Isa {
        let isa = highest.min(Isa::detected());
        CURRENT.store(isa as u8 + 1, Ordering::Relaxed);
        isa
    }

    /// The rungs this machine has, lowest first.
    pub fn here() -> impl Iterator<Item = Isa> {
        let top = Isa::detected();
        Isa::ALL.into_iter().filter(move |i| *i <= top)
    }

    /// The rung of this name.
    pub fn named(name: &str) -> Option<Isa> {
        Isa::ALL.into_iter().find(|i| i.name() == name)
    }

    /// `portable`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rung_can_be_named_and_none_above_the_machine_is_taken() {
        Isa::ALL.iter().for_each(|i| assert_eq!(Isa::named(i.name()), Some(*i)));
        assert_eq!(Isa::named("sse9"), None);
        assert!(Isa::here().all(|i| i <= Isa::detected()));
        assert!(Isa::current() <= Isa::detected());
    }
}
