//! Nodes, and waiting for what they report.

use std::time::Duration;

use edge_transport::{
    NodeId, Transport, TransportConfig, TransportEvent, TransportHandle, Validation,
};
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;

pub(crate) const GENESIS: [u8; 32] = [0x42; 32];
pub(crate) const TCP: &str = "/ip4/127.0.0.1/tcp/0";
pub(crate) const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
pub(crate) const WEBSOCKET: &str = "/ip4/127.0.0.1/tcp/0/ws";

/// Far beyond what anything here takes, so that only a hang meets it.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Node {
    pub(crate) handle: TransportHandle,
    pub(crate) events: Receiver<TransportEvent>,
}

pub(crate) fn config(seed: u8, listen: &str) -> TransportConfig {
    let mut config = TransportConfig::new([seed; 32], GENESIS);
    config.listen = vec![listen.to_owned()];
    config
}

pub(crate) fn start(config: TransportConfig) -> Node {
    let (handle, events) = Transport::start(config).expect("a loopback port is free");
    Node { handle, events }
}

impl Node {
    pub(crate) fn id(&self) -> NodeId {
        self.handle.node()
    }

    pub(crate) async fn addresses(&self) -> Vec<String> {
        let addresses = self.handle.listen_addresses().await.unwrap();
        assert!(!addresses.is_empty());
        addresses
    }

    /// The first event that `pick` takes; the others are passed over.
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(TransportEvent) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let event = tokio::time::timeout_at(deadline, self.events.recv()).await;
            let event = event.unwrap_or_else(|_| panic!("no {what} within {PATIENCE:?}"));
            if let Some(found) = pick(event.unwrap_or_else(|| panic!("ended before {what}"))) {
                return found;
            }
        }
    }

    pub(crate) async fn connected(&mut self, other: NodeId) -> String {
        self.until("connection", |event| match event {
            TransportEvent::Connected { node, address, .. } if node == other => Some(address),
            _ => None,
        })
        .await
    }

    pub(crate) async fn disconnected(&mut self, other: NodeId) {
        let gone = TransportEvent::Disconnected { node: other };
        self.until("disconnection", |event| (event == gone).then_some(())).await;
    }

    pub(crate) async fn dial_failed(&mut self) -> (Option<NodeId>, Vec<String>, String) {
        self.until("failed dial", |event| match event {
            TransportEvent::DialFailed { node, addresses, error } => Some((node, addresses, error)),
            _ => None,
        })
        .await
    }

    /// The next published frame, which is passed on as it says.
    pub(crate) async fn published(&mut self, validation: Validation) -> Vec<u8> {
        let (number, frame) = self
            .until("published frame", |event| match event {
                TransportEvent::Published { number, frame, .. } => Some((number, frame)),
                _ => None,
            })
            .await;
        self.handle.judge(number, validation);
        frame
    }

    pub(crate) async fn message(&mut self, other: NodeId) -> Vec<u8> {
        self.until("message", |event| match event {
            TransportEvent::Message { from, frame } => {
                assert_eq!(from, other);
                Some(frame)
            }
            _ => None,
        })
        .await
    }
}

/// Connects `one` to `two` and waits until both know.
pub(crate) async fn connect(one: &mut Node, two: &mut Node) {
    one.handle.keep(two.id(), two.addresses().await).unwrap();
    one.connected(two.id()).await;
    two.connected(one.id()).await;
    one.handle.admit(two.id()).unwrap();
    two.handle.admit(one.id()).unwrap();
}
