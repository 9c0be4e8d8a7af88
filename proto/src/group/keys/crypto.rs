//! The algorithms of the one cipher suite that groups here use, out of the RustCrypto and dalek crates.
//!
//! For: what openmls asks of a provider of cryptography. Not for: other suites, signing, external commits; all
//! refused.

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use chacha20poly1305::{
    ChaCha20Poly1305, Nonce,
    aead::{Aead, KeyInit, Payload},
};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use hpke::{
    Deserializable, Kem as _, OpModeR, OpModeS, Serializable, aead::ChaCha20Poly1305 as HpkeAead,
    kdf::HkdfSha256, kem::X25519HkdfSha256 as HpkeKem,
};
use openmls::prelude::{
    AeadType, Ciphersuite, CryptoError, HashType, HpkeAeadType, HpkeCiphertext, HpkeConfig, HpkeKdfType,
    HpkeKemType, HpkeKeyPair, OpenMlsCrypto, SignatureScheme, tls_codec::SecretVLBytes,
};
use openmls_traits::types::{ExporterSecret, KemOutput};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::identity::PeerId;

/// X25519, ChaCha20-Poly1305, SHA-256, Ed25519 (RFC 9420, section 17.1).
pub(super) const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;

const NONCE_LEN: usize = 12;

/// The algorithms of [`SUITE`], and no others.
#[derive(Debug, Default)]
pub(super) struct Crypto {
    /// From which each encapsulation's ephemeral key is drawn.
    seal: Option<Zeroizing<[u8; 32]>>,
}

impl Crypto {
    /// One that can seal. `seal` must be fresh.
    pub(super) fn seeded(seal: [u8; 32]) -> Self {
        Self { seal: Some(Zeroizing::new(seal)) }
    }

    /// Ephemeral randomness for one encapsulation. It depends on what is sealed rather than on how many came
    /// before, because openmls seals to several members at once, in no particular order.
    fn ephemeral(&self, parts: [&[u8]; 4]) -> Result<ChaCha20Rng, CryptoError> {
        let key = self.seal.as_ref().ok_or(CryptoError::InsufficientRandomness)?;
        let mut hasher = blake3::Hasher::new_keyed(key);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Ok(ChaCha20Rng::from_seed(hasher.finalize().into()))
    }
}

fn only_sha256(hash: HashType) -> Result<(), CryptoError> {
    if hash == HashType::Sha2_256 { Ok(()) } else { Err(CryptoError::UnsupportedHashAlgorithm) }
}

fn only_our_hpke(config: &HpkeConfig) -> Result<(), CryptoError> {
    match config {
        HpkeConfig(HpkeKemType::DhKem25519, HpkeKdfType::HkdfSha256, HpkeAeadType::ChaCha20Poly1305) => {
            Ok(())
        }
        _ => Err(CryptoError::UnsupportedCiphersuite),
    }
}

fn cipher(alg: AeadType, key: &[u8], nonce: &[u8]) -> Result<(ChaCha20Poly1305, Nonce), CryptoError> {
    if alg != AeadType::ChaCha20Poly1305 {
        return Err(CryptoError::UnsupportedAeadAlgorithm);
    }
    let cipher = ChaCha20Poly1305::new_from_slice(key).map_err(|_| CryptoError::InvalidLength)?;
    let nonce: [u8; NONCE_LEN] = nonce.try_into().map_err(|_| CryptoError::InvalidLength)?;
    Ok((cipher, nonce.into()))
}

impl OpenMlsCrypto for Crypto {
    fn supports(&self, suite: Ciphersuite) -> Result<(), CryptoError> {
        if suite == SUITE { Ok(()) } else { Err(CryptoError::UnsupportedCiphersuite) }
    }

    fn supported_ciphersuites(&self) -> Vec<Ciphersuite> {
        vec![SUITE]
    }

    fn hkdf_extract(&self, hash: HashType, salt: &[u8], ikm: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        only_sha256(hash)?;
        Ok(Hkdf::<Sha256>::extract(Some(salt), ikm).0.as_slice().into())
    }

    fn hmac(&self, hash: HashType, key: &[u8], message: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        only_sha256(hash)?;
        let mut mac =
            <Hmac<Sha256> as KeyInit>::new_from_slice(key).map_err(|_| CryptoError::InvalidLength)?;
        mac.update(message);
        Ok(mac.finalize().into_bytes().as_slice().into())
    }

    fn hkdf_expand(
        &self,
        hash: HashType,
        prk: &[u8],
        info: &[u8],
        okm_len: usize,
    ) -> Result<SecretVLBytes, CryptoError> {
        only_sha256(hash)?;
        let hkdf = Hkdf::<Sha256>::from_prk(prk).map_err(|_| CryptoError::InvalidLength)?;
        let mut okm = vec![0; okm_len];
        hkdf.expand(info, &mut okm).map_err(|_| CryptoError::HkdfOutputLengthInvalid)?;
        Ok(okm.into())
    }

    fn hash(&self, hash: HashType, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        only_sha256(hash)?;
        Ok(Sha256::digest(data).to_vec())
    }

    fn aead_encrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        data: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let (cipher, nonce) = cipher(alg, key, nonce)?;
        cipher.encrypt(&nonce, Payload { msg: data, aad }).map_err(|_| CryptoError::TooMuchData)
    }

    fn aead_decrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        ct_tag: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let (cipher, nonce) = cipher(alg, key, nonce)?;
        cipher.decrypt(&nonce, Payload { msg: ct_tag, aad }).map_err(|_| CryptoError::AeadDecryptionError)
    }

    /// Refused: the only signature key is the node's own, and it is made elsewhere.
    fn signature_key_gen(&self, _: SignatureScheme) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        Err(CryptoError::UnsupportedSignatureScheme)
    }

    /// Strict, and not at all for weak keys: see [`PeerId`].
    fn verify_signature(
        &self,
        alg: SignatureScheme,
        data: &[u8],
        pk: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        if alg != SignatureScheme::ED25519 {
            return Err(CryptoError::UnsupportedSignatureScheme);
        }
        let key: [u8; 32] = pk.try_into().map_err(|_| CryptoError::InvalidLength)?;
        let peer = PeerId::from_public_key(key).map_err(|_| CryptoError::InvalidPublicKey)?;
        if peer.verifies(data, signature) { Ok(()) } else { Err(CryptoError::InvalidSignature) }
    }

    /// Refused: see [`OpenMlsCrypto::signature_key_gen`] here.
    fn sign(&self, _: SignatureScheme, _: &[u8], _: &[u8]) -> Result<Vec<u8>, CryptoError> {
        Err(CryptoError::UnsupportedSignatureScheme)
    }

    fn hpke_seal(
        &self,
        config: HpkeConfig,
        pk_r: &[u8],
        info: &[u8],
        aad: &[u8],
        ptxt: &[u8],
    ) -> Result<HpkeCiphertext, CryptoError> {
        only_our_hpke(&config)?;
        let to = Deserializable::from_bytes(pk_r).map_err(|_| CryptoError::InvalidPublicKey)?;
        let mut rng = self.ephemeral([pk_r, info, aad, ptxt])?;
        let (encapsulated, ciphertext) = hpke::single_shot_seal_with_rng::<HpkeAead, HkdfSha256, HpkeKem>(
            &OpModeS::Base,
            &to,
            info,
            ptxt,
            aad,
            &mut rng,
        )
        .map_err(|_| CryptoError::HpkeEncryptionError)?;
        Ok(HpkeCiphertext {
            kem_output: encapsulated.to_bytes().as_slice().into(),
            ciphertext: ciphertext.into(),
        })
    }

    fn hpke_open(
        &self,
        config: HpkeConfig,
        input: &HpkeCiphertext,
        sk_r: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        only_our_hpke(&config)?;
        let key = Deserializable::from_bytes(sk_r).map_err(|_| CryptoError::HpkeDecryptionError)?;
        let encapsulated = Deserializable::from_bytes(input.kem_output.as_slice())
            .map_err(|_| CryptoError::HpkeDecryptionError)?;
        hpke::single_shot_open::<HpkeAead, HkdfSha256, HpkeKem>(
            &OpModeR::Base,
            &key,
            &encapsulated,
            info,
            input.ciphertext.as_slice(),
            aad,
        )
        .map_err(|_| CryptoError::HpkeDecryptionError)
    }

    /// Refused: it is needed for external commits, by which a stranger lets himself into a group.
    fn hpke_setup_sender_and_export(
        &self,
        _: HpkeConfig,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: usize,
    ) -> Result<(KemOutput, ExporterSecret), CryptoError> {
        Err(CryptoError::SenderSetupError)
    }

    /// Refused: it is needed for external commits, by which a stranger lets himself into a group.
    fn hpke_setup_receiver_and_export(
        &self,
        _: HpkeConfig,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: usize,
    ) -> Result<ExporterSecret, CryptoError> {
        Err(CryptoError::ReceiverSetupError)
    }

    fn derive_hpke_keypair(&self, config: HpkeConfig, ikm: &[u8]) -> Result<HpkeKeyPair, CryptoError> {
        only_our_hpke(&config)?;
        let (private, public) = HpkeKem::derive_keypair(ikm);
        Ok(HpkeKeyPair {
            private: private.to_bytes().as_slice().into(),
            public: public.to_bytes().as_slice().into(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::identity::Identity;

    const SHA256: HashType = HashType::Sha2_256;

    fn config() -> HpkeConfig {
        SUITE.hpke_config()
    }

    #[test]
    fn hkdf_is_that_of_rfc_5869_case_1() {
        let crypto = Crypto::default();
        let salt = hex::decode("000102030405060708090a0b0c").unwrap();
        let prk = crypto.hkdf_extract(SHA256, &salt, &[0x0b; 22]).unwrap();
        assert_eq!(
            hex::encode(prk.as_slice()),
            "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
        );
        let info = hex::decode("f0f1f2f3f4f5f6f7f8f9").unwrap();
        let okm = crypto.hkdf_expand(SHA256, prk.as_slice(), &info, 42).unwrap();
        assert_eq!(
            hex::encode(okm.as_slice()),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
        );
    }

    #[test]
    fn hmac_is_that_of_rfc_4231_case_2() {
        let tag = Crypto::default().hmac(SHA256, b"Jefe", b"what do ya want for nothing?").unwrap();
        assert_eq!(
            hex::encode(tag.as_slice()),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn hpke_is_that_of_rfc_9180_appendix_a_2_1() {
        let crypto = Crypto::default();
        let hex = |text| hex::decode(text).unwrap();
        let seed = hex("1ac01f181fdf9f352797655161c58b75c656a6cc2716dcb66372da835542e1df");
        let pair = crypto.derive_hpke_keypair(config(), &seed).unwrap();
        let public = "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a";
        assert_eq!(hex::encode(&pair.public), public);
        let input = HpkeCiphertext {
            kem_output: hex("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a").into(),
            ciphertext: hex(concat!(
                "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db",
                "21993c62ce81883d2dd1b51a28"
            ))
            .into(),
        };
        let opened =
            crypto.hpke_open(config(), &input, &pair.private, b"Ode on a Grecian Urn", b"Count-0").unwrap();
        assert_eq!(opened, b"Beauty is truth, truth beauty");
    }

    #[test]
    fn encapsulation_needs_randomness_and_never_repeats_it() {
        let pair = Crypto::default().derive_hpke_keypair(config(), &[7; 32]).unwrap();
        let seal = |crypto: &Crypto, text: &[u8]| crypto.hpke_seal(config(), &pair.public, b"i", b"a", text);
        assert!(matches!(seal(&Crypto::default(), b"x"), Err(CryptoError::InsufficientRandomness)));
        let crypto = Crypto::seeded([1; 32]);
        let (x, y) = (seal(&crypto, b"x").unwrap(), seal(&crypto, b"y").unwrap());
        assert_ne!(x.kem_output.as_slice(), y.kem_output.as_slice());
        assert_eq!(crypto.hpke_open(config(), &y, &pair.private, b"i", b"a").unwrap(), b"y");
        assert!(crypto.hpke_open(config(), &y, &pair.private, b"i", b"b").is_err());
    }

    #[test]
    fn signatures_are_checked_strictly() {
        let crypto = Crypto::default();
        let me = Identity::from_seed(&[7; 32]);
        let verify = |key: &[u8], signature: &[u8]| {
            crypto.verify_signature(SignatureScheme::ED25519, b"text", key, signature)
        };
        let signature = me.sign(b"text");
        assert!(verify(me.peer().public_key(), &signature).is_ok());
        assert!(verify(me.peer().public_key(), &signature[1..]).is_err());
        assert!(verify(me.peer().public_key(), &me.sign(b"other")).is_err());
        // The neutral element as key and R, S = 0: passes where the check is lax, for any text.
        let mut neutral = [0; 64];
        neutral[0] = 1;
        assert!(matches!(verify(&neutral[..32], &neutral), Err(CryptoError::InvalidPublicKey)));
    }
}
