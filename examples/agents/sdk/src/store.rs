//! What is kept across restarts: keys and values.
//!
//! A key has at most 256 bytes, a value at most 1 MiB, and all together have what the manifest asks for (`store`; 4 MiB
//! without). What was set is on disk.

use serde::{Serialize, de::DeserializeOwned};

use crate::bindings::parlor::agent::store;
pub use crate::{bindings::parlor::agent::store::Scope, error::KeepError as Error};

/// The value, if there is one.
///
/// # Errors
///
/// See [`Error`].
pub fn get(scope: Scope, key: &str) -> Result<Option<Vec<u8>>, Error> {
    Ok(store::get(scope, key)?)
}

/// The value that [`set_json`] kept; `None` too if it is not like that.
///
/// # Errors
///
/// See [`Error`].
pub fn get_json<T: DeserializeOwned>(scope: Scope, key: &str) -> Result<Option<T>, Error> {
    Ok(get(scope, key)?.and_then(|value| serde_json::from_slice(&value).ok()))
}

/// Keeps a value; it is on disk when this returns.
///
/// # Errors
///
/// See [`Error`].
pub fn set(scope: Scope, key: &str, value: &[u8]) -> Result<(), Error> {
    Ok(store::set(scope, key, value)?)
}

/// Keeps a value as JSON.
///
/// # Errors
///
/// See [`Error`].
///
/// # Panics
///
/// If it cannot be JSON: a map whose keys are no texts, say.
pub fn set_json(scope: Scope, key: &str, value: &impl Serialize) -> Result<(), Error> {
    set(scope, key, &serde_json::to_vec(value).expect("a value can be JSON"))
}

/// Forgets a value. That there was none is no error.
///
/// # Errors
///
/// See [`Error`].
pub fn delete(scope: Scope, key: &str) -> Result<(), Error> {
    Ok(store::delete(scope, key)?)
}

/// All keys, in order.
///
/// # Errors
///
/// See [`Error`].
pub fn keys(scope: Scope) -> Result<Vec<String>, Error> {
    Ok(store::keys(scope)?)
}
