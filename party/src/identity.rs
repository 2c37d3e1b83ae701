//! A machine's identity: one Ed25519 key in one file, known to others by its [`Fingerprint`].
//!
//! The file holds the private key as PKCS#8 PEM and nothing else. TLS wants a certificate around a key, so
//! a self-signed one is made each time the key is loaded; nobody looks at anything in it but the public key.

mod fingerprint;

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use zeroize::{Zeroize, Zeroizing};

pub use fingerprint::{Fingerprint, FingerprintError};

/// Longest key file that is read, in bytes; a real one has about 120 to 250.
const LONGEST: u64 = 4096;

/// A machine's private key, ready for TLS. It cannot be printed, and its raw bytes are wiped once TLS has it.
pub struct Identity {
    certified: Arc<CertifiedKey>,
    fingerprint: Fingerprint,
}

/// Why an identity cannot be created or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A key must never be replaced by accident: everyone who pinned it would be locked out.
    #[error("{0} exists and is never overwritten; move it away to make a new identity")]
    Exists(PathBuf),
    /// No such file.
    #[error("there is no identity at {0}; `twoply id --new` makes one")]
    Missing(PathBuf),
    /// Others on this machine could read the key.
    #[error("{path} can be read by others (mode {mode:03o}); run `chmod 600 {path}`")]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not one of ours, or it is damaged.
    #[error("{path} is no usable identity: {why}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found. Never file contents.
        why: &'static str,
    },
    /// The operating system refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The key generator or the certificate maker failed.
    #[error("cannot make a key: {0}")]
    Generate(String),
}

impl Identity {
    /// Makes a new key and writes it to `path`, mode 0600, completely or not at all, never over a file.
    ///
    /// # Errors
    /// [`IdentityError::Exists`] when something is there, [`IdentityError::Io`] when it cannot be written.
    pub fn create(path: &Path) -> Result<Self, IdentityError> {
        if path.symlink_metadata().is_ok() {
            return Err(IdentityError::Exists(path.into()));
        }
        let key = generate()?;
        publish(path, Zeroizing::new(key.serialize_pem()).as_bytes())?;
        Self::from_key(key).map_err(|why| IdentityError::Generate(why.into()))
    }

    /// Loads the key at `path`.
    ///
    /// # Errors
    /// Refuses a file that others can read, that is no regular file, or that does not hold one Ed25519 key.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let corrupt = |why| IdentityError::Corrupt { path: path.into(), why };
        let pem = read(path)?;
        let text = std::str::from_utf8(&pem).map_err(|_| corrupt("it is not text"))?;
        if text.matches("-----BEGIN").count() != 1 {
            return Err(corrupt("it does not hold exactly one PEM block"));
        }
        let key = KeyPair::from_pem(text).map_err(|_| corrupt("it is not a PKCS#8 private key in PEM"))?;
        if !key.is_compatible(&PKCS_ED25519) {
            return Err(corrupt("its key is not an Ed25519 key"));
        }
        Self::from_key(key).map_err(corrupt)
    }

    /// A key that lives and dies with this process: for demonstrations and tests.
    ///
    /// # Errors
    /// [`IdentityError::Generate`] when the system gives no randomness.
    pub fn ephemeral() -> Result<Self, IdentityError> {
        Self::from_key(generate()?).map_err(|why| IdentityError::Generate(why.into()))
    }

    /// The name under which others pin this key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Certificate and signing key, as rustls takes them.
    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }

    fn from_key(mut key: KeyPair) -> Result<Self, &'static str> {
        let certificate = CertificateParams::new(vec!["twoply".to_owned()])
            .and_then(|params| params.self_signed(&key))
            .map_err(|_| "no certificate can be made for its key")?;
        let der = PrivatePkcs8KeyDer::from(key.serialized_der());
        let signer = rustls::crypto::ring::sign::any_eddsa_type(&der).map_err(|_| "its key cannot sign")?;
        key.zeroize();
        let certificate = certificate.der().clone();
        let fingerprint = fingerprint_of(&certificate).map_err(|_| "its certificate cannot be read back")?;
        Ok(Self { certified: Arc::new(CertifiedKey::new(vec![certificate], signer)), fingerprint })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.fingerprint)
    }
}

/// Fingerprint of the public key inside a certificate, read by the parser that also checks TLS signatures:
/// one parser, so that no certificate means one key here and another there.
pub(crate) fn fingerprint_of(certificate: &CertificateDer<'_>) -> Result<Fingerprint, rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    Ok(Fingerprint::of_spki(&parsed.subject_public_key_info()))
}

fn generate() -> Result<KeyPair, IdentityError> {
    KeyPair::generate_for(&PKCS_ED25519).map_err(|e| IdentityError::Generate(e.to_string()))
}

/// Reads a private file into memory that is wiped, after checking the open file itself, not its name.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let io = |what| move |source| IdentityError::Io { what, path: path.into(), source };
    let mut file = File::open(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => IdentityError::Missing(path.into()),
        _ => io("open")(e),
    })?;
    let facts = file.metadata().map_err(io("look at"))?;
    let corrupt = |why| Err(IdentityError::Corrupt { path: path.into(), why });
    if !facts.is_file() {
        return corrupt("it is not a regular file");
    }
    if facts.mode() & 0o077 != 0 {
        return Err(IdentityError::Readable { path: path.into(), mode: facts.mode() & 0o777 });
    }
    if facts.len() > LONGEST {
        return corrupt("it is too long");
    }
    // Sized beforehand: a growing vector would leave copies of the key behind.
    let mut pem = Zeroizing::new(vec![0; facts.len() as usize]);
    file.read_exact(&mut pem).map_err(io("read"))?;
    Ok(pem)
}

/// Writes `bytes` next to `path`, makes them durable, then gives them their name.
fn publish(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let io = |what, at: &Path, source| IdentityError::Io { what, path: at.into(), source };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .map_err(|e| io("create", &draft, e))?;
    let result = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|e| io("write", &draft, e))
        .and_then(|()| name_without_replacing(&draft, path));
    // After success the draft is a second name of the same file, or gone; after failure it is rubbish.
    let _ = fs::remove_file(&draft);
    result?;
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| io("make durable", folder, e))
}

/// A hard link fails when the name is taken, where a rename would replace. File systems without hard links
/// get the rename, after a look.
fn name_without_replacing(draft: &Path, path: &Path) -> Result<(), IdentityError> {
    let taken = |e: &io::Error| e.kind() == io::ErrorKind::AlreadyExists;
    match fs::hard_link(draft, path) {
        Ok(()) => Ok(()),
        Err(e) if taken(&e) || path.symlink_metadata().is_ok() => Err(IdentityError::Exists(path.into())),
        Err(_) => fs::rename(draft, path).map_err(|source| IdentityError::Io {
            what: "name",
            path: path.into(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id.pem");
        (folder, path)
    }

    fn write(path: &Path, bytes: &[u8]) {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn a_created_identity_loads_as_the_same_one() {
        let (folder, path) = place();
        let made = Identity::create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(Identity::load(&path).unwrap().fingerprint(), made.fingerprint());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left behind");
        assert_ne!(Identity::ephemeral().unwrap().fingerprint(), made.fingerprint());
    }

    #[test]
    fn nothing_is_ever_overwritten() {
        let (_folder, path) = place();
        fs::write(&path, b"precious").unwrap();
        assert!(matches!(Identity::create(&path), Err(IdentityError::Exists(_))));
        let draft = path.with_file_name("draft");
        fs::write(&draft, b"new").unwrap();
        assert!(matches!(name_without_replacing(&draft, &path), Err(IdentityError::Exists(_))));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn files_that_others_can_read_are_refused() {
        let (_folder, path) = place();
        Identity::create(&path).unwrap();
        for mode in [0o640, 0o604, 0o666, 0o610] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Identity::load(&path).unwrap_err();
            assert!(matches!(error, IdentityError::Readable { mode: m, .. } if m == mode), "{error}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(Identity::load(&path).is_ok());
    }

    #[test]
    fn missing_and_foreign_files_are_named() {
        let (folder, path) = place();
        assert!(matches!(Identity::load(&path), Err(IdentityError::Missing(_))));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(matches!(Identity::load(folder.path()), Err(IdentityError::Corrupt { .. })));
        let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        for bytes in [&b""[..], b"\xff\xfe", &[b'x'; 5000], b"-----BEGIN", other.serialize_pem().as_bytes()] {
            write(&path, bytes);
            let error = Identity::load(&path).unwrap_err();
            assert!(matches!(error, IdentityError::Corrupt { .. }), "{error}");
        }
    }

    /// A damaged file may fail, but it must not quietly become another machine.
    #[test]
    fn damage_never_yields_another_identity() {
        let (_folder, path) = place();
        let made = Identity::create(&path).unwrap();
        let right = fs::read(&path).unwrap();
        let mut refused = 0;
        for at in 0..right.len() {
            let mut wrong = right.clone();
            wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
            write(&path, &wrong);
            match Identity::load(&path) {
                Ok(same) => assert_eq!(same.fingerprint(), made.fingerprint(), "byte {at}"),
                Err(_) => refused += 1,
            }
            write(&path, &right[..at]);
            match Identity::load(&path) {
                Ok(same) => assert_eq!(same.fingerprint(), made.fingerprint(), "cut at {at}"),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > right.len(), "only {refused} damaged files were refused");
    }

    #[test]
    fn two_keys_in_one_file_are_refused() {
        let (_folder, path) = place();
        Identity::create(&path).unwrap();
        let once = fs::read(&path).unwrap();
        write(&path, &[once.clone(), once].concat());
        assert!(matches!(Identity::load(&path), Err(IdentityError::Corrupt { .. })));
    }

    #[test]
    fn debug_shows_the_fingerprint_only() {
        let identity = Identity::ephemeral().unwrap();
        assert_eq!(format!("{identity:?}"), format!("Identity({})", identity.fingerprint()));
    }
}
