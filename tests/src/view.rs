//! What two parties told each other and their owners, judged against what is public.
//!
//! Every field of every message is made again from facts that a test knows by other ways: the data owners' requests, grants
//! and masked inputs, the names of folders, the public part of key files, digests of files. A message that is not the one
//! made so, to the byte, is a finding. The nonce of a hello is free, since it is fresh randomness, and the count of images left is
//! bounded by what was dealt; like everything else they may hold no eight bytes of a secret.

mod facts;
mod replay;

pub use facts::{Asked, Facts, Seen, Set};
pub use replay::Heard;

use std::collections::HashSet;
use twoply_party::record::Said;

/// Everything that both parties said: P0's and P1's, in order.
pub type Transcript = [Vec<Said>; 2];

/// Bytes of a secret that no message may hold.
const WINDOW: usize = 8;

/// Judges a transcript; what was heard in it.
///
/// # Errors
/// The first finding in words.
pub fn judge(facts: &Facts, transcript: &Transcript) -> Result<Heard, String> {
    silent(facts, transcript)?;
    replay::replay(facts, transcript)
}

/// No window of a secret, in either direction of its bytes, is among the bytes of a party's messages, across their borders.
fn silent(facts: &Facts, transcript: &Transcript) -> Result<(), String> {
    let mut windows = HashSet::new();
    for secret in &facts.secrets {
        windows.extend(secret.windows(WINDOW).map(<[u8]>::to_vec));
        windows.extend(secret.windows(WINDOW).map(|w| w.iter().rev().copied().collect::<Vec<_>>()));
    }
    for (me, said) in transcript.iter().enumerate() {
        let all: Vec<u8> = said.iter().flat_map(|s| s.bytes.iter().copied()).collect();
        if let Some(at) = all.windows(WINDOW).position(|w| windows.contains(w)) {
            return Err(format!("P{me}'s messages hold {WINDOW} bytes of a secret, from byte {at} on"));
        }
    }
    Ok(())
}
