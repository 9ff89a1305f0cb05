//! Hashes as Nix writes them.
//!
//! The digits of Nix' base 32 leave out e, o, u and t, and the last byte comes first
//! (<https://nix.dev/manual/nix/latest/protocols/nix32>). The algorithms are
//! harmonia-utils-hash's, the crate that harmonia-store-core is built on; nothing else in this
//! workspace names it: docs/adr/0001-nix-compat.md.

use harmonia_utils_hash::{
    Algorithm, Context, Hash, Sha256,
    fmt::{Any, CommonHash as _},
};
use osmoda_core::digest::Digest;

/// SHA-256 of bytes that come in pieces.
pub(crate) struct Hasher(Context);

impl Hasher {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self(Context::new(Algorithm::SHA256))
    }

    /// More bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all of them.
    pub fn finish(self) -> Digest {
        digest(&self.0.finish())
    }
}

/// SHA-1 of a text in Nix' base 32: how links in gcroots/auto are named.
pub(crate) fn sha1_nix32(text: &[u8]) -> String {
    Algorithm::SHA1.digest(text).base32().bare().to_string()
}

/// `sha256:` and the digits of Nix' base 32, as `nix-store --query --hash` shows it.
pub(crate) fn show(digest: &Digest) -> String {
    match Hash::from_slice(Algorithm::SHA256, &digest.0) {
        Ok(hash) => hash.base32().to_string(),
        // Cannot be: 32 bytes are a SHA-256.
        Err(_) => format!("sha256:{digest}"),
    }
}

/// A SHA-256 as Nix writes it: `sha256:` with base 16 (its database) or base 32 (its commands),
/// or `sha256-` with base 64.
pub(crate) fn parse(text: &str) -> Option<Digest> {
    let hash: Hash = text.trim().parse::<Any<Hash>>().ok()?.into_hash();
    (hash.algorithm() == Algorithm::SHA256).then(|| digest(&hash))
}

/// The same bytes, as harmonia's type.
pub(crate) fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256::digest(bytes)
}

fn digest(hash: &Hash) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.digest_bytes());
    Digest(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_written_as_nix_writes_them() {
        // nix-hash --type sha256 --base32 --flat of an empty file
        let empty = "sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73";
        let hex = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(show(&Hasher::new().finish()), empty);
        assert_eq!(parse(empty), Some(Digest::of(b"")));
        assert_eq!(parse(hex), Some(Digest::of(b"")));
        assert_eq!(
            parse("sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"),
            Some(Digest::of(b""))
        );
        let mut pieces = Hasher::new();
        pieces.update(b"a");
        pieces.update(b"b");
        assert_eq!(pieces.finish(), Digest::of(b"ab"));
    }

    #[test]
    fn what_is_no_sha256_is_none() {
        for bad in [
            "",
            "sha256:",
            "sha256:xyz",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_root_is_named_as_nix_env_names_it() {
        // Made by nix-env --profile /tmp/N/prof/a --set, Nix 2.8.
        let name = "l341dacmfpspv80xjxkynld4b59khra0";
        assert_eq!(sha1_nix32(b"/tmp/N/p/prof/a-1-link"), name);
    }
}
