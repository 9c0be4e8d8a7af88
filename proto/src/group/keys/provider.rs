//! The cryptography and the randomness that openmls works with here.
//!
//! For: the one cipher suite a group uses, out of the RustCrypto and dalek crates, without the operating
//! system. Not for: keys that outlive a call (see [`super::store`]).
//!
//! The idea: openmls asks a *provider* for everything it does not do itself. This one draws all randomness
//! from a seed that the caller hands in, so that a run can be repeated, and refuses where none was handed in.
//! Signature keys stay outside: a node signs with its [`crate::identity::Identity`], never through here.

use std::sync::{Mutex, PoisonError};

use chacha20::{
    ChaCha20Rng,
    rand_core::{Rng as _, SeedableRng},
};
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
    HpkeKemType, HpkeKeyPair, OpenMlsCrypto, OpenMlsProvider, OpenMlsRand, SignatureScheme,
    tls_codec::SecretVLBytes,
};
use openmls_memory_storage::MemoryStorage;
use openmls_traits::types::{ExporterSecret, KemOutput};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::store::Store;
use crate::identity::PeerId;

/// The only cipher suite in use: X25519, ChaCha20-Poly1305, SHA-256, Ed25519 (RFC 9420, section 17.1).
pub(super) const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;

const NONCE_LEN: usize = 12;

/// What one call into openmls gets to work with.
#[derive(Debug)]
pub(super) struct Provider<'a> {
    crypto: Crypto,
    rand: Rand,
    store: &'a Store,
}

impl<'a> Provider<'a> {
    /// For calls that make nothing up: reading, checking, applying.
    pub(super) fn without_randomness(store: &'a Store) -> Self {
        Self { crypto: Crypto::default(), rand: Rand(None), store }
    }

    /// For calls that make keys of `peer`. `seed` must be fresh: whoever knows it knows the keys.
    pub(super) fn seeded(store: &'a Store, peer: PeerId, seed: &[u8; 32]) -> Self {
        let derive = |purpose| {
            let mut hasher = blake3::Hasher::new_derive_key(purpose);
            hasher.update(seed).update(peer.public_key());
            <[u8; 32]>::from(hasher.finalize())
        };
        let rand = Zeroizing::new(derive("parlor mls randomness v1"));
        let seal = derive("parlor mls encapsulation v1");
        Self {
            crypto: Crypto { seal: Some(Zeroizing::new(seal)) },
            rand: Rand(Some(Mutex::new(ChaCha20Rng::from_seed(*rand)))),
            store,
        }
    }
}

impl OpenMlsProvider for Provider<'_> {
    type CryptoProvider = Crypto;
    type RandProvider = Rand;
    type StorageProvider = MemoryStorage;

    fn storage(&self) -> &MemoryStorage {
        self.store.memory()
    }

    fn crypto(&self) -> &Crypto {
        &self.crypto
    }

    fn rand(&self) -> &Rand {
        &self.rand
    }
}

/// Randomness from a seed.
#[derive(Debug)]
pub(super) struct Rand(Option<Mutex<ChaCha20Rng>>);

/// A call that was not meant to make anything up asked for randomness.
#[derive(Debug, thiserror::Error)]
#[error("no randomness was given to this step")]
pub(super) struct NoRandomness;

impl OpenMlsRand for Rand {
    type Error = NoRandomness;

    fn random_array<const N: usize>(&self) -> Result<[u8; N], NoRandomness> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn random_vec(&self, len: usize) -> Result<Vec<u8>, NoRandomness> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
}

impl Rand {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        let rng = self.0.as_ref().ok_or(NoRandomness)?;
        // A generator is never left half-changed, so one whose user panicked is as good as any.
        rng.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
        Ok(())
    }
}

/// The algorithms of [`SUITE`], and no others.
#[derive(Debug, Default)]
pub(super) struct Crypto {
    /// From which each encapsulation's ephemeral key is drawn.
    seal: Option<Zeroizing<[u8; 32]>>,
}

impl Crypto {
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
