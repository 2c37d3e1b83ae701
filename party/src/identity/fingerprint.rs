//! The name by which one machine knows another: a short hash of its public key, made to be read aloud.
//!
//! Text form: `tp1-` and eight groups of five base32 characters, four of the hash and one check character
//! computed over GF(32). Any single wrong character, and any two neighbours swapped within the four, is
//! noticed, and the message names the group to look at.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Hash bytes kept: 160 bits leave a second preimage out of reach.
const BYTES: usize = 20;
/// Groups in the text form.
const GROUPS: usize = 8;
/// Hash characters in a group; one check character follows.
const DATA: usize = 4;
const PREFIX: &str = "tp1-";
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const CONTEXT: &str = "twoply 2025 fingerprint of a subject public key info";

/// BLAKE3 of a SubjectPublicKeyInfo, cut to 160 bits. Public; equality is all that pinning needs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; BYTES]);

/// Why a text is not a fingerprint; says where to look.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// The text does not start as fingerprints do.
    #[error("a fingerprint starts with `tp1-`; `twoply id` prints one")]
    Prefix,
    /// Too few or too many groups.
    #[error("a fingerprint has 8 groups after `tp1-`, this one has {found}")]
    Groups {
        /// Groups found.
        found: usize,
    },
    /// A group of the wrong length.
    #[error("group {group} of the fingerprint has {found} characters instead of 5")]
    Length {
        /// Group, counted from 1.
        group: usize,
        /// Characters found.
        found: usize,
    },
    /// A character that fingerprints never contain.
    #[error("group {group} of the fingerprint contains {found:?}; only a-z and 2-7 occur")]
    Character {
        /// Group, counted from 1.
        group: usize,
        /// The character.
        found: char,
    },
    /// A group whose check character disagrees with the rest.
    #[error("group {group} of the fingerprint has a typing error")]
    Typo {
        /// Group, counted from 1.
        group: usize,
    },
}

impl Fingerprint {
    /// Fingerprint of a DER-encoded SubjectPublicKeyInfo.
    pub fn of_spki(der: &[u8]) -> Self {
        let mut hash = [0; BYTES];
        blake3::Hasher::new_derive_key(CONTEXT).update(der).finalize_xof().fill(&mut hash);
        Self(hash)
    }

    /// The first group, for lines where the whole would not fit. Never compare these.
    pub fn short(&self) -> String {
        self.to_string().chars().take(PREFIX.len() + DATA + 1).collect()
    }

    /// The hash as 32 five-bit symbols, most significant bits first.
    fn symbols(&self) -> [u8; GROUPS * DATA] {
        let mut symbols = [0; GROUPS * DATA];
        for (five, eight) in self.0.chunks_exact(5).zip(symbols.chunks_exact_mut(8)) {
            let word = five.iter().fold(0u64, |w, &b| w << 8 | u64::from(b));
            for (i, symbol) in eight.iter_mut().enumerate() {
                *symbol = (word >> (35 - 5 * i) & 31) as u8;
            }
        }
        symbols
    }

    fn from_symbols(symbols: &[u8; GROUPS * DATA]) -> Self {
        let mut hash = [0; BYTES];
        for (five, eight) in hash.chunks_exact_mut(5).zip(symbols.chunks_exact(8)) {
            let word = eight.iter().fold(0u64, |w, &s| w << 5 | u64::from(s));
            five.copy_from_slice(&word.to_be_bytes()[3..]);
        }
        Self(hash)
    }
}

/// Multiplication by the generator of GF(32) = GF(2)[x] / (x^5 + x^2 + 1).
fn times_alpha(a: u8) -> u8 {
    let doubled = a << 1;
    if doubled & 32 != 0 { doubled ^ 0b10_0101 } else { doubled }
}

/// Check symbol of a group: a polynomial in the generator, so that each place has its own weight. It starts
/// from the group's number, so that groups in the wrong order are noticed too.
fn check(group: usize, data: &[u8]) -> u8 {
    times_alpha(data.iter().fold(group as u8 + 1, |acc, &symbol| times_alpha(acc) ^ symbol))
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tp1")?;
        for (group, data) in self.symbols().chunks_exact(DATA).enumerate() {
            f.write_str("-")?;
            for &symbol in data.iter().chain([&check(group, data)]) {
                write!(f, "{}", char::from(ALPHABET[usize::from(symbol)]))?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(FingerprintError::Prefix)?;
        let found = body.split('-').count();
        if found != GROUPS {
            return Err(FingerprintError::Groups { found });
        }
        let mut symbols = [0; GROUPS * DATA];
        for (at, (group, data)) in body.split('-').zip(symbols.chunks_exact_mut(DATA)).enumerate() {
            parse_group(at, group, data)?;
        }
        Ok(Self::from_symbols(&symbols))
    }
}

/// Parses group `at` (from 0) into its four data symbols.
fn parse_group(at: usize, text: &str, data: &mut [u8]) -> Result<(), FingerprintError> {
    let group = at + 1;
    let mut symbols = [0; DATA + 1];
    let found = text.chars().count();
    if found != symbols.len() {
        return Err(FingerprintError::Length { group, found });
    }
    for (found, symbol) in text.chars().zip(&mut symbols) {
        let place = ALPHABET.iter().position(|&c| char::from(c) == found);
        *symbol = place.ok_or(FingerprintError::Character { group, found })? as u8;
    }
    data.copy_from_slice(&symbols[..DATA]);
    if check(at, data) != symbols[DATA] {
        return Err(FingerprintError::Typo { group });
    }
    Ok(())
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            <[u8; BYTES]>::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Fingerprint {
        Fingerprint::of_spki(b"some public key")
    }

    #[test]
    fn text_survives_the_round_trip_and_is_frozen() {
        for i in 0..200u32 {
            let fingerprint = Fingerprint::of_spki(&i.to_le_bytes());
            assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        }
        assert_eq!(sample().to_string(), "tp1-3xvmg-flv5d-a342h-eovjn-kagay-uait7-rnvc3-cmdjz");
        assert_eq!(sample().short(), sample().to_string()[..9]);
    }

    #[test]
    fn every_single_wrong_character_is_named_by_its_group() {
        let right = sample().to_string();
        for at in PREFIX.len()..right.len() {
            for &c in ALPHABET.iter().filter(|&&c| c != right.as_bytes()[at] && right.as_bytes()[at] != b'-')
            {
                let mut wrong = right.clone().into_bytes();
                wrong[at] = c;
                let wrong = String::from_utf8(wrong).unwrap();
                let group = (at - PREFIX.len()) / 6 + 1;
                assert_eq!(wrong.parse::<Fingerprint>(), Err(FingerprintError::Typo { group }), "{wrong}");
            }
        }
    }

    #[test]
    fn swapped_neighbours_and_swapped_groups_are_noticed() {
        let right = sample().to_string();
        let body: Vec<&str> = right[PREFIX.len()..].split('-').collect();
        let mut groups = body.clone();
        groups.swap(1, 5);
        assert!(format!("tp1-{}", groups.join("-")).parse::<Fingerprint>().is_err());
        for at in 0..DATA - 1 {
            let mut group = body[0].as_bytes().to_vec();
            if group[at] == group[at + 1] {
                continue;
            }
            group.swap(at, at + 1);
            let wrong = right.replacen(body[0], std::str::from_utf8(&group).unwrap(), 1);
            assert_eq!(wrong.parse::<Fingerprint>(), Err(FingerprintError::Typo { group: 1 }));
        }
    }

    #[test]
    fn malformed_texts_say_what_is_wrong() {
        let right = sample().to_string();
        let parse = |text: &str| text.parse::<Fingerprint>().unwrap_err();
        assert_eq!(parse(""), FingerprintError::Prefix);
        assert_eq!(parse(&right[4..]), FingerprintError::Prefix);
        assert_eq!(parse(&right[..right.len() - 6]), FingerprintError::Groups { found: 7 });
        assert_eq!(parse(&format!("{right}-aaaaa")), FingerprintError::Groups { found: 9 });
        assert_eq!(parse(&right[..right.len() - 1]), FingerprintError::Length { group: 8, found: 4 });
        let zero = format!("{}0", &right[..right.len() - 1]);
        assert_eq!(parse(&zero), FingerprintError::Character { group: 8, found: '0' });
        let upper = right.to_uppercase().replacen("TP1", "tp1", 1);
        assert!(matches!(parse(&upper), FingerprintError::Character { group: 1, .. }));
        assert!(matches!(parse("tp1-é-é-é-é-é-é-é-é"), FingerprintError::Length { group: 1, found: 1 }));
        assert_eq!(format!("  {right}\n").parse(), Ok(sample()));
    }

    #[test]
    fn serde_is_text_for_people_and_bytes_on_the_wire() {
        let json = serde_json::to_string(&sample()).unwrap();
        assert_eq!(json, format!("\"{}\"", sample()));
        assert_eq!(serde_json::from_str::<Fingerprint>(&json).unwrap(), sample());
        let bytes = postcard::to_stdvec(&sample()).unwrap();
        assert_eq!(bytes.len(), BYTES);
        assert_eq!(postcard::from_bytes::<Fingerprint>(&bytes).unwrap(), sample());
        assert!(serde_json::from_str::<Fingerprint>("\"tp1-aaaaa\"").is_err());
    }
}
