//! How components become code, and what does not.

use std::{fs::File, time::Duration};

use rand::Rng as _;

use super::{
    super::{LoadError, Sandbox, limits::MAX_COMPONENT},
    Stage, fate, files_in,
    guest::{agent, echo},
    input, patient,
};

async fn refusal(stage: &Stage, component: &[u8]) -> String {
    stage.load(component).await.err().unwrap().to_string()
}

#[tokio::test]
async fn what_is_loaded_twice_is_compiled_once() {
    let stage = Stage::new();
    let path = stage.put("agent.wasm", &echo());
    let (first, second) = tokio::join!(stage.sandbox.load(path.clone()), stage.sandbox.load(path));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(stage.sandbox.found_and_compiled(), (0, 1));

    let another = Sandbox::new(&stage.folder.path().join("cache")).unwrap();
    another.load(stage.put("copy.wasm", &echo())).await.unwrap();
    assert_eq!(another.found_and_compiled(), (1, 0), "the cache on the disk outlives the sandbox");
}

#[tokio::test]
async fn a_changed_byte_is_another_component() {
    let mut stage = Stage::new();
    let says = [
        ("extra", r#"(data (i32.const 1024) "cheers")"#),
        ("input", "(call $line (i32.const 1024) (i32.const 6))"),
    ];
    let mut component = agent(&says);
    for (says, compiled) in [("cheers", 1), ("sheers", 2)] {
        let agent = stage.start(&component, patient()).await;
        agent.tell(input("")).await.unwrap();
        assert_eq!(stage.line().await, says);
        assert_eq!(stage.sandbox.found_and_compiled(), (0, compiled));
        let at = component.windows(6).position(|bytes| bytes == says.as_bytes()).unwrap();
        component[at] = b's';
    }
}

#[tokio::test]
async fn a_file_that_was_changed_behind_its_time_is_read_again() {
    let mut stage = Stage::new();
    let says = [
        ("extra", r#"(data (i32.const 1024) "cheers")"#),
        ("input", "(call $line (i32.const 1024) (i32.const 6))"),
    ];
    let mut component = agent(&says);
    let path = stage.put("agent.wasm", &component);
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    // Longer than until a file counts as settled: from then on it is known without being read.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    for _ in 0..2 {
        stage.sandbox.load(path.clone()).await.unwrap();
    }
    assert!(stage.sandbox.loader().knows(&path));

    let at = component.windows(6).position(|bytes| bytes == b"cheers").unwrap();
    component[at] = b's';
    std::fs::write(&path, &component).unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    assert!(!stage.sandbox.loader().knows(&path));
    let agent = stage.sandbox.start(path, stage.surroundings(), patient(), None);
    agent.tell(input("")).await.unwrap();
    assert_eq!(stage.line().await, "sheers");
}

#[tokio::test]
async fn a_damaged_cache_is_as_good_as_none() {
    let mut stage = Stage::new();
    stage.load(&echo()).await.unwrap();
    let cache = stage.folder.path().join("cache");
    let cut: fn(Vec<u8>) -> Vec<u8> = |bytes| bytes[..bytes.len() / 2].to_vec();
    let noise: fn(Vec<u8>) -> Vec<u8> = |bytes| vec![0xa5; bytes.len()];
    for damage in [cut, noise, |_| Vec::new()] {
        let mut damaged = 0;
        for file in files_in(&cache) {
            // Wasmtime tidies up behind the scenes: what was on its way is gone.
            if let Ok(bytes) = std::fs::read(&file) {
                std::fs::write(&file, damage(bytes)).unwrap();
                damaged += 1;
            }
        }
        assert!(damaged > 0);
        stage.sandbox = Sandbox::new(&cache).unwrap();
        let agent = stage.start(&echo(), patient()).await;
        agent.tell(input("as if nothing had been")).await.unwrap();
        assert_eq!(stage.line().await, "as if nothing had been");
        assert_eq!(stage.sandbox.found_and_compiled(), (0, 1));
    }
}

#[tokio::test]
async fn what_is_unknown_cannot_be_imported() {
    let stage = Stage::new();
    let imports =
        r#"(import "parlor:agent/secrets@0.1.0" (instance (export "tell" (func (result string)))))"#;
    let line = refusal(&stage, &agent(&[("imports", imports)])).await;
    assert!(line.starts_with("it is no agent for this node: "), "{line}");
    assert!(line.contains("parlor:agent/secrets@0.1.0") && !line.contains('\n'), "{line}");
}

#[tokio::test]
async fn who_lacks_what_an_agent_has_is_none() {
    let stage = Stage::new();
    let line = refusal(&stage, &wat::parse_str("(component)").unwrap()).await;
    assert!(line.starts_with("it is no agent for this node: "), "{line}");
    assert!(line.contains("parlor:agent/events"), "{line}");
}

#[tokio::test]
async fn what_is_malformed_is_refused() {
    let stage = Stage::new();
    let mut noise = vec![0; 4096];
    rand::rng().fill_bytes(&mut noise);
    noise[0] = b'#';
    let core = wat::parse_str("(module)").unwrap();
    let mut begins_well = echo()[..8].to_vec();
    begins_well.extend_from_slice(&noise);
    let half = echo()[..echo().len() / 2].to_vec();
    for (component, why) in [
        (noise.as_slice(), "it is not WebAssembly at all"),
        (&[], "it is not WebAssembly at all"),
        (core.as_slice(), "it is a core module"),
        (begins_well.as_slice(), ""),
        (half.as_slice(), ""),
        (b"(component)", "it is not WebAssembly at all"),
    ] {
        let line = refusal(&stage, component).await;
        assert!(line.starts_with("it is no WebAssembly component: "), "{line}");
        assert!(line.contains(why) && !line.contains('\n') && line.len() < 600, "{line}");
    }
}

#[tokio::test]
async fn what_cannot_be_loaded_is_what_an_agent_is_stopped_for() {
    let stage = Stage::new();
    let path = stage.put("agent.wasm", b"(component)");
    let agent = stage.sandbox.start(path, stage.surroundings(), patient(), None);
    assert_eq!(
        fate(&agent).await,
        "it cannot be loaded: it is no WebAssembly component: it is not WebAssembly at all"
    );
}

#[tokio::test]
async fn what_is_too_large_is_not_even_read() {
    let stage = Stage::new();
    let path = stage.folder.path().join("huge.wasm");
    File::create(&path).unwrap().set_len(200_000_000).unwrap();
    let error = stage.sandbox.load(path).await.err().unwrap();
    assert!(matches!(error, LoadError::TooLarge(200_000_000)));
    let line = format!("the component has 200000000 bytes, at most {MAX_COMPONENT} are allowed");
    assert_eq!(error.to_string(), line);
}

#[tokio::test]
async fn what_is_not_there_cannot_be_read() {
    let stage = Stage::new();
    let error = stage.sandbox.load(stage.folder.path().join("nothing.wasm")).await.err().unwrap();
    assert!(matches!(error, LoadError::Read(_)), "{error}");
    let error = stage.sandbox.load(stage.folder.path().into()).await.err().unwrap();
    assert!(matches!(error, LoadError::Read(_)), "{error}");
}
