//! Frames per second and bytes per second between two transports of one process, over each kind of
//! connection: `cargo run --release -p edge-transport --example throughput`.

use std::time::Instant;

use edge_transport::{Transport, TransportConfig, TransportEvent, TransportHandle};
use tokio::sync::mpsc::Receiver;

type Node = (TransportHandle, Receiver<TransportEvent>);

fn start(seed: u8, listen: &str) -> Result<Node, Box<dyn std::error::Error>> {
    let mut config = TransportConfig::new([seed; 32], [7; 32]);
    config.listen = vec![listen.to_owned()];
    config.limits.inbound_bytes_per_second = 1 << 40;
    config.limits.inbound_frames_per_second = 1 << 40;
    Ok(Transport::start(config)?)
}

/// Seconds that `count` frames of `bytes` take, with at most 16 MiB or 4,096 frames on their way.
async fn carry(from: &Node, to: &mut Node, count: usize, bytes: usize) -> Option<f64> {
    let window = ((16 << 20) / bytes).clamp(1, 4_096);
    let begun = Instant::now();
    let (mut sent, mut received) = (0, 0);
    while received < count {
        while sent < count && sent - received < window {
            sent += from.0.send(to.0.node(), vec![vec![0x5a; bytes]]);
        }
        if let TransportEvent::Message { frame, .. } = to.1.recv().await? {
            received += usize::from(frame.len() == bytes);
        }
    }
    Some(begun.elapsed().as_secs_f64())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{:<10} {:>12} {:>10} {:>10} {:>12}", "", "bytes", "frames/s", "MB/s", "round trip");
    for listen in
        ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0/ws"]
    {
        let mut alice = start(1, listen)?;
        let mut bob = start(2, listen)?;
        alice.0.keep(bob.0.node(), bob.0.listen_addresses().await?)?;
        for (bytes, count) in [(100, 200_000), (64 << 10, 4_000), (1 << 20, 250)] {
            let seconds = carry(&alice, &mut bob, count, bytes).await.ok_or("it stopped")?;
            let frames = count as f64 / seconds;
            let megabytes = frames * bytes as f64 / 1e6;
            let kind =
                alice.0.stats().peers[&bob.0.node()].transport.map_or("", |kind| kind.name());
            let mut trips = Vec::new();
            for _ in 0..200 {
                let there = carry(&alice, &mut bob, 1, 100).await.ok_or("it stopped")?;
                let back = carry(&bob, &mut alice, 1, 100).await.ok_or("it stopped")?;
                trips.push(there + back);
            }
            trips.sort_by(f64::total_cmp);
            let median_us = trips[trips.len() / 2] * 1e6;
            println!("{kind:<10} {bytes:>12} {frames:>10.0} {megabytes:>10.1} {median_us:>9.0} us");
        }
    }
    Ok(())
}
