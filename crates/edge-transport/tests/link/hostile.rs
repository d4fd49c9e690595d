//! A peer that has a key and knows the pool's protocol name, but sends what it likes.

use std::io;
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::request_response::{self, Codec, Event, Message, ProtocolSupport};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, noise, tcp, yamux};

use edge_transport::{Limits, NodeId, TransportConfig, TransportEvent, encode_batch, node_id_of};

use crate::support::{TCP, config, connect, start};

/// Writes requests as they are.
#[derive(Clone)]
struct Raw;

impl Codec for Raw {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        _: &mut T,
    ) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        let mut response = Vec::new();
        io.read_to_end(&mut response).await?;
        Ok(response)
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Vec<u8>,
    ) -> io::Result<()> {
        io.write_all(&request).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        _: &mut T,
        _: Vec<u8>,
    ) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

struct Hostile {
    swarm: Swarm<request_response::Behaviour<Raw>>,
    victim: PeerId,
}

impl Hostile {
    async fn connect(address: &str) -> Hostile {
        let address: Multiaddr = address.parse().unwrap();
        let name = StreamProtocol::new("/edge-net/4242424242424242/direct/1");
        let config =
            request_response::Config::default().with_request_timeout(Duration::from_secs(30));
        let direct =
            request_response::Behaviour::with_codec(Raw, [(name, ProtocolSupport::Full)], config);
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| direct)
            .unwrap()
            .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(60)))
            .build();
        swarm.dial(address).unwrap();
        loop {
            if let SwarmEvent::ConnectionEstablished { peer_id, .. } =
                swarm.select_next_some().await
            {
                return Hostile { swarm, victim: peer_id };
            }
        }
    }

    fn id(&self) -> NodeId {
        node_id_of(self.swarm.local_peer_id()).unwrap()
    }

    /// What came back for each request, in the order of the requests; nothing for a failure.
    async fn send(&mut self, requests: Vec<Vec<u8>>) -> Vec<Option<Vec<u8>>> {
        let victim = self.victim;
        let direct = self.swarm.behaviour_mut();
        let ids: Vec<_> = requests.into_iter().map(|r| direct.send_request(&victim, r)).collect();
        let mut answers: Vec<Option<Option<Vec<u8>>>> = vec![None; ids.len()];
        while answers.iter().any(Option::is_none) {
            let event = self.swarm.select_next_some();
            let event = tokio::time::timeout(Duration::from_secs(60), event).await.unwrap();
            let (id, answer) = match event {
                SwarmEvent::Behaviour(Event::Message {
                    message: Message::Response { request_id, response },
                    ..
                }) => (request_id, (!response.is_empty()).then_some(response)),
                SwarmEvent::Behaviour(Event::OutboundFailure { request_id, .. }) => {
                    (request_id, None)
                }
                _ => continue,
            };
            if let Some(index) = ids.iter().position(|other| *other == id) {
                answers[index] = Some(answer);
            }
        }
        answers.into_iter().flatten().collect()
    }
}

fn request(session: u64, sequence: u64, batch: &[u8]) -> Vec<u8> {
    let mut request = (16 + batch.len() as u32).to_be_bytes().to_vec();
    request.extend(session.to_be_bytes());
    request.extend(sequence.to_be_bytes());
    request.extend(batch);
    request
}

fn acknowledged() -> Option<Vec<u8>> {
    Some(vec![6])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_end_their_stream_and_nothing_else() {
    let mut alice = start(config(1, TCP));
    let mut mallory = Hostile::connect(&alice.addresses().await[0]).await;
    let good = encode_batch([b"ab".as_slice(), b"c"]).unwrap();
    let refused = [
        vec![],
        vec![0xff; 4],
        vec![0, 0, 0, 3, 1, 2, 3],
        request(1, 1, &[0, 0, 0, 9, 1]),
        request(1, 1, &[0; 4 * 4_097]),
        request(1, 1, &good)[..10].to_vec(),
        [&[0x7f, 0xff, 0xff, 0xff][..], &[0; 2_000]].concat(),
    ];
    for bytes in refused {
        assert_eq!(mallory.send(vec![bytes.clone()]).await, [None], "{bytes:?}");
    }
    assert_eq!(mallory.send(vec![request(1, 1, &good)]).await, [acknowledged()]);
    assert_eq!(alice.message(mallory.id()).await, b"ab");
    assert_eq!(alice.message(mallory.id()).await, b"c");

    // The same batch again is acknowledged and not delivered.
    assert_eq!(mallory.send(vec![request(1, 1, &good)]).await, [acknowledged()]);
    let next = encode_batch([b"next".as_slice()]).unwrap();
    assert_eq!(mallory.send(vec![request(1, 2, &next)]).await, [acknowledged()]);
    assert_eq!(alice.message(mallory.id()).await, b"next");
    assert_eq!(alice.handle.stats().peers[&mallory.id()].received_frames, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_batches_out_of_turn_ends_the_connection() {
    let limits = Limits { event_queue: 64, ..Limits::default() };
    let mut alice = start(TransportConfig { limits, ..config(1, TCP) });
    let mut bob = start(config(2, TCP));
    connect(&mut alice, &mut bob).await;
    let mut mallory = Hostile::connect(&alice.addresses().await[0]).await;
    // Larger than Alice's channel, which nobody reads any more: the batch stays the one in flight.
    let blocking = vec![b"x".as_slice(); 4_096];
    let blocking = request(1, 1, &encode_batch(blocking).unwrap());
    mallory.swarm.behaviour_mut().send_request(&mallory.victim, blocking);
    // Its first frame is there: streams have no order among each other, and what follows could overtake it.
    let from_mallory = mallory.id();
    let first = alice.until("the first frame of it", |event| match event {
        TransportEvent::Message { from, .. } if from == from_mallory => Some(()),
        _ => None,
    });
    tokio::select! {
        () = first => {}
        () = async { while mallory.swarm.next().await.is_some() {} } => panic!("it has ended"),
    }
    let small = encode_batch([b"z".as_slice()]).unwrap();
    let mut sent = 0;
    while mallory.swarm.is_connected(&mallory.victim) {
        sent += 1;
        assert!(sent < 200, "it may send out of turn as often as it likes");
        assert_eq!(mallory.send(vec![request(1, 1 + sent, &small)]).await, [None]);
    }
    assert!(sent >= 64, "an honest sender is given time: {sent}");
    // Alice has not suffered.
    bob.handle.send(alice.id(), vec![b"hello".to_vec()]);
    let bobs = bob.id();
    let frame = alice
        .until("message", |event| match event {
            TransportEvent::Message { from, frame } if from == bobs => Some(frame),
            _ => None,
        })
        .await;
    assert_eq!(frame, b"hello");
}
