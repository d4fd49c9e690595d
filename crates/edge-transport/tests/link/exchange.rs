//! Direct frames between two nodes.

use std::time::{Duration, Instant};

use edge_transport::{Limits, NodeId, TransportConfig, TransportHandle, TransportKind};

use crate::support::{Node, QUIC, TCP, WEBSOCKET, config, connect, start};

const FRAMES: u32 = 10_000;

fn numbered(n: u32) -> Vec<u8> {
    let mut frame = n.to_be_bytes().to_vec();
    frame.resize(4 + n as usize % 200, 0xa5);
    frame
}

fn send_numbered(handle: &TransportHandle, to: NodeId) {
    // Many small calls: coalescing is the transport's work.
    for n in 0..FRAMES {
        assert_eq!(handle.send(to, vec![numbered(n)]), 1);
    }
}

async fn expect_numbered(node: &mut Node, from: NodeId) {
    for n in 0..FRAMES {
        assert_eq!(node.message(from).await, numbered(n));
    }
}

/// An empty frame that arrives proves that every batch before it was acknowledged.
async fn acknowledged(from: &Node, to: &mut Node) {
    from.handle.send(to.id(), vec![Vec::new()]);
    assert_eq!(to.message(from.id()).await, []);
}

async fn ordered_both_ways(listen: &str, kind: TransportKind) {
    let mut alice = start(config(1, listen));
    let mut bob = start(config(2, listen));
    connect(&mut alice, &mut bob).await;
    let (a, b) = (alice.id(), bob.id());
    let begun = Instant::now();
    send_numbered(&alice.handle, b);
    send_numbered(&bob.handle, a);
    tokio::join!(expect_numbered(&mut alice, b), expect_numbered(&mut bob, a));
    let wall = begun.elapsed();
    println!("{}: {} frames in {wall:?}", kind.name(), 2 * FRAMES);

    acknowledged(&alice, &mut bob).await;
    acknowledged(&bob, &mut alice).await;
    let at_alice = alice.handle.stats().peers[&b].clone();
    let at_bob = bob.handle.stats().peers[&a].clone();
    let bytes: u64 = (0..FRAMES).map(|n| numbered(n).len() as u64).sum();
    for (sender, receiver) in [(&at_alice, &at_bob), (&at_bob, &at_alice)] {
        assert_eq!(sender.sent_bytes, bytes);
        assert_eq!(receiver.received_bytes, bytes);
        assert!(sender.sent_frames >= u64::from(FRAMES));
        assert!(receiver.received_frames >= u64::from(FRAMES));
        assert_eq!((sender.dropped_frames, receiver.refused), (0, 0));
        assert_eq!(sender.transport, Some(kind));
        assert!(sender.rtt.is_some_and(|rtt| rtt < Duration::from_secs(5)));
        assert!(sender.connections >= 1);
    }
    alice.handle.shutdown().await;
    bob.handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_stay_in_order_over_tcp() {
    ordered_both_ways(TCP, TransportKind::Tcp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_stay_in_order_over_quic() {
    ordered_both_ways(QUIC, TransportKind::Quic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_stay_in_order_over_websocket() {
    ordered_both_ways(WEBSOCKET, TransportKind::WebSocket).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_up_to_the_limit_arrive_and_larger_ones_are_refused() {
    let limit = Limits::default().message_bytes;
    for listen in [TCP, QUIC, WEBSOCKET] {
        let mut alice = start(config(1, listen));
        let mut bob = start(config(2, listen));
        connect(&mut alice, &mut bob).await;
        let sizes = [limit - 1, limit, 1 << 20, (1 << 20) + 1, 1];
        let frames = sizes.map(|size| (0..size).map(|n| (n % 251) as u8).collect::<Vec<u8>>());
        assert_eq!(alice.handle.send(bob.id(), frames.to_vec()), frames.len());
        for frame in &frames {
            assert!(bob.message(alice.id()).await == *frame, "{} bytes over {listen}", frame.len());
        }
        assert_eq!(alice.handle.send(bob.id(), vec![vec![0; limit + 1]]), 0);
        assert_eq!(alice.handle.stats().peers[&bob.id()].dropped_frames, 1);
    }
}

// What the receiver refuses must not keep the sender from everything behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_over_the_receivers_limit_is_dropped_after_some_attempts() {
    let mut alice = start(config(1, TCP));
    let mut bob = start(TransportConfig {
        limits: Limits { message_bytes: 10_000, ..Limits::default() },
        ..config(2, TCP)
    });
    connect(&mut alice, &mut bob).await;
    alice.handle.send(bob.id(), vec![vec![1; 10_001]]);
    alice.handle.send(bob.id(), vec![vec![2; (1 << 20) - 8]]);
    alice.handle.send(bob.id(), vec![vec![3; 10_000]]);
    assert_eq!(bob.message(alice.id()).await, vec![3; 10_000]);
    acknowledged(&alice, &mut bob).await;
    let at_alice = alice.handle.stats().peers[&bob.id()].clone();
    let at_bob = bob.handle.stats().peers[&alice.id()].clone();
    assert_eq!(at_alice.dropped_frames, 2);
    assert_eq!(at_bob.refused, 2 * u64::from(Limits::default().send_attempts));
    assert_eq!(at_bob.received_bytes, 10_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_does_not_read_fills_the_senders_queue_and_loses_nothing_taken() {
    let outgoing_bytes_per_peer = 1 << 20;
    let mut alice = start(TransportConfig {
        limits: Limits { outgoing_bytes_per_peer, ..Limits::default() },
        ..config(1, TCP)
    });
    let mut bob = start(TransportConfig {
        limits: Limits { event_queue: 8, ..Limits::default() },
        ..config(2, TCP)
    });
    connect(&mut alice, &mut bob).await;
    let mut taken = 0u32;
    for n in 0..50_000 {
        if alice.handle.send(bob.id(), vec![vec![(n % 256) as u8; 100]]) == 1 {
            taken += 1;
        } else {
            break;
        }
    }
    // The queue, one batch in flight, and nothing else holds frames.
    assert!(taken < 20_000, "{taken} frames were taken");
    for n in 0..taken {
        assert_eq!(bob.message(alice.id()).await, vec![(n % 256) as u8; 100], "frame {n}");
    }
    assert_eq!(alice.handle.stats().peers[&bob.id()].dropped_frames, 1);
    alice.handle.send(bob.id(), vec![b"again".to_vec()]);
    assert_eq!(bob.message(alice.id()).await, b"again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_over_the_rate_is_slowed_down_and_loses_nothing() {
    let mut alice = start(config(1, TCP));
    let mut bob = start(TransportConfig {
        limits: Limits { inbound_frames_per_second: 1_000, ..Limits::default() },
        ..config(2, TCP)
    });
    connect(&mut alice, &mut bob).await;
    let begun = Instant::now();
    for n in 0..4_000u32 {
        alice.handle.send(bob.id(), vec![n.to_be_bytes().to_vec()]);
    }
    for n in 0..4_000u32 {
        assert_eq!(bob.message(alice.id()).await, n.to_be_bytes());
    }
    // A burst of 2,000 passes at once, the rest at 1,000 a second.
    let wall = begun.elapsed();
    assert!(wall > Duration::from_millis(1_800), "{wall:?}");
    assert_eq!(bob.handle.stats().peers[&alice.id()].refused, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutting_down_delivers_what_is_queued() {
    let mut alice = start(config(1, TCP));
    let mut bob = start(config(2, TCP));
    connect(&mut alice, &mut bob).await;
    for n in 0..500u32 {
        alice.handle.send(bob.id(), vec![numbered(n)]);
    }
    let (bob_id, alice_id) = (bob.id(), alice.id());
    let reader = tokio::spawn(async move {
        for n in 0..500 {
            assert_eq!(bob.message(alice_id).await, numbered(n));
        }
        bob.disconnected(alice_id).await;
    });
    alice.handle.shutdown().await;
    reader.await.unwrap();
    assert_eq!(alice.handle.stats().peers[&bob_id].sent_frames, 500);
    assert_eq!(alice.handle.send(bob_id, vec![vec![1]]), 0);
    assert!(alice.handle.publish(vec![1]).is_err());
    assert!(alice.handle.listen_addresses().await.is_err());
}
