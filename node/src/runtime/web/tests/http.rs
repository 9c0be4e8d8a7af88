//! Who gets what over HTTP, and what every answer says.

use super::*;

const NAVIGATION: (&str, &str) = ("Sec-Fetch-Site", "none");

#[tokio::test]
async fn every_answer_is_sealed() {
    let house = House::open().await;
    let cookie = house.cookie(A).await;
    let let_in = ("Cookie", cookie.as_str());
    let launch = house.web.launch(A, None).unwrap().url;
    let launch = launch.rsplit_once('/').unwrap().1;
    let (host, stranger) = (house.host(A), format!("evil.example:{}", house.port()));
    let origin = A.origin(house.port());
    let bridge = format!("{}?page={}", server::BRIDGE_PATH, "0".repeat(32));
    let boot = format!("/{launch}");
    let upgrade = [
        let_in,
        ("Origin", &origin),
        ("Upgrade", "websocket"),
        ("Connection", "upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    type Case<'a> = (u16, &'a str, &'a str, &'a str, &'a [(&'a str, &'a str)]);
    let cases: &[Case<'_>] = &[
        (200, "GET", &host, "/", &[let_in, NAVIGATION]),
        (200, "GET", &host, "/index.html", &[let_in, ("Sec-Fetch-Site", "same-origin")]),
        (200, "HEAD", &host, "/index.html", &[let_in]),
        (200, "GET", &host, "/webxdc.js", &[let_in]),
        (200, "GET", &host, "/paper.pdf", &[let_in]),
        (206, "GET", &host, "/a%20b.txt", &[let_in, ("Range", "bytes=2-4")]),
        (416, "GET", &host, "/a%20b.txt", &[let_in, ("Range", "bytes=20-")]),
        (404, "GET", &host, "/none", &[let_in]),
        (404, "GET", &host, "/../index.html", &[let_in]),
        (405, "POST", &host, "/", &[let_in]),
        (405, "OPTIONS", &host, "*", &[let_in]),
        (403, "GET", &host, "/", &[]),
        (403, "GET", &host, "/webxdc.js", &[]),
        (403, "GET", &host, &bridge, &[("Origin", &origin)]),
        (403, "GET", &host, "/", &[("Cookie", "parlor=00")]),
        (403, "GET", &host, "/?launch=00", &[]),
        (403, "GET", &host, "/", &[let_in, ("Sec-Fetch-Site", "cross-site")]),
        (403, "GET", &host, "/", &[let_in, ("Sec-Fetch-Site", "same-site")]),
        (403, "GET", &host, "/index.html", &[let_in, ("Service-Worker", "script")]),
        (403, "GET", &host, &bridge, &[let_in]),
        (403, "GET", &host, server::BRIDGE_PATH, &[let_in, ("Origin", &origin)]),
        (400, "GET", &host, &bridge, &[let_in, ("Origin", &origin)]),
        (421, "GET", &stranger, "/", &[let_in]),
        (421, "GET", "localhost", "/", &[let_in]),
        (421, "GET", &host, "http://evil.example/", &[let_in]),
        (200, "GET", &host, &boot, &[("Sec-Fetch-Site", "cross-site")]),
    ];
    for (status, method, host, path, headers) in cases {
        let answer = house.request(method, host, path, headers).await.unwrap();
        assert_eq!(answer.status, *status, "{method} {host} {path} {headers:?}");
        answer.assert_sealed();
    }
    // The switch to a WebSocket stays open, so only its head is read.
    let head = bridge::head_of_upgrade(&house, &bridge, &upgrade).await;
    assert_eq!(head.status, 101);
    head.assert_sealed();
}

#[tokio::test]
async fn what_the_http_library_says_by_itself_never_leaves() {
    let house = House::open().await;
    let host = house.host(A);
    let cookies = format!("GET / HTTP/1.1\r\nHost: {host}\r\nCookie: {}\r\n\r\n", "x".repeat(2_000_000));
    let many = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{}\r\n", "a: b\r\n".repeat(500));
    for request in [
        format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "a".repeat(70_000)),
        cookies,
        many,
        "GET / HTTP/1.1\r\nHost : x\r\n\r\n".into(),
        "\0\r\n\r\n".into(),
    ] {
        let start = request.chars().take(20).collect::<String>();
        let answer = house.raw(request.into_bytes()).await;
        assert!(answer.is_none(), "{start}: {answer:?}");
    }
    assert_eq!(house.get(A, "/", &[]).await.status, 403, "and the server is well");
}

#[tokio::test]
async fn a_launch_address_lets_one_browser_in() {
    let house = House::open().await;
    let launch = house.web.launch(A, Some("a b.txt#</script>")).unwrap();
    let path = launch.url.strip_prefix(&A.origin(house.port())).unwrap();
    assert_eq!(house.request("HEAD", &house.host(A), path, &[]).await.unwrap().status, 403);

    assert!(!launch.done.is_cancelled());
    let boot = house.get(A, path, &[]).await;
    assert_eq!(boot.status, 200);
    assert!(boot.body.contains(r#"const target = "/a b.txt#\u003c/script>";"#), "{}", boot.body);
    assert!(boot.body.contains("<h1>Chat &lt;b&gt;</h1>"), "{}", boot.body);
    let cookie = boot.header("set-cookie");
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();

    assert!(launch.done.is_cancelled(), "whoever keeps the address for the browser need not any longer");
    let again = house.get(A, path, &[]).await;
    assert_eq!(again.status, 403, "a token works once");
    assert!(again.body.contains("parlor open"), "{}", again.body);
    let reload = house.get(A, path, &[("Cookie", cookie)]).await;
    assert_eq!((reload.status, reload.body.as_str()), (200, "<h1>Hello</h1>"), "but a reload is fine");
    assert_eq!(house.get(B, "/", &[("Cookie", cookie)]).await.status, 403, "of this instance only");

    let url = house.web.launch(A, None).unwrap().url;
    let path = url.strip_prefix(&A.origin(house.port())).unwrap();
    assert_eq!(house.get(B, path, &[]).await.status, 403, "nor does its token open another");
}

#[tokio::test]
async fn unmounted_is_gone_and_its_launches_void() {
    let house = House::open().await;
    let cookie = house.cookie(A).await;
    let url = house.web.launch(A, None).unwrap().url;
    let path = url.strip_prefix(&A.origin(house.port())).unwrap();
    house.web.unmount(A);
    assert!(matches!(house.web.launch(A, None), Err(LaunchError::NotMounted)));
    assert_eq!(house.get(A, "/", &[("Cookie", &cookie)]).await.status, 421);
    house.web.mount(A, house.a.clone());
    assert_eq!(house.get(A, path, &[]).await.status, 403);
    assert_eq!(house.get(A, "/", &[("Cookie", &cookie)]).await.status, 200, "an open tab goes on");
}

#[tokio::test]
async fn a_credential_is_worth_nothing_after_a_restart_on_the_same_port_or_another() {
    let house = House::open().await;
    let (port, cookie) = (house.port(), house.cookie(A).await);
    let elsewhere = House::at(port).await;
    assert_ne!(elsewhere.port(), port, "taken: another port");
    assert_eq!(elsewhere.get(A, "/", &[("Cookie", &cookie)]).await.status, 403);
    drop(elsewhere);

    let again = house.restarted().await;
    assert_eq!(again.port(), port);
    let denied = again.get(A, "/", &[("Cookie", &cookie)]).await;
    assert_eq!(denied.status, 403);
    assert!(denied.body.contains("parlor open"), "{}", denied.body);
    let fresh = again.cookie(A).await;
    let both = format!("{cookie}; {fresh}");
    assert_eq!(again.get(A, "/", &[("Cookie", &both)]).await.status, 200);
}

#[tokio::test]
async fn files_come_with_type_length_and_ranges() {
    let house = House::open().await;
    let cookie = house.cookie(A).await;
    let let_in = ("Cookie", cookie.as_str());
    let page = house.get(A, "/", &[let_in]).await;
    assert_eq!(page.body, "<h1>Hello</h1>");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let head = house.request("HEAD", &house.host(A), "/", &[let_in]).await.unwrap();
    assert_eq!((head.header("content-length"), head.body.as_str()), ("14", ""));
    let part = house.get(A, "/a%20b.txt", &[let_in, ("Range", "bytes=2-4")]).await;
    assert_eq!((part.body.as_str(), part.header("content-range")), ("234", "bytes 2-4/10"));
    let pdf = house.get(A, "/paper.pdf", &[let_in]).await;
    assert_eq!(pdf.header("content-type"), "application/octet-stream");
    assert_eq!(pdf.header("content-disposition"), "attachment");
}

#[tokio::test]
async fn the_icon_of_the_program_is_the_icon_of_its_tab() {
    let house = House::open().await;
    let cookie = house.cookie(A).await;
    assert_eq!(house.get(A, "/favicon.ico", &[("Cookie", &cookie)]).await.status, 404);
    std::fs::write(house.a.folder.path().join("icon.jpg"), "JPEG").unwrap();
    let icon = house.get(A, "/favicon.ico", &[("Cookie", &cookie)]).await;
    assert_eq!((icon.header("content-type"), icon.body.as_str()), ("image/jpeg", "JPEG"));
}

#[tokio::test]
async fn webxdc_js_is_ours() {
    let house = House::open().await;
    let cookie = house.cookie(A).await;
    let script = house.get(A, "/webxdc.js", &[("Cookie", &cookie)]).await;
    assert_eq!(script.header("content-type"), "text/javascript; charset=utf-8");
    let config = script.body.trim_end().strip_suffix(");").unwrap().rsplit_once("\n})\n(").unwrap().1;
    let config: serde_json::Value = serde_json::from_str(config).unwrap();
    assert_eq!(config["selfAddr"], "addr-1");
    assert_eq!(config["selfName"], "Alice \"</script>");
    assert_eq!(config["isAppSender"], true);
    assert_eq!(config["sendUpdateMaxSize"], MAX_UPDATE_LEN);
    assert_eq!(config["sendUpdateInterval"], 100);
    assert_eq!(config["secret"].as_str().unwrap().len(), 64);
    assert_ne!(config["secret"], bridge::secret(&house, B).await, "each instance has its own");
}

#[tokio::test]
async fn path_tricks_never_reach_the_program() {
    let house = House::open().await;
    let cookie = house.cookie(A).await;
    for trick in [
        "/../etc/passwd",
        "/%2e%2e/etc/passwd",
        "/a/%2e%2e%2fetc",
        "/..%5cetc",
        "/a%00.html",
        "//etc/passwd",
        "/./index.html",
        "/%ff",
        "/index.html/",
    ] {
        assert_eq!(house.get(A, trick, &[("Cookie", &cookie)]).await.status, 404, "{trick}");
    }
    assert_eq!(*house.a.asked.lock().unwrap(), Vec::<String>::new());
    assert_eq!(house.get(A, "/", &[("Cookie", &cookie)]).await.status, 200);
    assert_eq!(*house.a.asked.lock().unwrap(), ["index.html"]);
}

#[tokio::test]
async fn a_file_that_is_a_folder_or_gone_is_not_found() {
    let house = House::open().await;
    let cookie = house.cookie(A).await;
    std::fs::create_dir(house.a.folder.path().join("folder")).unwrap();
    assert_eq!(house.get(A, "/folder", &[("Cookie", &cookie)]).await.status, 404);
}
