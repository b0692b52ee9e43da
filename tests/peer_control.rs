//! Promise: the control socket belongs to its owner alone, outlives crashes of its daemon, and no
//! client can stall or exhaust it.
#![allow(missing_docs)]

use pgfo::control::{
    CLIENTS_MAX, Client, ClientError, ControlError, ControlServer, ControlTiming, Incoming,
    REQUEST_BYTES_MAX, Request, SocketError, StreamPart,
};
use pgfo_replay::Seq;
use serde_json::json;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

const SHORT: ControlTiming =
    ControlTiming { client_timeout: Duration::from_millis(300), reply_timeout: Duration::from_millis(300) };

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    (dir, path)
}

/// Answers as a daemon would.
async fn daemon(mut incoming: mpsc::Receiver<Incoming>) {
    while let Some(Incoming { request, uid, reply }) = incoming.recv().await {
        let _gone = match request {
            Request::Status => reply.done(json!({ "term": 3, "uid": uid })),
            Request::Adopt { name, .. } => {
                reply.error(ControlError::new("no-such-member", format!("no \"{name}\""), "see status"))
            }
            Request::Export { from, .. } => {
                let sent = async {
                    reply.item(json!({ "from": from })).await?;
                    reply.bytes(&vec![b'\n'; 200_000]).await?;
                    reply.done(json!({ "records": 9 }))
                };
                sent.await
            }
            Request::MayStart => {
                drop(reply);
                Ok(())
            }
            Request::Version => {
                // Never answers.
                tokio::spawn(async move {
                    let _held = reply;
                    std::future::pending::<()>().await;
                });
                Ok(())
            }
        };
    }
}

async fn blocking<T: Send + 'static>(path: &Path, f: impl FnOnce(&Path) -> T + Send + 'static) -> T {
    let path = path.to_owned();
    spawn_blocking(move || f(&path)).await.unwrap()
}

#[tokio::test]
async fn requests_are_answered_by_value_by_stream_and_by_error() {
    let (_dir, path) = place();
    let (server, incoming) = ControlServer::start(&path).unwrap();
    tokio::spawn(daemon(incoming));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    blocking(&path, |path| {
        let mut client = Client::connect(path).unwrap();
        let status = client.call(&Request::Status).unwrap();
        assert_eq!(status["term"], 3);
        assert_eq!(status["uid"], rustix::process::getuid().as_raw());
        let error = client.call(&Request::Adopt { name: "x".to_owned(), vouched: false }).unwrap_err();
        assert!(matches!(error, ClientError::Refused(e) if e.code == "no-such-member"));
        let (mut items, mut bytes) = (0, 0);
        let end = client.stream(&Request::Export { from: Seq(4), to: None }, |part| {
            match part {
                StreamPart::Item(value) => {
                    assert_eq!(value["from"], 4);
                    items += 1;
                }
                StreamPart::Bytes(chunk) => bytes += chunk.len(),
            }
            Ok(())
        });
        assert_eq!(end.unwrap()["records"], 9);
        assert_eq!((items, bytes), (1, 200_000));
        let error = client.call(&Request::MayStart).unwrap_err();
        assert!(matches!(error, ClientError::Refused(e) if e.code == "unanswered"));
    })
    .await;
    drop(server);
    assert!(!path.exists(), "the file goes with the server");
}

#[tokio::test]
async fn a_stale_socket_is_taken_over_and_a_living_one_is_not() {
    let (dir, path) = place();
    drop(UnixListener::bind(&path).unwrap());
    assert!(matches!(Client::connect(&path), Err(ClientError::NotRunning { .. })));
    let (server, _incoming) = ControlServer::start(&path).unwrap();
    let error = ControlServer::start(&path).unwrap_err();
    assert!(matches!(error, SocketError::InUse { .. }), "{error}");
    assert!(path.exists());
    // A successor's file is not removed by its predecessor.
    std::fs::remove_file(&path).unwrap();
    let _successor = ControlServer::start(&path).unwrap();
    drop(server);
    assert!(path.exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let (_dir, path) = place();
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(ControlServer::start(&path), Err(SocketError::NotASocket { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    assert!(matches!(ControlServer::start(Path::new("/nowhere/x.sock")), Err(SocketError::Io { .. })));
    assert!(matches!(Client::connect(Path::new("/nowhere/x.sock")), Err(ClientError::NotRunning { .. })));
}

#[tokio::test]
async fn bad_requests_are_refused_with_a_code() {
    let (_dir, path) = place();
    let (_server, incoming) = ControlServer::start(&path).unwrap();
    tokio::spawn(daemon(incoming));
    blocking(&path, |path| {
        let ask = |bytes: &[u8]| {
            let mut stream = UnixStream::connect(path).unwrap();
            // The server may hang up before it read all.
            let _written = stream.write_all(bytes);
            let mut reply = String::new();
            let _reset = stream.read_to_string(&mut reply);
            reply
        };
        assert!(ask(b"{\"request\":\"shutdown\"}\n").contains("bad-request"));
        assert!(ask(b"\n").contains("bad-request"));
        assert!(ask(b"\xff\xfe\n").contains("bad-request"));
        assert!(ask(&vec![b'x'; REQUEST_BYTES_MAX + 10]).contains("too-large"));
        let mut client = Client::connect(path).unwrap();
        let error = client.call(&Request::Adopt { name: "x".repeat(300_000), vouched: false }).unwrap_err();
        assert!(matches!(&error, ClientError::Refused(e) if e.code == "too-large"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn slow_clients_and_slow_answers_have_deadlines() {
    let (_dir, path) = place();
    let (_server, incoming) = ControlServer::start_with(&path, SHORT).unwrap();
    tokio::spawn(daemon(incoming));
    blocking(&path, |path| {
        let mut silent = UnixStream::connect(path).unwrap();
        silent.write_all(b"{\"requ").unwrap();
        assert_eq!(silent.read(&mut [0; 8]).unwrap(), 0, "hung up on");
        let mut client = Client::connect(path).unwrap();
        let error = client.call(&Request::Version).unwrap_err();
        assert!(matches!(error, ClientError::Refused(e) if e.code == "unknown-outcome"));
        // A client that gives up first knows no more.
        let mut hasty = Client::connect_with(path, Duration::from_millis(20)).unwrap();
        assert!(matches!(hasty.call(&Request::Version), Err(ClientError::Unknown { .. })));
    })
    .await;
}

#[tokio::test]
async fn one_client_too_many_is_told_to_come_back() {
    let (_dir, path) = place();
    let (_server, incoming) = ControlServer::start(&path).unwrap();
    tokio::spawn(daemon(incoming));
    blocking(&path, |path| {
        let mut clients: Vec<_> = (0..CLIENTS_MAX).map(|_| Client::connect(path).unwrap()).collect();
        for client in &mut clients {
            client.call(&Request::Status).unwrap();
        }
        let error = Client::connect(path).unwrap().call(&Request::Status).unwrap_err();
        assert!(matches!(&error, ClientError::Refused(e) if e.code == "busy"), "{error}");
    })
    .await;
}
