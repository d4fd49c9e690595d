//! Connections that break.

use std::time::Duration;

use edge_transport::{Transport, TransportEvent};

use crate::support::{Node, QUIC, TCP, WEBSOCKET, config, connect, start};

/// Ends a node and starts it again, same key, same port.
async fn restart(node: Node, seed: u8) -> Node {
    let listen = node.addresses().await.remove(0);
    let (listen, _) = listen.split_once("/p2p/").unwrap();
    node.handle.shutdown().await;
    loop {
        match Transport::start(config(seed, listen)) {
            Ok((handle, events)) => return Node { handle, events },
            // A QUIC endpoint keeps its port while its connections drain, up to three timeouts.
            Err(error) => assert!(error.to_string().contains("in use"), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_node_is_found_again_after_its_restart() {
    for listen in [TCP, WEBSOCKET, QUIC] {
        let mut alice = start(config(1, listen));
        let mut bob = start(config(2, listen));
        connect(&mut alice, &mut bob).await;
        alice.handle.send(bob.id(), vec![b"before".to_vec()]);
        assert_eq!(bob.message(alice.id()).await, b"before");
        let mut last = b"before".to_vec();
        for round in 0..2 {
            bob = restart(bob, 2).await;
            alice.disconnected(bob.id()).await;
            // Nobody is there yet as far as Alice knows: the frame waits for the connection.
            alice.handle.send(bob.id(), vec![format!("after {round}").into_bytes()]);
            alice.connected(bob.id()).await;
            // If the old Bob's acknowledgement was lost with it, its last frame comes again.
            let mut frame = bob.message(alice.id()).await;
            if frame == last {
                frame = bob.message(alice.id()).await;
            }
            assert_eq!(frame, format!("after {round}").as_bytes());
            last = frame;
            bob.handle.send(alice.id(), vec![b"answer".to_vec()]);
            assert_eq!(alice.message(bob.id()).await, b"answer");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_frames_survives_restarts_of_the_sender_in_order() {
    let mut bob = start(config(2, TCP));
    let mut last = None;
    for round in 0..3u32 {
        let mut alice = start(config(1, TCP));
        alice.handle.keep(bob.id(), bob.addresses().await).unwrap();
        for n in 0..100u32 {
            alice.handle.send(bob.id(), vec![(round * 100 + n).to_be_bytes().to_vec()]);
        }
        alice.connected(bob.id()).await;
        for _ in 0..100 {
            let frame = bob.message(alice.id()).await;
            let number = u32::from_be_bytes(frame.try_into().unwrap());
            assert_eq!(last.map_or(0, |last: u32| last + 1), number);
            last = Some(number);
        }
        alice.handle.shutdown().await;
        bob.disconnected(alice.id()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_keep_each_other_find_together() {
    let mut alice = start(config(1, TCP));
    let mut bob = start(config(2, TCP));
    let (to_alice, to_bob) = (alice.addresses().await, bob.addresses().await);
    alice.handle.keep(bob.id(), to_bob).unwrap();
    bob.handle.keep(alice.id(), to_alice).unwrap();
    for n in 0..200u32 {
        alice.handle.send(bob.id(), vec![n.to_be_bytes().to_vec()]);
        bob.handle.send(alice.id(), vec![n.to_be_bytes().to_vec()]);
    }
    for n in 0..200u32 {
        assert_eq!(alice.message(bob.id()).await, n.to_be_bytes());
        assert_eq!(bob.message(alice.id()).await, n.to_be_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_for_a_node_that_never_answers_are_dropped_and_counted() {
    let mut alice = start(config(1, TCP));
    let bob = start(config(2, TCP));
    let addresses = bob.addresses().await;
    let id = bob.id();
    bob.handle.shutdown().await;
    alice.handle.keep(id, addresses).unwrap();
    alice.handle.send(id, vec![vec![1], vec![2]]);
    for _ in 0..edge_transport::Limits::default().send_attempts + 1 {
        assert_eq!(alice.dial_failed().await.0, Some(id));
    }
    assert_eq!(alice.handle.stats().peers[&id].dropped_frames, 2);
    // Nobody knows an address of this one, so there is nothing to wait for.
    let nobody = edge_transport::node_id_of_seed(&[9; 32]);
    alice.handle.disconnect(id).unwrap();
    alice.handle.send(nobody, vec![vec![1]]);
    alice.handle.dial(Some(nobody), Vec::new()).unwrap();
    assert_eq!(alice.dial_failed().await.0, Some(nobody));
    assert_eq!(alice.handle.stats().peers[&nobody].dropped_frames, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disconnecting_ends_the_wish_to_be_connected() {
    let mut alice = start(config(1, TCP));
    let mut bob = start(config(2, TCP));
    connect(&mut alice, &mut bob).await;
    alice.handle.disconnect(bob.id()).unwrap();
    alice.disconnected(bob.id()).await;
    bob.disconnected(alice.id()).await;
    // A third node's life is longer than the first redial would take.
    let mut carol = start(config(3, TCP));
    connect(&mut alice, &mut carol).await;
    bob.handle.send(alice.id(), vec![b"I remember you".to_vec()]);
    let frame = alice
        .until("message", |event| match event {
            TransportEvent::Message { from, frame } if from == bob.id() => Some(frame),
            _ => None,
        })
        .await;
    assert_eq!(frame, b"I remember you");
}
