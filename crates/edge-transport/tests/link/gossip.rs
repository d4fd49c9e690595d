//! Published frames.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use edge_transport::{TransportError, TransportEvent, Validation};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use crate::support::{Node, TCP, config, connect, start};

const NODES: usize = 5;
const FRAMES: u32 = 40;

fn greeting(node: usize, round: u32) -> Vec<u8> {
    format!("greeting {node} {round}").into_bytes()
}

fn frame(node: usize, n: u32) -> Vec<u8> {
    let mut frame = format!("frame {node} {n} ").into_bytes();
    frame.resize(100 + (n as usize) * 500, b'x');
    frame
}

/// Greets until it has heard everybody, so until the meshes lead from everybody to everybody.
async fn meet(node: &mut Node, me: usize, seen: &mut BTreeMap<Vec<u8>, u32>) {
    let mut heard = BTreeSet::from([me]);
    let mut tick = interval(Duration::from_millis(300));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let deadline = Instant::now() + Duration::from_secs(60);
    for round in 0.. {
        // Some more rounds after the last was heard: it has to hear us, too.
        if heard.len() == NODES && round >= 10 {
            return;
        }
        node.handle.publish(greeting(me, round)).unwrap();
        loop {
            tokio::select! {
                _ = tick.tick() => break,
                event = timeout_at(deadline, node.events.recv()) => {
                    let event = event.unwrap_or_else(|_| panic!("{me} heard only {heard:?}"));
                    let Some(TransportEvent::Published { number, frame, .. }) = event else {
                        continue;
                    };
                    node.handle.judge(number, Validation::Accept);
                    let text = String::from_utf8_lossy(&frame).into_owned();
                    let number = text.split(' ').nth(1).unwrap().parse().unwrap();
                    heard.insert(number);
                    *seen.entry(frame).or_default() += 1;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_in_a_row_of_five_hears_everything_once() {
    let mut nodes: Vec<Node> = (0..NODES).map(|n| start(config(n as u8 + 1, TCP))).collect();
    for n in 1..NODES {
        let (left, right) = nodes.split_at_mut(n);
        connect(&mut left[n - 1], &mut right[0]).await;
    }
    let tasks = nodes.into_iter().enumerate().map(|(me, mut node)| {
        tokio::spawn(async move {
            let mut seen = BTreeMap::new();
            meet(&mut node, me, &mut seen).await;
            for n in 0..FRAMES {
                node.handle.publish(frame(me, n)).unwrap();
            }
            let wanted: BTreeSet<Vec<u8>> = (0..NODES)
                .filter(|other| *other != me)
                .flat_map(|other| (0..FRAMES).map(move |n| frame(other, n)))
                .collect();
            while !wanted.iter().all(|frame| seen.contains_key(frame)) {
                let heard = node.published(Validation::Accept).await;
                *seen.entry(heard).or_default() += 1;
            }
            assert!(seen.values().all(|times| *times == 1), "nothing is heard twice");
            assert!((0..FRAMES).all(|n| !seen.contains_key(&frame(me, n))), "nor one's own");
            node // The others may still need it to forward.
        })
    });
    let mut done = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        done.push(task.await.unwrap());
    }
    for node in &done {
        let stats = node.handle.stats();
        assert!(stats.published_frames >= u64::from(FRAMES));
        assert_eq!(stats.publish_dropped, 0);
        let heard: u64 = stats.peers.values().map(|peer| peer.gossip_frames).sum();
        assert!(heard >= u64::from(FRAMES) * (NODES as u64 - 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_published_at_once_after_connecting_arrives() {
    let mut alice = start(config(1, TCP));
    let mut bob = start(config(2, TCP));
    alice.handle.keep(bob.id(), bob.addresses().await).unwrap();
    alice.connected(bob.id()).await;
    bob.connected(alice.id()).await;
    bob.handle.admit(alice.id()).unwrap();
    alice.handle.admit(bob.id()).unwrap();
    alice.handle.publish(b"early".to_vec()).unwrap();
    assert_eq!(bob.published(Validation::Accept).await, b"early");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_large_a_frame_is_refused_where_it_is_published() {
    let alice = start(config(1, TCP));
    let limit = edge_transport::Limits::default().gossip_bytes;
    let error = alice.handle.publish(vec![0; limit + 1]).unwrap_err();
    assert!(matches!(error, TransportError::FrameTooLarge { bytes, .. } if bytes == limit + 1));
}

/// Three in a row: what the one in the middle rejects or ignores never comes to the other end, and
/// what it accepts does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_was_accepted_is_passed_on() {
    let mut nodes: Vec<Node> = (1..=3).map(|n| start(config(n, TCP))).collect();
    for n in 1..3 {
        let (left, right) = nodes.split_at_mut(n);
        connect(&mut left[n - 1], &mut right[0]).await;
    }
    let [mut one, mut two, mut three] = <[Node; 3]>::try_from(nodes).ok().unwrap();
    // The meshes stand when something has come through.
    let judge = tokio::spawn(async move {
        loop {
            let (number, frame) = two
                .until("published frame", |event| match event {
                    TransportEvent::Published { number, frame, .. } => Some((number, frame)),
                    _ => None,
                })
                .await;
            let validation = match frame.first() {
                Some(b'r') => Validation::Reject,
                Some(b'i') => Validation::Ignore,
                _ => Validation::Accept,
            };
            two.handle.judge(number, validation);
        }
    });
    let mut heard = Vec::new();
    for round in 0..400 {
        for what in ["reject", "ignore", "accept"] {
            // Two rejected ones are no reason yet to hear nothing more.
            if what == "accept" || round < 1 {
                one.handle.publish(format!("{what} {round}").into_bytes()).unwrap();
            }
        }
        let deadline = Instant::now() + Duration::from_millis(100);
        while let Ok(Some(event)) = timeout_at(deadline, three.events.recv()).await {
            if let TransportEvent::Published { frame, .. } = event {
                heard.push(String::from_utf8(frame).unwrap());
            }
        }
        if heard.len() >= 3 {
            break;
        }
    }
    assert!(heard.len() >= 3, "{heard:?}");
    assert!(heard.iter().all(|frame| frame.starts_with("accept")), "{heard:?}");
    judge.abort();
    drop(one.events.recv());
}

/// Who is connected and not admitted hears nothing that is published, and has nothing published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outsider_neither_hears_nor_publishes() {
    let mut outsider = start(config(1, TCP));
    let mut member = start(config(2, TCP));
    let mut other = start(config(3, TCP));
    connect(&mut member, &mut other).await;
    member.handle.keep(outsider.id(), outsider.addresses().await).unwrap();
    member.connected(outsider.id()).await;
    outsider.connected(member.id()).await;
    // It lets in whom it likes; that opens nothing.
    outsider.handle.admit(member.id()).unwrap();
    for round in 0..20 {
        member.handle.publish(format!("secret {round}").into_bytes()).unwrap();
        outsider.handle.publish(format!("noise {round}").into_bytes()).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The link and the meshes stand: a direct frame comes through, and so does what is published.
    member.handle.send(outsider.id(), vec![b"direct".to_vec()]);
    let mut heard = 0;
    outsider
        .until("direct frame", |event| match event {
            TransportEvent::Published { .. } => {
                heard += 1;
                None
            }
            TransportEvent::Message { frame, .. } => Some(frame),
            _ => None,
        })
        .await;
    assert_eq!(heard, 0, "published frames came to an outsider");
    let frame = other.published(Validation::Accept).await;
    assert!(frame.starts_with(b"secret"));
    let outsiders = outsider.id();
    let noise = std::iter::from_fn(|| member.events.try_recv().ok())
        .filter(
            |event| matches!(event, TransportEvent::Published { from, .. } if *from == outsiders),
        )
        .count();
    assert_eq!(noise, 0, "an outsider published");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banned_node_comes_back_only_when_the_ban_is_lifted() {
    let mut one = start(config(1, TCP));
    let mut two = start(config(2, TCP));
    connect(&mut one, &mut two).await;
    two.handle.ban(one.id()).unwrap();
    one.disconnected(two.id()).await;
    one.dial_failed().await;
    two.handle.unban(one.id()).unwrap();
    one.connected(two.id()).await;
}
