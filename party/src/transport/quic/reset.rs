//! Stateless resets (RFC 9000, section 10.3) that a process can send for connections it had before it was started
//! again: its peers learn with their next packet that it is another one, instead of waiting for the idle timeout.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::{CryptoError, HmacKey};
use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};

use crate::identity::Identity;

/// What the key is made from. Nothing else signs these bytes: TLS begins what it signs with 64 spaces.
const CONTEXT: &[u8] = b"twoply: the key of stateless resets of QUIC, version 1";

/// An endpoint whose resets depend on nothing but the identity.
pub(in super::super) fn endpoint_config(identity: &Identity) -> EndpointConfig {
    let mut config = EndpointConfig::default();
    if let (Some(key), Ok(seed)) = (Key::of(identity), crate::random()) {
        config.reset_key(Arc::new(key)).cid_generator(move || Box::new(Ids { seed, count: 0 }));
    }
    config
}

/// Random connection ids. quinn's own generator recognises its ids, and drops packets for those that an earlier
/// process gave out, instead of answering them with a reset.
struct Ids {
    seed: [u8; 32],
    count: u64,
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        self.count += 1;
        let hash = blake3::keyed_hash(&self.seed, &self.count.to_le_bytes());
        ConnectionId::new(&hash.as_bytes()[..self.cid_len()])
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Ed25519 signatures are the same each time, and nobody without the private key knows this one.
struct Key([u8; 32]);

impl Key {
    fn of(identity: &Identity) -> Option<Self> {
        let certified = identity.certified();
        let signer = certified.key.choose_scheme(&[rustls::SignatureScheme::ED25519])?;
        let signature = signer.sign(CONTEXT).ok()?;
        Some(Self(*blake3::hash(&signature).as_bytes()))
    }
}

impl HmacKey for Key {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        blake3::Hasher::new_keyed(&self.0).update(data).finalize_xof().fill(signature_out);
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // Compares in constant time.
        let right = blake3::Hash::from(*blake3::keyed_hash(&self.0, data).as_bytes());
        let given = <[u8; 32]>::try_from(signature).map_err(|_| CryptoError)?;
        if right == blake3::Hash::from(given) { Ok(()) } else { Err(CryptoError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_identity_s_own_and_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id.pem");
        let first = Key::of(&Identity::create(&path).unwrap()).unwrap();
        let again = Key::of(&Identity::load(&path).unwrap()).unwrap();
        assert_eq!(first.0, again.0);
        assert_ne!(first.0, Key::of(&Identity::ephemeral().unwrap()).unwrap().0);
        let mut signature = [0; 32];
        first.sign(b"id", &mut signature);
        assert!(again.verify(b"id", &signature).is_ok());
        assert!(again.verify(b"ie", &signature).is_err() && again.verify(b"id", &signature[1..]).is_err());
    }
}
