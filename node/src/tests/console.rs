//! Who is let in to the console's port.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;

/// The first line of the answer to a command, asked under this `Host` with this token.
async fn asked(url: &str, host: Option<&str>, token: &str) -> String {
    let address = url.strip_prefix("http://").unwrap().split_once('/').unwrap().0;
    let (host, body) = (host.unwrap_or(address), r#"{"verb":"id"}"#);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /control HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

fn token(url: &str) -> &str {
    url.split_once("#token=").unwrap().1
}

#[tokio::test]
async fn a_token_is_of_one_start_and_of_one_address() {
    let home = tempfile::tempdir().unwrap();
    let start = async || Node::start(Config::on_loopback(home.path().join("home"))).await.unwrap();
    let first = start().await;
    let port = first.console.split('/').nth(2).unwrap().rsplit_once(':').unwrap().1.to_owned();
    assert_eq!(asked(&first.console, None, token(&first.console)).await, "HTTP/1.1 200 OK");
    let by_name = format!("localhost:{port}");
    let elsewhere = asked(&first.console, Some(&by_name), token(&first.console)).await;
    assert_eq!(elsewhere, "HTTP/1.1 421 Misdirected Request");
    first.node.stop().await;

    let second = start().await;
    assert_eq!(asked(&second.console, None, token(&first.console)).await, "HTTP/1.1 403 Forbidden");
    assert_eq!(asked(&second.console, None, token(&second.console)).await, "HTTP/1.1 200 OK");
    second.node.stop().await;
}
