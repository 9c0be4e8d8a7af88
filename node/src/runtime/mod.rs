//! What runs a program on this node.
//!
//! For: [`agent`], the part of a program that runs by itself, in a sandbox, and [`web`], the part that is shown in the
//! user's own browser. Not for: deciding when a program runs (see `session`), nor how what it says reaches the group (see
//! `group`).

pub mod agent;
mod pace;
pub mod update;
pub mod web;

/// Shows an address in the user's browser. Failure is told in the log; the user still has `parlor open`.
pub fn open_in_browser(url: String) {
    // Starting a browser can take a while.
    tokio::task::spawn_blocking(move || {
        if let Err(error) = open::that_detached(&url) {
            tracing::warn!(%error, "no browser can be started: use `parlor open SESSION --print`");
        }
    });
}
