//! Keys of notes: who may be believed, and who signs.
//!
//! The texts are those of C2SP signed-note for verifier keys (`NAME+ID+BASE64`), and of Go's
//! golang.org/x/mod/sumdb/note for private ones (`PRIVATE+KEY+NAME+ID+BASE64`), so that other
//! programs can use them too.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Note, NoteError, Signature, is_key_name};

/// How the text of a private key begins.
const PRIVATE: &str = "PRIVATE+KEY+";
/// Bytes of an Ed25519 key, public or private (RFC 8032).
const KEY_BYTES: usize = 32;
/// Bytes of a timestamp before a cosignature.
const TIME_BYTES: usize = 8;

/// What a key's signatures say. The number is C2SP's signature type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// Ed25519 over the text: the log's own signature (type 1).
    Ed25519,
    /// Ed25519 over the text and a time: a witness's (type 4, C2SP tlog-cosignature).
    CosignatureV1,
}

impl Algorithm {
    fn number(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::CosignatureV1 => 4,
        }
    }

    fn of_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Ed25519),
            4 => Some(Self::CosignatureV1),
            _ => None,
        }
    }
}

/// Why a text is not a key. It never repeats the text, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It does not have the parts of a key.
    #[error("it is not NAME+ID+KEY, with a name without space and plus")]
    Malformed,
    /// Its type is not known here.
    #[error("it is not an Ed25519 key (type 1) or a cosigner's (type 4)")]
    Algorithm,
    /// The id is not that of name and key.
    #[error("its id does not belong to its name and key: it was changed or cut")]
    WrongId,
    /// The bytes are not a key of that type.
    #[error("its bytes are no Ed25519 key")]
    NoKey,
}

/// A public key, with the name under which it signs.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    algorithm: Algorithm,
    key: VerifyingKey,
}

impl VerifierKey {
    /// Name of the key; of a log's key, its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its signatures say.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The 32 bytes of the Ed25519 key (RFC 8032).
    pub fn public(&self) -> &[u8; KEY_BYTES] {
        self.key.as_bytes()
    }

    /// First four bytes of SHA-256(name ‖ newline ‖ type ‖ key).
    pub fn id(&self) -> u32 {
        key_id(&self.name, self.algorithm, self.key.as_bytes())
    }

    /// Whether a signature line claims to be of this key.
    pub fn is_named_by(&self, signature: &Signature) -> bool {
        signature.name == self.name && signature.key_id == self.id()
    }

    /// Checks one signature over `text`: `None` if it is wrong, else the time it was made, if
    /// the algorithm signs that.
    pub(super) fn verify(&self, text: &str, signature: &Signature) -> Option<Option<u64>> {
        match self.algorithm {
            Algorithm::Ed25519 => {
                let right = self.is_signature(text.as_bytes(), &signature.bytes);
                right.then_some(None)
            }
            Algorithm::CosignatureV1 => {
                let (time, bytes) = signature.bytes.split_first_chunk::<TIME_BYTES>()?;
                let time = u64::from_be_bytes(*time);
                let right = i64::try_from(time).is_ok()
                    && self.is_signature(cosigned(text, time).as_bytes(), bytes);
                right.then_some(Some(time))
            }
        }
    }

    fn is_signature(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature = ed25519_dalek::Signature::from_slice(signature);
        signature.is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, id, algorithm, bytes) = parse_parts(text)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::NoKey)?;
        let key = Self {
            name: name.to_owned(),
            algorithm,
            key,
        };
        if key.id() == id {
            Ok(key)
        } else {
            Err(KeyError::WrongId)
        }
    }
}

impl fmt::Display for VerifierKey {
    /// The vkey of C2SP signed-note.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&[self.algorithm.number()][..], self.key.as_bytes()].concat();
        write!(
            f,
            "{}+{:08x}+{}",
            self.name,
            self.id(),
            STANDARD.encode(bytes)
        )
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A private key, which forgets its secret when it is dropped.
pub struct NoteSigner {
    name: String,
    algorithm: Algorithm,
    key: SigningKey,
}

impl NoteSigner {
    /// The key of 32 secret bytes under a name.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] if the name cannot be one.
    pub fn from_seed(
        name: &str,
        algorithm: Algorithm,
        seed: &[u8; KEY_BYTES],
    ) -> Result<Self, KeyError> {
        if !is_key_name(name) {
            return Err(KeyError::Malformed);
        }
        Ok(Self {
            name: name.to_owned(),
            algorithm,
            key: SigningKey::from_bytes(seed),
        })
    }

    /// Reads the text that [`NoteSigner::to_secret_text`] writes.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let rest = text.strip_prefix(PRIVATE).ok_or(KeyError::Malformed)?;
        let (name, id, algorithm, mut seed) = parse_parts(rest)?;
        let signer = Self::from_seed(name, algorithm, &seed);
        seed.zeroize();
        let signer = signer?;
        if signer.verifier().id() == id {
            Ok(signer)
        } else {
            Err(KeyError::WrongId)
        }
    }

    /// `PRIVATE+KEY+NAME+ID+BASE64`: keep it where nobody else can read it.
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; 1 + KEY_BYTES]);
        bytes[0] = self.algorithm.number();
        bytes[1..].copy_from_slice(self.key.as_bytes());
        let encoded = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
        let id = self.verifier().id();
        Zeroizing::new([PRIVATE, &self.name, &format!("+{id:08x}+"), &encoded].concat())
    }

    /// The same secret under another name.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] if the name cannot be one.
    pub fn renamed(&self, name: &str) -> Result<Self, KeyError> {
        Self::from_seed(name, self.algorithm, self.key.as_bytes())
    }

    /// Its public half.
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey {
            name: self.name.clone(),
            algorithm: self.algorithm,
            key: self.key.verifying_key(),
        }
    }

    /// Signs the text of a note and adds the line to it.
    ///
    /// # Errors
    /// [`NoteError::TooLong`] if it has too many already.
    pub fn sign(&self, note: &mut Note, timestamp: u64) -> Result<(), NoteError> {
        let signature = self.signature(note.text(), timestamp);
        note.add(signature)
    }

    /// The signature line over `text`. `timestamp`, in seconds since 1970 and below 2^63, is
    /// signed by [`Algorithm::CosignatureV1`] and left out by [`Algorithm::Ed25519`].
    pub fn signature(&self, text: &str, timestamp: u64) -> Signature {
        let bytes = match self.algorithm {
            Algorithm::Ed25519 => self.key.sign(text.as_bytes()).to_bytes().to_vec(),
            Algorithm::CosignatureV1 => {
                let signed = self.key.sign(cosigned(text, timestamp).as_bytes());
                [&timestamp.to_be_bytes()[..], &signed.to_bytes()].concat()
            }
        };
        Signature {
            name: self.name.clone(),
            key_id: self.verifier().id(),
            bytes,
        }
    }
}

impl fmt::Debug for NoteSigner {
    /// Says whose key it is, and nothing of the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteSigner({})", self.verifier())
    }
}

/// What a cosigner signs (C2SP tlog-cosignature, Ed25519).
fn cosigned(text: &str, timestamp: u64) -> String {
    format!("cosignature/v1\ntime {timestamp}\n{text}")
}

fn key_id(name: &str, algorithm: Algorithm, key: &[u8; KEY_BYTES]) -> u32 {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update([b'\n', algorithm.number()]);
    hash.update(key);
    let [a, b, c, d, ..]: [u8; 32] = hash.finalize().into();
    u32::from_be_bytes([a, b, c, d])
}

/// Name, id, type and the 32 bytes of a key's text.
fn parse_parts(text: &str) -> Result<(&str, u32, Algorithm, [u8; KEY_BYTES]), KeyError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(KeyError::Malformed);
    };
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if !is_key_name(name) || id.len() != 8 || !id.bytes().all(is_digit) {
        return Err(KeyError::Malformed);
    }
    let id = u32::from_str_radix(id, 16).map_err(|_| KeyError::Malformed)?;
    let decoded = STANDARD.decode(encoded).map_err(|_| KeyError::Malformed)?;
    let decoded = Zeroizing::new(decoded);
    let (number, key) = decoded.split_first().ok_or(KeyError::Malformed)?;
    let algorithm = Algorithm::of_number(*number).ok_or(KeyError::Algorithm)?;
    let key = key.try_into().map_err(|_| KeyError::NoKey)?;
    Ok((name, id, algorithm, key))
}
