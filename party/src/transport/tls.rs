//! TLS 1.3 between two keys that know each other: no authorities, no names, no dates, no resumption.
//!
//! The certificate is only the envelope of a public key. Both verifiers check that the peer signed this
//! handshake with the key in its envelope, and that the key is one we take.

use std::sync::{Arc, Mutex, PoisonError};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, PeerIncompatible, ServerConfig,
    SignatureScheme,
};

use super::{Accept, Error, Result};
use crate::identity::{Fingerprint, Identity, fingerprint_of};

/// Names the protocol inside TLS, so that another service on the port is noticed at once.
const ALPN: &[u8] = b"twoply/1";

/// What rustls asks of a verifier.
type Tls<T> = std::result::Result<T, rustls::Error>;

/// Filled by a verifier with the key it refused.
pub(super) type Refused = Arc<Mutex<Option<Fingerprint>>>;

/// The key a verifier refused last, forgotten by asking.
pub(super) fn take_refused(refused: &Refused) -> Option<Fingerprint> {
    refused.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// TLS for calls that come in over QUIC.
pub(super) fn quic_server(identity: &Identity, accept: Accept, refused: Refused) -> Result<QuicServerConfig> {
    QuicServerConfig::try_from(server(identity, accept, refused)?).map_err(|e| setup(&e))
}

/// TLS for one call over QUIC to the holder of `pin`.
pub(super) fn quic_client(
    identity: &Identity,
    pin: Fingerprint,
    refused: Refused,
) -> Result<QuicClientConfig> {
    QuicClientConfig::try_from(client(identity, pin, refused)?).map_err(|e| setup(&e))
}

/// TLS for calls that come in.
pub(super) fn server(identity: &Identity, accept: Accept, refused: Refused) -> Result<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Pinned { accept, refused, provider: provider.clone() });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|e| setup(&e))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would not show its certificate again, and an accept list may have changed since.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// TLS for one call to the holder of `pin`.
pub(super) fn client(identity: &Identity, pin: Fingerprint, refused: Refused) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let accept = Accept::by(move |key| *key == pin);
    let verifier = Arc::new(Pinned { accept, refused, provider: provider.clone() });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|e| setup(&e))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

fn setup(error: &dyn std::error::Error) -> Error {
    Error::System { what: "set up TLS", why: error.to_string() }
}

/// Takes exactly the keys of its accept list, on either side of a connection.
struct Pinned {
    accept: Accept,
    refused: Refused,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn check(&self, cert: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Tls<()> {
        let key = fingerprint_of(cert)?;
        if others.is_empty() && self.accept.takes(&key) {
            return Ok(());
        }
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn check_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Tls<HandshakeSignatureValid> {
        if signed.scheme != SignatureScheme::ED25519 {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }
}

impl std::fmt::Debug for Pinned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pinned")
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        cert: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Tls<ServerCertVerified> {
        self.check(cert, others).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Tls<HandshakeSignatureValid> {
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Tls<HandshakeSignatureValid> {
        self.check_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        cert: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Tls<ClientCertVerified> {
        self.check(cert, others).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Tls<HandshakeSignatureValid> {
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Tls<HandshakeSignatureValid> {
        self.check_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
