//! What openmls works with here: algorithms, randomness, state.
//!
//! For: handing openmls what it does not do itself, without the operating system. Not for: keys that outlive a
//! call (see [`super::store`]), nor for the node's signature key: a node signs with its
//! [`crate::identity::Identity`], never through here.
//!
//! The idea: all randomness comes from a seed that the caller hands in, so that a run can be repeated; where
//! none was handed in, there is none.

use std::sync::{Mutex, PoisonError};

use chacha20::{
    ChaCha20Rng,
    rand_core::{Rng as _, SeedableRng},
};
use openmls::prelude::{OpenMlsProvider, OpenMlsRand};
use openmls_memory_storage::MemoryStorage;
use zeroize::Zeroizing;

use super::{crypto::Crypto, store::Store};
use crate::identity::PeerId;

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
            crypto: Crypto::seeded(seal),
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
