//! Promise: members on one host find each other, lose each other within the idle timeout, find
//! each other again, and no stranger takes the link down.
#![allow(missing_docs)]

mod peer_support;

use peer_support::{A, B, C, Message, Raw, Town, hello, text};
use pgfo::core::MemberId;
use pgfo::peer::frame::FrameError;
use pgfo::peer::{
    ConfigError, DisconnectReason, PeerEvent, PeerLink, Refusal, RefusedReason, Security, SendOutcome,
    StartError,
};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

const SHORT: Duration = Duration::from_millis(400);

/// What a busy machine may add to a timeout.
const SLACK: Duration = Duration::from_secs(5);

#[tokio::test]
async fn three_members_talk_to_each_other() {
    let mut town = Town::new();
    let mut nodes = [town.plain(A), town.plain(B), town.plain(C)];
    for (me, peers) in [(0, [B, C]), (1, [A, C]), (2, [A, B])] {
        // Any order of arrival is right.
        let mut seen = Vec::new();
        while seen.len() < 2 {
            if let PeerEvent::Connected { member, hello } = nodes[me].next().await {
                assert_eq!(hello.incarnation.0, u64::from(member.0) + 100);
                seen.push(member);
            }
        }
        seen.sort();
        assert_eq!(seen, peers);
    }
    for from in [A, B, C] {
        for to in [A, B, C] {
            let outcome = nodes[usize::from(from.0)].handle.send(to, &text("hi"));
            let wanted = if from == to { SendOutcome::NoSuchMember } else { SendOutcome::Queued };
            assert_eq!(outcome, wanted);
        }
    }
    for (me, peers) in [(0, [B, C]), (1, [A, C]), (2, [A, B])] {
        let mut seen = Vec::new();
        while seen.len() < 2 {
            if let PeerEvent::Received { member, message } = nodes[me].next().await {
                assert_eq!(message, text("hi"));
                seen.push(member);
            }
        }
        seen.sort();
        assert_eq!(seen, peers);
    }
    let status = nodes[0].handle.status(B).unwrap();
    assert_eq!((status.sent, status.dropped, status.received), (1, 0, 1));
    assert_eq!(nodes[0].handle.send(MemberId(9), &text("x")), SendOutcome::NoSuchMember);
    assert_eq!(nodes[0].handle.send(B, &Message::Blob(vec![1; 70_000])), SendOutcome::NotEncodable);
}

#[tokio::test]
async fn one_side_that_can_dial_is_enough() {
    let mut town = Town::new();
    let mut a = town.plain(A);
    let mut config = town.config(B, Security::PlainLoopback);
    // B believes A to be where nobody is.
    config.members[0].address = "127.0.0.1:1".to_owned();
    let mut b = town.start(config);
    a.connected(B).await;
    b.connected(A).await;
    assert_eq!(a.handle.send(B, &text("there")), SendOutcome::Queued);
    assert_eq!(b.received(A).await, text("there"));
    assert_eq!(b.handle.send(A, &text("and back")), SendOutcome::Queued);
    assert_eq!(a.received(B).await, text("and back"));
}

#[tokio::test]
async fn a_restarted_member_is_found_again_on_its_old_port() {
    let mut town = Town::new();
    let (mut a, mut b) = (town.plain(A), town.plain(B));
    let first = a.connected(B).await;
    b.connected(A).await;
    b.handle.stop().await;
    assert_eq!(a.disconnected(B).await, DisconnectReason::ClosedByPeer);
    assert_eq!(a.handle.send(B, &text("lost")), SendOutcome::NotConnected);
    assert_eq!(a.handle.status(B).unwrap().dropped, 1);
    drop(b);
    let begin = Instant::now();
    let mut b = town.plain(B);
    let second = a.connected(B).await;
    println!("reconnected after {:?}", begin.elapsed());
    assert!(begin.elapsed() < SLACK);
    assert_ne!(first.process, second.process);
    b.connected(A).await;
    assert_eq!(b.handle.send(A, &text("again")), SendOutcome::Queued);
    assert_eq!(a.received(B).await, text("again"));
}

#[tokio::test]
async fn a_link_that_nobody_listens_to_or_holds_is_closed() {
    let mut town = Town::new();
    let (mut a, mut b, mut c) = (town.plain(A), town.plain(B), town.plain(C));
    b.connected(A).await;
    a.connected(B).await;
    drop(b.events);
    assert_eq!(a.disconnected(B).await, DisconnectReason::ClosedByPeer);
    c.connected(A).await;
    a.handle.send(C, &text("are you there"));
    c.received(A).await;
    drop(c);
    assert_eq!(a.disconnected(C).await, DisconnectReason::ClosedByPeer);
    drop(b.handle);
}

#[tokio::test]
async fn a_second_connection_replaces_the_first() {
    let mut town = Town::new();
    town.close(B);
    let mut a = town.plain(A);
    let mut first = Raw::connect(town.addresses[0]).await;
    assert_eq!(first.shake(&hello(B, 1)).await.unwrap(), 0);
    a.connected(B).await;

    let mut second = Raw::connect(town.addresses[0]).await;
    assert_eq!(second.shake(&hello(B, 1)).await.unwrap(), 0);
    // The first one ends, without an event: it is the same process.
    while first.read().await.is_ok() {}
    second.send(&text("on the second")).await;
    let next = a.next().await;
    assert_eq!(next, PeerEvent::Received { member: B, message: text("on the second") });
    assert_eq!(a.handle.send(B, &text("answer")), SendOutcome::Queued);
    while second.read().await.unwrap()[0] != 1 {}

    let mut third = Raw::connect(town.addresses[0]).await;
    assert_eq!(third.shake(&hello(B, 2)).await.unwrap(), 0);
    assert_eq!(a.disconnected(B).await, DisconnectReason::ReplacedByNewProcess);
    assert_eq!(a.connected(B).await.process.0, 2);
    while second.read().await.is_ok() {}
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_noticed_within_the_idle_timeout() {
    let mut town = Town::new();
    town.close(B);
    let mut config = town.config(A, Security::PlainLoopback);
    config.timing.idle_timeout = SHORT;
    let mut a = town.start(config);
    let mut silent = Raw::connect(town.addresses[0]).await;
    silent.shake(&hello(B, 1)).await.unwrap();
    a.connected(B).await;
    let begin = Instant::now();
    // The socket stays open and its kernel acknowledges, as that of a stopped process does.
    assert_eq!(a.disconnected(B).await, DisconnectReason::Idle(SHORT));
    println!("silence noticed after {:?}", begin.elapsed());
    assert!(begin.elapsed() < SHORT + SLACK);
    drop(silent);
}

#[tokio::test]
async fn two_members_with_nothing_to_say_stay_connected() {
    let mut town = Town::new();
    let timing = |mut config: pgfo::peer::LinkConfig| {
        config.timing.idle_timeout = Duration::from_secs(2);
        config
    };
    let (config_a, config_b) =
        (town.config(A, Security::PlainLoopback), town.config(B, Security::PlainLoopback));
    let (mut a, mut b) = (town.start(timing(config_a)), town.start(timing(config_b)));
    a.connected(B).await;
    b.connected(A).await;
    // The event awaited is one that must not come.
    let quiet = tokio::time::timeout(Duration::from_secs(5), a.disconnected(B)).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

#[tokio::test]
async fn a_peer_that_reads_nothing_is_noticed() {
    let mut town = Town::new();
    town.close(B);
    let mut config = town.config(A, Security::PlainLoopback);
    config.timing.idle_timeout = SHORT;
    let mut a = town.start(config);
    let mut deaf = Raw::connect(town.addresses[0]).await;
    deaf.shake(&hello(B, 1)).await.unwrap();
    a.connected(B).await;
    let blob = Message::Blob(vec![1; 60_000]);
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let mut full = false;
    let why = loop {
        tokio::select! {
            why = a.disconnected(B) => break why,
            _ = tick.tick() => {
                // It goes on showing that it lives, as long as the connection stands.
                let _reset = deaf.stream.write_all(&[0, 0, 0, 1, 0]).await;
                for _ in 0..20 {
                    full |= a.handle.send(B, &blob) == SendOutcome::QueueFull;
                }
            }
        }
    };
    assert!(full, "the queue is bounded");
    // Either the link's own deadline or the kernel's, which is as long.
    assert!(matches!(why, DisconnectReason::WriteTimeout(_) | DisconnectReason::Io(_)), "{why:?}");
}

#[tokio::test]
async fn hostile_frames_close_the_connection_with_a_reason() {
    let mut town = Town::new();
    town.close(B);
    let mut a = town.plain(A);
    type Expected = fn(&FrameError) -> bool;
    let cases: [(&[u8], Expected); 4] = [
        (&[0xFF, 0xFF, 0xFF, 0xFF, 1], |e| matches!(e, FrameError::Oversized { bytes: 0xFFFF_FFFF, .. })),
        (&[0, 0, 0, 0], |e| *e == FrameError::Empty),
        (&[0, 0, 0, 2, 9, 9], |e| matches!(e, FrameError::Malformed { .. })),
        // A message that says that its text has 2^36 bytes.
        (&[0, 0, 0, 11, 1, 0, 253, 0, 0, 0, 0, 16, 0, 0, 0], |e| matches!(e, FrameError::Malformed { .. })),
    ];
    for (nonce, (bytes, expected)) in (1..).zip(cases) {
        let mut raw = Raw::connect(town.addresses[0]).await;
        raw.shake(&hello(B, nonce)).await.unwrap();
        a.connected(B).await;
        raw.stream.write_all(bytes).await.unwrap();
        let why = a.disconnected(B).await;
        assert!(matches!(&why, DisconnectReason::Frame(e) if expected(e)), "{why:?}");
    }
}

#[tokio::test]
async fn a_frame_that_drips_in_is_not_waited_for() {
    let mut town = Town::new();
    town.close(B);
    let mut config = town.config(A, Security::PlainLoopback);
    config.timing.idle_timeout = SHORT;
    let mut a = town.start(config);
    let mut raw = Raw::connect(town.addresses[0]).await;
    raw.shake(&hello(B, 1)).await.unwrap();
    a.connected(B).await;
    raw.stream.write_all(&[0, 0, 3, 0]).await.unwrap();
    let mut tick = tokio::time::interval(SHORT / 8);
    let why = loop {
        tokio::select! {
            why = a.disconnected(B) => break why,
            _ = tick.tick() => { let _reset = raw.stream.write_all(&[1]).await; }
        }
    };
    assert_eq!(why, DisconnectReason::Idle(SHORT));
}

#[tokio::test]
async fn strangers_are_refused_with_a_reason_and_cannot_crowd_members_out() {
    let mut town = Town::new();
    town.close(B);
    let mut config = town.config(A, Security::PlainLoopback);
    config.timing.handshake_timeout = Duration::from_secs(2);
    let mut a = town.start(config);

    let mut web = Raw::connect(town.addresses[0]).await;
    web.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    a.refused(|r| matches!(r, RefusedReason::Handshake(FrameError::Oversized { .. }))).await;

    let mut wrong = hello(B, 1);
    wrong.cluster = "other".to_owned();
    assert_eq!(Raw::connect(town.addresses[0]).await.shake(&wrong).await.unwrap(), 1);
    a.refused(|r| matches!(r, RefusedReason::ByUs(Refusal::Cluster { .. }))).await;

    let mut wrong = hello(B, 1);
    wrong.membership = [8; 32];
    assert_eq!(Raw::connect(town.addresses[0]).await.shake(&wrong).await.unwrap(), 1);
    a.refused(|r| *r == RefusedReason::ByUs(Refusal::Membership)).await;

    assert_eq!(Raw::connect(town.addresses[0]).await.shake(&hello(A, 1)).await.unwrap(), 1);
    a.refused(|r| *r == RefusedReason::ByUs(Refusal::Myself { name: "a".to_owned() })).await;

    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(Raw::connect(town.addresses[0]).await);
    }
    let mut member = Raw::connect(town.addresses[0]).await;
    assert_eq!(member.shake(&hello(B, 1)).await.unwrap(), 0);
    let mut overloaded = false;
    a.wait(|e| {
        overloaded |= matches!(&e, PeerEvent::Refused { reason: RefusedReason::Overload, .. });
        matches!(e, PeerEvent::Connected { member: B, .. }).then_some(())
    })
    .await;
    assert!(overloaded);
    // The rest of the crowd says nothing, and is sent away.
    a.refused(|r| matches!(r, RefusedReason::HandshakeTimeout(_))).await;
    for mut stranger in crowd {
        while stranger.read().await.is_ok() {}
    }
    member.send(&text("still here")).await;
    assert_eq!(a.received(B).await, text("still here"));
}

#[tokio::test]
async fn members_with_different_memberships_both_say_so() {
    let mut town = Town::new();
    let mut a = town.plain(A);
    let mut config = town.config(B, Security::PlainLoopback);
    config.hello.membership = [9; 32];
    let mut b = town.start(config);
    a.refused(|r| *r == RefusedReason::ByUs(Refusal::Membership)).await;
    b.refused(|r| *r == RefusedReason::ByUs(Refusal::Membership)).await;
    assert!(a.handle.status(B).unwrap().hello.is_none());
}

#[tokio::test]
async fn plain_tcp_never_leaves_the_host() {
    let town = Town::new();
    for address in ["10.0.0.7:5433", "db.example:5433", "[::]:5433"] {
        let mut config = town.config(A, Security::PlainLoopback);
        config.members[2].address = address.to_owned();
        let error = PeerLink::start::<Message>(config).unwrap_err();
        assert!(matches!(error, StartError::Config(ConfigError::NotLoopback { .. })), "{error}");
        assert!(error.to_string().contains("pgfo cert"), "{error}");
    }
    let mut config = town.config(A, Security::PlainLoopback);
    config.listen = "0.0.0.0:0".parse().unwrap();
    assert!(matches!(config.validate(), Err(ConfigError::NotLoopback { .. })));
    for address in ["localhost:1", "[::1]:1", "127.8.9.1:1"] {
        let mut config = town.config(A, Security::PlainLoopback);
        config.members[2].address = address.to_owned();
        assert_eq!(config.validate(), Ok(()));
    }
}

#[tokio::test]
async fn round_trips_are_short() {
    let mut town = Town::new();
    let (mut a, mut b) = (town.plain(A), town.plain(B));
    a.connected(B).await;
    b.connected(A).await;
    let echo = b.handle.clone();
    let echoing = tokio::spawn(async move {
        while let Some(event) = b.events.recv().await {
            if let PeerEvent::Received { message, .. } = event {
                echo.send(A, &message);
            }
        }
    });
    let message = Message::Blob(vec![3; 100]);
    let mut times = Vec::new();
    for _ in 0..500 {
        let begin = Instant::now();
        a.handle.send(B, &message);
        assert_eq!(a.received(B).await, message);
        times.push(begin.elapsed());
    }
    times.sort();
    println!("round trip of 100 B, plain: p50 {:?}, p99 {:?}", times[250], times[495]);
    echoing.abort();
}
