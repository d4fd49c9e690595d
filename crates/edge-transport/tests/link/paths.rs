//! Ways to a node that is not dialled at its own address: Kademlia, a relay, mDNS.

use edge_transport::{TransportConfig, TransportEvent, TransportKind};

use crate::support::{GENESIS, TCP, config, connect, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kademlia_finds_a_node_by_its_id() {
    let mut alice = start(config(1, TCP));
    let mut bob = start(config(2, TCP));
    let mut carol = start(config(3, TCP));
    connect(&mut alice, &mut bob).await;
    connect(&mut bob, &mut carol).await;
    alice.handle.dial(Some(carol.id()), Vec::new()).unwrap();
    alice.connected(carol.id()).await;
    alice.handle.send(carol.id(), vec![b"found".to_vec()]);
    let frame = carol
        .until("message", |event| match event {
            TransportEvent::Message { from, frame } if from == alice.id() => Some(frame),
            _ => None,
        })
        .await;
    assert_eq!(frame, b"found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_behind_a_relay_is_reached_through_it() {
    let relay = start(config(1, TCP));
    let relay_address = relay.addresses().await.remove(0);
    let mut hidden = start(config(2, &format!("{relay_address}/p2p-circuit")));
    let circuit = hidden
        .until("circuit address", |event| match event {
            TransportEvent::Listening { addresses } => addresses.into_iter().next(),
            _ => None,
        })
        .await;
    assert!(circuit.contains("/p2p-circuit/p2p/"), "{circuit}");

    let mut alice = start(TransportConfig::new([3; 32], GENESIS));
    alice.handle.keep(hidden.id(), vec![circuit]).unwrap();
    alice.connected(hidden.id()).await;
    hidden.connected(alice.id()).await;
    let frame: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
    alice.handle.send(hidden.id(), vec![frame.clone()]);
    assert!(hidden.message(alice.id()).await == frame);
    let kind = alice.handle.stats().peers[&hidden.id()].transport;
    assert_eq!(kind, Some(TransportKind::Relayed));
}

// mDNS leaves out loopback, so this needs an interface that multicasts; a machine without one is
// told by name that nothing was tested.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mdns_finds_the_nodes_of_the_same_pool_only() {
    let any = "/ip4/0.0.0.0/tcp/0";
    let mut probe = start(config(9, any));
    let addresses = probe
        .until("listening", |event| match event {
            TransportEvent::Listening { addresses } => Some(addresses),
            _ => None,
        })
        .await;
    if addresses.iter().all(|address| address.starts_with("/ip4/127.")) {
        println!("not run: only loopback interfaces");
        return;
    }
    // Fresh pools and keys, so that two runs on one network do not meet.
    let fresh = || {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).unwrap();
        bytes
    };
    let on_the_air = |pool| {
        let config = TransportConfig::new(fresh(), pool);
        start(TransportConfig { mdns: true, listen: vec![any.to_owned()], ..config })
    };
    let ours = fresh();
    let mut foreign = on_the_air(fresh());
    let mut alice = on_the_air(ours);
    let mut bob = on_the_air(ours);
    foreign.addresses().await;
    let (a, b) = (alice.id(), bob.id());
    for (node, other) in [(&mut alice, b), (&mut bob, a)] {
        let (found, addresses) = node
            .until("discovery", |event| match event {
                TransportEvent::DiscoveredByMdns { node, addresses } => Some((node, addresses)),
                _ => None,
            })
            .await;
        assert_eq!(found, other);
        assert!(!addresses.is_empty());
    }
    foreign.handle.shutdown().await;
    while let Some(event) = foreign.events.recv().await {
        assert!(!matches!(event, TransportEvent::DiscoveredByMdns { .. }), "{event:?}");
    }
}
