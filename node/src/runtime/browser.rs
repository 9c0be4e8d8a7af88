//! The user's browser, and how it is told an address that nobody else may read.
//!
//! For: [`Browser`]. Not for: addresses that people open themselves (`parlor open --print`).
//!
//! The idea: what a program is started with can be read by every user of the computer while it runs (`/proc`, `ps`). So
//! the browser is started with the name of a file, which only this user can read; the file leads on to the address, and is
//! removed once the address is used or void. What a killed node leaves behind, the next start removes; the address in it
//! was void by then.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::web::{LAUNCH_TTL, Launch};

/// What the names of the files begin and end with.
const PREFIX: &str = "open-";
const SUFFIX: &str = ".html";

/// Starts the user's browser.
#[derive(Debug)]
pub struct Browser {
    folder: PathBuf,
}

impl Browser {
    /// With its files in this folder, which is made, and is for this user alone; those of a run before are removed.
    ///
    /// # Errors
    ///
    /// The folder cannot be used.
    pub fn new(folder: PathBuf) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { folder })
    }

    /// Shows an address. Failure is told in the log; the user still has `parlor open --print`.
    pub fn show(&self, launch: Launch) {
        let folder = self.folder.clone();
        tokio::spawn(async move {
            let shown = tokio::task::spawn_blocking({
                let url = launch.url.clone();
                // Starting a browser can take a while.
                move || {
                    let page = leading_to(&url, &folder)?;
                    open::that_detached(page.path())?;
                    Ok::<_, io::Error>(page)
                }
            });
            match shown.await {
                // Dropped, the file is removed.
                Ok(Ok(_page)) => drop(tokio::time::timeout(LAUNCH_TTL, launch.done.cancelled()).await),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "no browser can be started: use `parlor open SESSION --print`");
                }
                Err(error) => tracing::warn!(%error, "no browser was started"),
            }
        });
    }
}

/// A page, for this user alone, that leads to an address at once.
fn leading_to(url: &str, folder: &Path) -> io::Result<NamedTempFile> {
    let private = fs::Permissions::from_mode(0o600);
    let mut file =
        tempfile::Builder::new().prefix(PREFIX).suffix(SUFFIX).permissions(private).tempfile_in(folder)?;
    // An address is hexadecimal digits, a port and a few signs: nothing to be escaped.
    write!(
        file,
        "<!doctype html>\n<meta charset=\"utf-8\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>Parlor</title>\n<script>location.replace(\"{url}\")</script>\n\
         <noscript><a href=\"{url}\">Open</a></noscript>\n"
    )?;
    file.flush()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_this_user_reads_where_the_browser_is_led() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("browser");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("open-left.html"), "of a killed node").unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let browser = Browser::new(folder.clone()).unwrap();
        assert_eq!(fs::read_dir(&browser.folder).unwrap().count(), 0, "what was left is gone");

        let url = "http://00ff.localhost:4711/?launch=abc";
        let page = leading_to(url, &folder).unwrap();
        assert_eq!((mode(&folder), mode(page.path())), (0o700, 0o600));
        assert!(fs::read_to_string(page.path()).unwrap().contains(&format!("location.replace(\"{url}\")")));
        drop(page);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
}
