//! Direct messages and gossip, the frames that peers take from each other, and ticket texts.

use edge_base::{
    CollectionId, Credits, Digest, EscrowId, Micros, NodeId, SecretKey, ShardId, Signed, TaskId,
    TaskKind, Timestamp,
};
use edge_fuzz::{Reached, Target};
use edge_ledger::{
    Amendment, AuditCommits, Ballot, Block, BlockKind, Carried, Certified, Change, ChangeOrder,
    Checkpoint, Closing, CpuHours, Decided, EquivocationProof, Genesis, Handover, Head, Network,
    Offence, OffenceKind, Parameter, ParameterVote, Parameters, Phase, Plan, Proposal, Proposed,
    Resolutions, Sealed, Seen, SignedBlock, Sketch, Statement,
    statement::{Assignment, Commit, FaultProof, Reveal, Voucher},
};
use edge_swarm::{
    Here, RollCall, Ticket,
    command::Priority,
    message::{
        AccountHead, Acquaintance, Advert, CollectionSpec, DeclineReason, Evidence, FaultReport,
        Gossip, MayWithdraw, MemberRecord, Membership, Message, Offer, ShardHead, SketchAnswer,
        Withdrawal, decode_gossip, decode_message, encode_gossip, encode_message,
    },
};

fn key() -> SecretKey {
    SecretKey::from_seed([3; 32])
}

fn pool() -> Digest {
    Digest::of(b"pool")
}

fn node() -> NodeId {
    key().node_id()
}

fn signed<T: edge_base::SignedBody>(body: T) -> Signed<T> {
    Signed::seal(body, &key(), &pool())
}

fn sketch() -> Sketch {
    let mut sketch = Sketch::empty([3; 16], 9, true);
    sketch.add(Head::of(&node(), 300));
    sketch
}

fn membership() -> Signed<Membership> {
    signed(Membership { node: node(), group: node() })
}

fn member() -> MemberRecord {
    let addresses = vec![String::from("/ip4/127.0.0.1/tcp/4001")];
    MemberRecord { membership: Some(membership()), node: node(), addresses }
}

fn advert() -> Signed<Advert> {
    signed(Advert {
        counter: 7,
        life: 2,
        pins: vec![Digest([1; 32])],
        works: true,
        load: 3,
        offers: 250,
        addresses: vec!["/memory/1".into()],
        set_version: 1,
        frontier: Digest([4; 32]),
        agent: "edge-net".into(),
        epoch: 1,
    })
}

fn spec() -> Signed<CollectionSpec> {
    signed(CollectionSpec { name: "docs".into(), nonce: 9, layout: vec![1, 2], dropped: false })
}

fn head() -> Signed<ShardHead> {
    signed(ShardHead {
        collection: CollectionId(Digest([5; 32])),
        index: 1,
        seq: 12,
        chain: Digest([6; 32]),
        root: Digest([7; 32]),
        rows: 900,
        replicas: vec![node(), NodeId([8; 32])],
        renewed: 3,
    })
}

fn task() -> TaskId {
    TaskId(Digest([2; 32]))
}

fn assignment() -> Signed<Assignment> {
    signed(Assignment {
        task: task(),
        requester: node(),
        worker: node(),
        escrow: Some(EscrowId(Digest([3; 32]))),
        price: Credits::from_micro(5),
        kind: TaskKind::Embedding,
        payload: Digest([1; 32]),
        payload_bytes: 77,
        pins: Digest([2; 32]),
        issued: 11,
    })
}

fn commit() -> Signed<Commit> {
    signed(Commit { task: task(), worker: node(), hash: Digest([9; 32]) })
}

fn reveal() -> Signed<Reveal> {
    signed(Reveal { task: task(), worker: node(), nonce: [1; 16], digest: Digest([9; 32]) })
}

fn genesis() -> Genesis {
    let grant = Credits::from_micro(1_000);
    Genesis::new(Network::Test, node(), grant, "pool", [1; 32]).expect("a valid genesis")
}

fn handover() -> Signed<Handover> {
    let to = edge_ledger::WitnessSet { version: 2, members: vec![node()] };
    signed(Handover { from_version: 1, epoch: 1, to, heads: vec![(node(), 4, Digest([2; 32]))] })
}

fn ballot() -> Signed<Ballot> {
    let (value, valid_round) = (Some(Digest([3; 32])), Some(1));
    let phase = Phase::Prevote;
    signed(Ballot { version: 2, epoch: 3, round: 4, phase, value, valid_round })
}

fn proposal() -> Proposal {
    let (value, valid_round) = (Digest([3; 32]), Some(1));
    let head = signed(Proposed { version: 2, epoch: 3, round: 4, value, valid_round });
    Proposal { head, polka: vec![(node(), None, ballot().signature)] }
}

fn checkpoint() -> Checkpoint {
    let (account, blocks) = (node(), vec![Digest([6; 32])]);
    Checkpoint {
        epoch: 3,
        prev: Digest([1; 32]),
        version: 2,
        accounts: Digest([2; 32]),
        count: 7,
        snapshot: Digest([3; 32]),
        supply: Credits::from_micro(9),
        burned: Credits::from_micro(1),
        hours: CpuHours::default(),
        fund: Credits::from_micro(2),
        parameters: Parameters::default(),
        resolutions: Digest([4; 32]),
        set: edge_ledger::WitnessSet { version: 3, members: vec![node()] },
        carried: vec![Carried { account, seq: 4, blocks }],
    }
}

fn decided() -> Decided {
    let votes = vec![(node(), ballot().signature)];
    let sealed = Sealed { checkpoint: checkpoint(), round: 1, votes };
    Decided { sealed, cut: vec![(node(), 4)], resolutions: resolutions() }
}

fn parameter_vote() -> Signed<ParameterVote> {
    signed(ParameterVote { version: 2, parameter: Parameter::FeeRate, value: 4_000, since: 0 })
}

fn seen() -> Signed<Seen> {
    signed(Seen { version: 2, beacon: Digest([5; 32]), answered: vec![(node(), 3)] })
}

fn here() -> Signed<Here> {
    signed(Here { beacon: Digest([5; 32]), witness: node(), number: 7 })
}

fn resolutions() -> Resolutions {
    let votes = vec![(node(), parameter_vote().signature)];
    let amendments = vec![Amendment { parameter: Parameter::FeeRate, value: 4_000, votes }];
    let account = node();
    let offences = vec![Offence { account, kind: OffenceKind::Fault }];
    let commits = vec![AuditCommits { assignment: assignment(), commits: vec![commit()] }];
    let certified = vec![Certified { task: assignment().body.task, reveals: vec![reveal()] }];
    let audits = vec![assignment()];
    let seen = vec![seen()];
    Resolutions { amendments, offences, audits, commits, certified, seen }
}

fn order() -> Signed<ChangeOrder> {
    signed(ChangeOrder { version: 2, members: vec![node()] })
}

fn closing() -> Signed<Closing> {
    let voted = vec![equivocation().first];
    signed(Closing { version: 2, accounts: Digest([2; 32]), voted })
}

fn plan() -> Plan {
    let change = Change { order: order(), closings: vec![closing()] };
    let (checkpoint, cut, resolutions) = (checkpoint(), vec![(node(), 4)], resolutions());
    Plan { checkpoint, cut, change: Some(change), resolutions }
}

fn report(evidence: Evidence) -> FaultReport {
    let proof = FaultProof { assignment: assignment(), commit: commit(), reveal: reveal() };
    FaultReport { proof, evidence }
}

fn block(to: u8) -> SignedBlock {
    signed(Block {
        account: node(),
        seq: 4,
        prev: Digest([1; 32]),
        epoch: 0,
        kind: BlockKind::Send {
            to: NodeId([to; 32]),
            amount: Credits::from_micro(5),
            memo: Digest([2; 32]),
        },
        debit: Credits::from_micro(5),
        credits: vec![Digest([3; 32])],
        balance_after: Credits::from_micro(6),
    })
}

fn equivocation() -> EquivocationProof {
    EquivocationProof::new(block(1), block(2))
}

fn messages() -> Vec<Message> {
    let (task, shard) = (task(), ShardId(Digest([4; 32])));
    let content = Digest([5; 32]);
    vec![
        Message::Heir { root: Box::new(member()), chain: vec![succession()] },
        Message::Hello {
            pool: pool(),
            membership: Some(membership()),
            join: Some([7; 16]),
            addresses: vec!["/ip4/10.0.0.1/udp/1/quic-v1".into()],
            known: Acquaintance { count: 3, sum: 0x0123_4567_89ab_cdef },
        },
        Message::Welcome {
            genesis: genesis(),
            handover: Some(handover()),
            membership: Some(membership()),
            members: vec![member()],
            advert: advert(),
        },
        Message::Refused { reason: "not a member".into() },
        Message::Collections { specs: vec![spec()], heads: vec![head()] },
        Message::Want { content, offset: 262_144 },
        Message::Chunk { content, total: 9, offset: 0, bytes: vec![1; 9] },
        Message::NotHere { content },
        Message::Offer(Offer {
            task,
            kind: TaskKind::SemanticMatch,
            pin: Digest([1; 32]),
            payload_bytes: 5,
            price: Credits::from_micro(3),
            priority: Priority::High,
            remaining: Micros::from_secs(5),
        }),
        Message::Bid { task, load: 1, start_in: Micros(5) },
        Message::Decline { task, reason: DeclineReason::Busy },
        Message::Assign {
            assignment: assignment(),
            payload: Some(b"payload".to_vec()),
            priority: Priority::Normal,
            remaining: Micros(5),
        },
        Message::Accepted { task },
        Message::Committed(commit()),
        Message::RevealPlease { task, commits: vec![commit(), commit()] },
        Message::Revealed { commit: commit(), reveal: reveal(), result: Some(vec![1, 2, 3]) },
        Message::Over { task, accepted: Some(Digest([9; 32])) },
        Message::Paid(signed(Voucher {
            escrow: EscrowId(Digest([3; 32])),
            requester: node(),
            worker: node(),
            cumulative: Credits::from_micro(9),
            tasks: 2,
        })),
        Message::Replicate { spec: spec(), index: 1, head: Some(head()) },
        Message::Release { shard },
        Message::LogWant { shard, seq: 3 },
        Message::LogBatch { shard, seq: 3, batch: vec![1, 2, 3], last: 9 },
        Message::ReplicaAt { shard, seq: 3, root: Digest([1; 32]) },
        Message::NoVote { block: content, missing: Some((node(), 3)), reason: "later".into() },
        Message::Certificates(vec![]),
        Message::Frontier { range: Some((node(), node())), heads: vec![(node(), 3)] },
        Message::Sketch(Box::new(sketch())),
        Message::SketchAnswer {
            key: [3; 16],
            answer: SketchAnswer::Known(vec![Head { account: [1; 16], seq: 7 }]),
        },
        Message::SketchAnswer { key: [3; 16], answer: SketchAnswer::More(70) },
        Message::Next(node()),
        Message::RollCall(Box::new(RollCall::Here(here()))),
        Message::Seen(Box::new(seen())),
        Message::AskWithdraw(Withdrawal::Begin),
        Message::SayWithdraw {
            step: Withdrawal::End(content),
            answer: MayWithdraw::In(Micros::from_secs(5)),
        },
        Message::Agree(Box::new(Statement::Ballot(ballot()))),
        Message::Agree(Box::new(Statement::Proposal(proposal()))),
        Message::Plan(Box::new(plan())),
        Message::PlanWant(content),
        Message::Closed(Box::new(closing())),
        Message::CheckpointWant { epoch: 3, version: 2 },
        Message::Checkpoints { chain: vec![decided().sealed], last: Box::new(decided()) },
        Message::AskHeads,
        Message::SayHeads {
            epoch: 3,
            heads: vec![AccountHead { account: node(), seq: 7, signed: Some(Box::new(block(1))) }],
            claims: vec![],
        },
    ]
}

/// Of the member of [`with_peer`] to another key.
fn succession() -> edge_swarm::SuccessionRecord {
    let (old, heir) = (SecretKey::from_seed([2; 32]), SecretKey::from_seed([3; 32]));
    edge_swarm::SuccessionRecord::new(&old, &heir, vec![node()], &pool())
}

fn gossip() -> Vec<Gossip> {
    vec![
        Gossip::Advert(advert()),
        Gossip::Member(member()),
        Gossip::Handover(Box::new(handover())),
        Gossip::Collection(spec()),
        Gossip::Head(head()),
        Gossip::Fault(Box::new(report(Evidence::Payload))),
        Gossip::Fault(Box::new(report(Evidence::Item { byte: 1_000 }))),
        Gossip::Fault(Box::new(report(Evidence::Answer { answer: Digest([1; 32]), head: head() }))),
        Gossip::Equivocation(Box::new(equivocation())),
        Gossip::Checkpoint(Box::new(decided())),
        Gossip::Revocation(signed(edge_swarm::Revocation { node: node() })),
        Gossip::Succession(Box::new(succession())),
        Gossip::Change(Box::new(order())),
        Gossip::Parameter(Box::new(parameter_vote())),
        Gossip::Contest(Box::new(edge_swarm::contest::Contest {
            spec: spec(),
            index: 1,
            pairs: vec![edge_swarm::contest::HeadPair::new(head(), head())],
            repairs: vec![],
            decision: Some(edge_coherence::Decision { wider: None, ballots: vec![] }),
        })),
    ]
}

/// A handshake with the founder of [`with_peer`], and what may follow it.
fn of_sessions() -> Vec<Message> {
    use edge_base::session::{Limits, handshake};
    let (founder, other) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
    let (pool, limits, now) = (pool(), Limits::default(), Timestamp(1));
    let mut verifier = edge_base::Verifier::strict();
    let begun = handshake::Initiator::begin(&other, &pool, founder.node_id(), [3; 32]);
    let opening = begun.opening().clone();
    let (answer, mut session) =
        handshake::respond(&founder, &pool, &opening, &mut verifier, [4; 64], limits, now)
            .expect("invariant: an opening for the founder");
    let record = session.encrypt(now, vec![7; 40]).expect("invariant: a session that just began");
    vec![
        Message::SessionOpen(Box::new(opening)),
        Message::SessionAccept(Box::new(answer)),
        Message::SessionGone(record.session),
        Message::Private(record),
    ]
}

/// Frames between peers: what decodes encodes again to something that decodes to the same.
pub(crate) fn with_message<T>(then: impl FnOnce(&Target<'_>) -> T) -> T {
    let mut seeds: Vec<Vec<u8>> = messages().iter().map(encode_message).collect();
    seeds.extend(of_sessions().iter().map(encode_message));
    seeds.extend(gossip().iter().map(encode_gossip));
    let decode = |bytes: &[u8]| {
        if edge_base::codec::open_frame(bytes, edge_base::codec::FRAME_BYTES_MAX).is_err() {
            return Reached::Nothing;
        }
        if let Ok(message) = decode_message(bytes) {
            assert_eq!(decode_message(&encode_message(&message)), Ok(message));
            return Reached::Value;
        }
        match decode_gossip(bytes) {
            Ok(gossip) => {
                assert_eq!(decode_gossip(&encode_gossip(&gossip)), Ok(gossip));
                Reached::Value
            }
            Err(_) => Reached::Header,
        }
    };
    let header_bytes = edge_base::codec::HEADER_BYTES;
    then(&Target { header_bytes, ..Target::new("message", &seeds, &decode) })
}

/// A whole peer that hears arbitrary frames from a member and from a stranger: it never panics.
pub(crate) fn with_peer<T>(then: impl FnOnce(&Target<'_>) -> T) -> T {
    use edge_swarm::{Input, Peer, Settings, Stored, Table};
    let mut seeds: Vec<Vec<u8>> = messages().iter().map(encode_message).collect();
    seeds.extend(of_sessions().iter().map(encode_message));
    seeds.extend(gossip().iter().map(encode_gossip));
    let founder = SecretKey::from_seed([1; 32]);
    let grant = Credits::from_micro(1_000_000_000);
    let genesis = Genesis::new(Network::Test, founder.node_id(), grant, "pool", [1; 32])
        .expect("a valid genesis");
    let mut stored = Stored::default();
    for write in Peer::found(&genesis) {
        let value = write.value.expect("founding only writes");
        stored.rows.entry(write.table).or_default().push((write.key, value));
    }
    let other = SecretKey::from_seed([2; 32]).node_id();
    let statement = Membership { node: other, group: other };
    let membership = Some(Signed::seal(statement, &founder, &genesis.hash()));
    let record = MemberRecord { membership, node: other, addresses: vec![] };
    let value = edge_base::codec::encode(&(0u64, record));
    stored.rows.insert(Table::Members, vec![(other.0.to_vec(), value)]);
    let peer = Peer::new(
        founder,
        Settings::default(),
        stored,
        edge_base::Verifier::trusting_for_simulation(),
        [9; 32],
        Timestamp(1),
    );
    let peer = std::cell::RefCell::new(peer.expect("a stored pool starts"));
    let now = std::cell::Cell::new(1u64);
    let decode = |bytes: &[u8]| {
        let header = edge_base::codec::open_frame(bytes, edge_base::codec::FRAME_BYTES_MAX);
        let value = decode_message(bytes).is_ok() || decode_gossip(bytes).is_ok();
        let mut peer = peer.borrow_mut();
        now.set(now.get() + 50_000);
        for from in [other, node()] {
            peer.handle(Timestamp(now.get()), Input::Frame { from, bytes: bytes.to_vec() });
            while peer.poll().is_some() {}
        }
        match (header.is_ok(), value) {
            (false, _) => Reached::Nothing,
            (true, false) => Reached::Header,
            (true, true) => Reached::Value,
        }
    };
    let header_bytes = edge_base::codec::HEADER_BYTES;
    then(&Target { header_bytes, ..Target::new("peer", &seeds, &decode) })
}

/// Ticket texts.
pub(crate) fn with_ticket<T>(then: impl FnOnce(&Target<'_>) -> T) -> T {
    let ticket = Ticket {
        pool: pool(),
        inviter: node(),
        addresses: vec!["/ip4/127.0.0.1/tcp/1".into()],
        secret: [9; 16],
        credits: Credits::from_micro(5),
        owner: false,
    };
    let seeds = vec![ticket.to_string().into_bytes()];
    let decode = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        match text.parse::<Ticket>() {
            Ok(ticket) => {
                assert_eq!(ticket.to_string().parse(), Ok(ticket));
                Reached::Value
            }
            Err(edge_swarm::TicketError::Prefix) => Reached::Nothing,
            Err(_) => Reached::Header,
        }
    };
    then(&Target { header_bytes: 8, ..Target::new("ticket", &seeds, &decode) })
}
