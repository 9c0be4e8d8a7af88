//! WASI is there, and there is nothing behind it.

use super::{Stage, fate, guest::agent, input, patient};

/// An agent that calls one function of WASI's, which leaves its answer at address 64.
fn calling(imports: &str, function: &str, parameters: &str, then: &str) -> Vec<u8> {
    agent(&[
        ("imports", imports),
        (
            "lowered",
            &format!("(core func $wasi (canon lower (func {function}) (memory $memory) (realloc $realloc)))"),
        ),
        ("core-imports", &format!(r#"(import "host" "wasi" (func $wasi {parameters}))"#)),
        ("given", r#"(export "wasi" (func $wasi))"#),
        ("input", then),
    ])
}

async fn line_of(component: &[u8]) -> String {
    let mut stage = Stage::new();
    let agent = stage.start(component, patient()).await;
    agent.tell(input("")).await.unwrap();
    tokio::select! {
        line = stage.line() => line,
        line = fate(&agent) => line,
    }
}

/// Tells how long the list is that it got.
const LENGTH: &str = "(call $wasi (i32.const 64)) (call $tell (i32.load (i32.const 68)))";

#[tokio::test]
async fn no_folder_is_open() {
    let imports = include_str!("../../../../../tests/src/wasi/folders.wat");
    let component = calling(imports, r#"$preopens "get-directories""#, "(param i32)", LENGTH);
    assert_eq!(line_of(&component).await, "0");
}

#[tokio::test]
async fn the_environment_is_empty_and_there_are_no_arguments() {
    let imports = include_str!("../../../../../tests/src/wasi/environment.wat");
    for function in ["get-environment", "get-arguments"] {
        let component = calling(imports, &format!("$environment {function:?}"), "(param i32)", LENGTH);
        assert_eq!(line_of(&component).await, "0");
    }
}

#[tokio::test]
async fn no_socket_can_be_opened() {
    let imports = include_str!("../../../../../tests/src/wasi/sockets.wat");
    for protocol in ["tcp", "udp"] {
        let component = calling(
            &imports.replace("PROTOCOL", protocol),
            &format!(r#"$create "create-{protocol}-socket""#),
            "(param i32 i32)",
            // The answer's kind, and which error it is.
            "(call $wasi (i32.const 0) (i32.const 64))
            (call $tell (i32.add (i32.load8_u (i32.const 64)) (i32.load8_u (i32.const 68))))",
        );
        assert_eq!(line_of(&component).await, "2", "an error: access denied");
    }
}

#[tokio::test]
async fn who_exits_has_stopped() {
    let imports = r#"(import "wasi:cli/exit@0.2.0" (instance $exit
        (export "exit" (func (param "status" (result))))))"#;
    let component = calling(imports, r#"$exit "exit""#, "(param i32)", "(call $wasi (i32.const 1))");
    assert_eq!(line_of(&component).await, "it trapped: exit with code 1");
}
