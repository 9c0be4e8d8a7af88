//! A member's web browser: headless Chromium, driven by WebDriver.
//!
//! For: opening a program's page and using it as a person does: typing, clicking, reading. Needs Debian's
//! `chromium` and `chromium-driver`, and says so. Not for: the isolation of pages, which is tested where they
//! are served.
//!
//! The idea: a browser and a fresh profile for each member, because members sit at different machines. Driver
//! and browser live in a process namespace of their own, so that ending its first process ends all of them,
//! however the test ends.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use fantoccini::{Client, ClientBuilder, Locator, wd::Capabilities};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::wait_until;

/// One browser with one tab.
pub struct Browser {
    owner: String,
    runtime: Runtime,
    client: Client,
    driver: Child,
    /// Outlives the browser, which writes to it until the end.
    _profile: TempDir,
}

impl Browser {
    /// Opens a page. `owner` is whose browser this is, for messages.
    #[must_use]
    pub fn open(owner: &str, url: &str) -> Self {
        let (driver, address) = start_driver();
        let profile =
            tempfile::Builder::new().prefix("parlor-profile-").tempdir().expect("a scratch directory");
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let connecting = builder.capabilities(capabilities(&profile)).connect(&address);
        let client = runtime.block_on(connecting).expect("chromedriver starts chromium");
        let browser = Self { owner: owner.to_owned(), runtime, client, driver, _profile: profile };
        browser.runtime.block_on(browser.client.goto(url)).expect("the page opens");
        browser
    }

    /// Loads the page again.
    pub fn reload(&self) {
        self.runtime.block_on(self.client.refresh()).expect("the page reloads");
    }

    /// What an expression in the page comes to.
    #[must_use]
    pub fn eval(&self, expression: &str) -> Value {
        let script = format!("return ({expression});");
        let value = self.runtime.block_on(self.client.execute(&script, Vec::new()));
        value.unwrap_or_else(|error| panic!("{}'s browser: {expression}: {error}", self.owner))
    }

    /// Waits until an expression in the page is true.
    #[track_caller]
    pub fn wait(&self, expression: &str) {
        wait_until(&format!("{expression} in {}'s browser", self.owner), || {
            let now = self.eval(expression);
            if now == json!(true) {
                Ok(())
            } else {
                Err(format!("{now}; the page says: {}", self.page_text()))
            }
        });
    }

    /// Waits until `data-ready` says that the program has taken all history in.
    #[track_caller]
    pub fn wait_ready(&self) {
        self.wait("document.body !== null && document.body.dataset.ready === 'true'");
    }

    /// Types into an element.
    pub fn type_into(&self, selector: &str, text: &str) {
        let typing = async { self.client.find(Locator::Css(selector)).await?.send_keys(text).await };
        self.runtime
            .block_on(typing)
            .unwrap_or_else(|e| panic!("{}: typing into {selector}: {e}", self.owner));
    }

    /// Clicks on an element.
    pub fn click(&self, selector: &str) {
        let clicking = async { self.client.find(Locator::Css(selector)).await?.click().await };
        self.runtime
            .block_on(clicking)
            .unwrap_or_else(|e| panic!("{}: clicking {selector}: {e}", self.owner));
    }

    fn page_text(&self) -> Value {
        self.eval("document.body ? document.body.innerText : ''")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Politely first; whatever is left then ends with the namespace's first process.
        let _closed = self.runtime.block_on(self.client.clone().close());
        let _gone = self.driver.kill();
        let _gone = self.driver.wait();
    }
}

/// Starts chromedriver on a free port; returns it with its address.
fn start_driver() -> (Child, String) {
    let mut driver = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--fork", "--pid", "--mount-proc", "--kill-child"])
        .args(["chromedriver", "--port=0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("setpriv and unshare (util-linux) are there");
    let stdout = driver.stdout.take().expect("standard output is piped");
    let port = port_of(stdout).expect("this story needs chromium and chromedriver, and root to contain them");
    (driver, format!("http://127.0.0.1:{port}"))
}

/// The port chromedriver says it started on.
fn port_of(stdout: ChildStdout) -> Option<u16> {
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    let port =
        lines.find_map(|line| line.split("successfully on port ").nth(1)?.trim_end_matches('.').parse().ok());
    // What it goes on to say is read, so that it never waits for us.
    std::thread::spawn(move || lines.for_each(drop));
    port
}

fn capabilities(profile: &TempDir) -> Capabilities {
    let profile = format!("--user-data-dir={}", profile.path().display());
    let args = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        &profile,
    ];
    let options = json!({ "args": args });
    [("browserName".to_owned(), json!("chrome")), ("goog:chromeOptions".to_owned(), options)]
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_can_be_used() {
        let page = "<body data-ready=true><input id=i><button id=b onclick='p.textContent=i.value'>B</button><p id=p>";
        let browser = Browser::open("nobody", &format!("data:text/html,{page}"));
        browser.wait_ready();
        browser.type_into("#i", "hello");
        assert_eq!(browser.eval("p.textContent"), "");
        browser.click("#b");
        browser.wait("p.textContent === 'hello'");
        browser.reload();
        browser.wait("p.textContent === ''");
    }
}
