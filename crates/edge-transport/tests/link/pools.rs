//! Nodes of two pools have nothing to say to each other.

use edge_transport::{Transport, TransportConfig, TransportError, TransportEvent};

use crate::support::{QUIC, TCP, WEBSOCKET, config, connect, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_pool_is_turned_away() {
    for listen in [TCP, QUIC, WEBSOCKET] {
        let mut alice = start(config(1, listen));
        let mut mallory = start(TransportConfig { genesis_hash: [0x43; 32], ..config(2, listen) });
        let mut bob = start(config(3, listen));
        let addresses = mallory.addresses().await;
        alice.handle.send(mallory.id(), vec![b"for nobody".to_vec()]);
        alice.handle.dial(Some(mallory.id()), addresses).unwrap();
        let (node, _, error) = alice.dial_failed().await;
        assert_eq!(node, Some(mallory.id()));
        assert!(error.contains("another pool"), "{error}");
        assert!(alice.handle.stats().foreign_peers >= 1);

        mallory.handle.publish(b"for nobody".to_vec()).unwrap();
        mallory.handle.send(alice.id(), vec![b"for nobody".to_vec()]);
        mallory.handle.dial(Some(alice.id()), alice.addresses().await).unwrap();
        let (node, ..) = mallory.dial_failed().await;
        assert_eq!(node, Some(alice.id()));

        // Both still work, and neither has heard anything of the other.
        alice.handle.keep(bob.id(), bob.addresses().await).unwrap();
        bob.connected(alice.id()).await;
        bob.handle.send(alice.id(), vec![b"hello".to_vec()]);
        let heard = alice
            .until("message", |event| match event {
                TransportEvent::Connected { node, .. } => {
                    assert_eq!(node, bob.id());
                    None
                }
                TransportEvent::Message { from, frame } => Some((from, frame)),
                TransportEvent::Published { .. } => panic!("gossip of another pool"),
                _ => None,
            })
            .await;
        assert_eq!(heard, (bob.id(), b"hello".to_vec()));
        mallory.handle.shutdown().await;
        while let Some(event) = mallory.events.recv().await {
            assert!(
                !matches!(event, TransportEvent::Connected { .. } | TransportEvent::Message { .. }),
                "{event:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_addresses_and_taken_ports_are_named() {
    let alice = start(config(1, TCP));
    let taken = alice.addresses().await.remove(0);
    let (taken, _) = taken.split_once("/p2p/").unwrap();
    let error = Transport::start(config(2, taken)).unwrap_err();
    assert!(matches!(&error, TransportError::Listen { .. }));
    assert!(error.to_string().contains(taken), "{error}");
    let error = Transport::start(config(2, "localhost:80")).unwrap_err();
    assert!(matches!(&error, TransportError::Address { .. }), "{error}");
    let error = alice.handle.dial(None, vec!["nonsense".to_owned()]).unwrap_err();
    assert!(matches!(&error, TransportError::Address { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_answers_must_be_whom_we_called() {
    let mut alice = start(config(1, TCP));
    let bob = start(config(2, TCP));
    let carol = start(config(3, TCP));
    let bobs = bob.addresses().await.remove(0);
    let bare = bobs.split_once("/p2p/").unwrap().0.to_owned();
    alice.handle.dial(Some(carol.id()), vec![bare.clone()]).unwrap();
    assert_eq!(alice.dial_failed().await.0, Some(carol.id()));
    alice.handle.dial(Some(carol.id()), vec![bobs.clone()]).unwrap();
    let (_, addresses, error) = alice.dial_failed().await;
    assert_eq!((addresses, error.as_str()), (vec![bobs], "the address names another node"));
    alice.handle.dial(None, vec![bare.clone()]).unwrap();
    assert_eq!(alice.connected(bob.id()).await, bare);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banned_node_is_closed_and_does_not_come_back() {
    let mut alice = start(config(1, TCP));
    let mut bob = start(config(2, TCP));
    connect(&mut bob, &mut alice).await;
    alice.handle.ban(bob.id()).unwrap();
    alice.disconnected(bob.id()).await;
    bob.disconnected(alice.id()).await;
    // Bob keeps Alice, so it dials again, and is refused.
    bob.dial_failed().await;
    let mut carol = start(config(3, TCP));
    connect(&mut carol, &mut alice).await;
    assert_eq!(alice.handle.stats().peers[&carol.id()].connections, 1);
    assert_eq!(alice.handle.stats().connections, 1);
}
