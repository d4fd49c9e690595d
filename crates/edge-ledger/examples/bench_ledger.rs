//! What the ledger costs: `cargo xtask bench ledger`.
//!
//! A payment among 31 witnesses over TCP on loopback: a thread a witness with its own ledger and vote
//! log, an owner's thread with a connection to each. It is the ledger's own code on both sides (block,
//! vote, collector, certificate, fold) and real sockets; membership, disk and the other traffic of a
//! whole peer are not in it. The rival is arithmetic: the signatures of one payment made and verified one
//! after another by one core.

// A program of its own, not a part of the core: it has a clock, threads, sockets and prints.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    hint::black_box,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use edge_base::{Credits, Digest, NodeId, SecretKey, Signed, Verifier, codec};
use edge_ledger::{
    BlockKind, Certificate, ClaimBook, Genesis, Ledger, Network, SignedBlock, Vote, VoteBody,
    VoteCollector, VoteLog, block_hash,
};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

const WITNESSES: usize = 31;
const PAYMENTS: usize = 200;
const OWNERS: usize = 8;
const ACCOUNTS: usize = 10_000;

static HELD: AtomicUsize = AtomicUsize::new(0);

struct Counter;

// SAFETY: every call goes to the system allocator with the arguments it came with; counting
// allocates nothing.
unsafe impl GlobalAlloc for Counter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise about the layout is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counter = Counter;

/// One message of the benchmark: its length goes before it.
#[derive(Serialize, Deserialize)]
enum Frame {
    Propose(SignedBlock),
    Vote(Vote),
    Certified(Box<Certificate>),
    /// The certificate is in the witness's ledger.
    Taken,
}

fn main() {
    payments();
    merges();
    queries();
    memory();
}

fn line(bench: &str, metric: &str, value: f64, unit: &str, rival: Option<(&str, f64, f64)>) {
    let rival = rival.map_or(String::new(), |(name, value, ratio)| {
        format!(",\"rival\":\"{name}\",\"rival_value\":{value:.4},\"ratio\":{ratio:.4}")
    });
    println!(
        "{{\"bench\":\"{bench}\",\"metric\":\"{metric}\",\"value\":{value:.4},\"unit\":\"{unit}\"{rival}}}"
    );
}

/// Nanoseconds of this thread's CPU time: what others on the machine do counts less.
fn cpu_ns() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
}

fn key(number: usize) -> SecretKey {
    let mut seed = [0x5a; 32];
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    SecretKey::from_seed(seed)
}

fn micro(amount: u64) -> Credits {
    Credits::from_micro(amount)
}

fn pay(to: NodeId, amount: u64) -> BlockKind {
    BlockKind::Send { to, amount: micro(amount), memo: Digest::default() }
}

/// The founder (key 0) alone with a grant.
fn founded() -> Ledger {
    let grant = Credits::from_whole(1_000_000).unwrap();
    let id = key(0).node_id();
    Ledger::new(Genesis::new(Network::Test, id, grant, "bench", [0; 32]).unwrap()).unwrap()
}

/// The next block of an owner with the founder's vote, applied.
fn act(ledger: &mut Ledger, owner: &SecretKey, kind: BlockKind, verifier: &mut Verifier) {
    let pool = ledger.pool();
    let block = Signed::seal(ledger.next_block(owner.node_id(), kind).unwrap(), owner, &pool);
    let set_version = ledger.witness_set().version;
    let body = VoteBody { set_version, epoch: block.body.epoch, block: block_hash(&block) };
    let vote = Signed::seal(body, &key(0), &pool);
    let votes = vec![(vote.signer, vote.signature)];
    let certificate = Certificate { block, set_version, votes };
    ledger.apply(Arc::new(certificate), verifier).unwrap();
}

fn write(stream: &mut TcpStream, frame: &Frame) {
    let bytes = codec::encode(frame);
    let mut whole = (bytes.len() as u32).to_le_bytes().to_vec();
    whole.extend(bytes);
    stream.write_all(&whole).unwrap();
}

/// `None` when the other side is gone.
fn read(stream: &mut TcpStream) -> Option<Frame> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut bytes).ok()?;
    Some(codec::decode(&bytes).unwrap())
}

/// Votes for what it is shown and takes what is certified, strictly.
fn witness(listener: &TcpListener, mut ledger: Ledger, key: &SecretKey) {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut log, claims, mut verifier) = (VoteLog::new(), ClaimBook::new(), Verifier::strict());
    while let Some(frame) = read(&mut stream) {
        let answer = match frame {
            Frame::Propose(block) => {
                Frame::Vote(log.vote(&ledger, &claims, &block, key, &mut verifier).unwrap().vote)
            }
            Frame::Certified(certificate) => {
                ledger.apply(Arc::new(*certificate), &mut verifier).unwrap();
                Frame::Taken
            }
            Frame::Vote(_) | Frame::Taken => continue,
        };
        write(&mut stream, &answer);
    }
}

/// Blocks of several owners on their way at once; how long each took, sealed to certified.
struct Course {
    ledger: Ledger,
    streams: Vec<TcpStream>,
    answers: std::sync::mpsc::Receiver<Frame>,
    verifier: Verifier,
}

impl Course {
    fn begin() -> Course {
        let (mut ledger, mut verifier) = (founded(), Verifier::strict());
        for owner in 1..=OWNERS {
            act(&mut ledger, &key(0), pay(key(owner).node_id(), 1_000_000), &mut verifier);
        }
        let keys: Vec<SecretKey> = (100..100 + WITNESSES).map(key).collect();
        let members = keys.iter().map(SecretKey::node_id).collect();
        let (handover, _) = VoteLog::new().hand_over(&ledger, members, &key(0)).unwrap();
        ledger.apply_handover(Arc::new(handover), &mut verifier).unwrap();
        let (sender, answers) = std::sync::mpsc::channel();
        let mut streams = Vec::new();
        for key in keys {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let (held, sender) = (ledger.clone(), sender.clone());
            thread::spawn(move || witness(&listener, held, &key));
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            let mut reader = stream.try_clone().unwrap();
            thread::spawn(move || {
                while let Some(frame) = read(&mut reader) {
                    if sender.send(frame).is_err() {
                        return;
                    }
                }
            });
            streams.push(stream);
        }
        Course { ledger, streams, answers, verifier }
    }

    /// One payment of each of these owners, all at once; ends when every witness has all of them.
    fn round(&mut self, owners: std::ops::Range<usize>, times_us: &mut Vec<f64>) {
        let pool = self.ledger.pool();
        let mut open = Vec::new();
        for owner in owners {
            let began = Instant::now();
            let block = self.ledger.next_block(key(owner).node_id(), pay(key(0).node_id(), 1));
            let block = Signed::seal(block.unwrap(), &key(owner), &pool);
            let collector = VoteCollector::new(block.clone(), self.ledger.witness_set(), pool);
            let propose = Frame::Propose(block.clone());
            self.streams.iter_mut().for_each(|stream| write(stream, &propose));
            open.push((block_hash(&block), began, collector));
        }
        let mut to_take = open.len() * WITNESSES;
        let mut votes = to_take;
        while to_take > 0 || votes > 0 {
            match self.answers.recv().unwrap() {
                Frame::Vote(vote) => {
                    votes -= 1;
                    let (_, began, collector) =
                        open.iter_mut().find(|(hash, ..)| *hash == vote.body.block).unwrap();
                    // Votes beyond the quorum are not looked at.
                    if collector.votes() >= self.ledger.witness_set().quorum() {
                        continue;
                    }
                    let Some(done) = collector.add(&vote, &mut self.verifier).unwrap() else {
                        continue;
                    };
                    times_us.push(began.elapsed().as_secs_f64() * 1e6);
                    let frame = Frame::Certified(Box::new(done.clone()));
                    self.streams.iter_mut().for_each(|stream| write(stream, &frame));
                    // Its votes were verified one by one.
                    let mut known = Verifier::trusting_for_simulation();
                    self.ledger.apply(Arc::new(done), &mut known).unwrap();
                }
                Frame::Taken => to_take -= 1,
                Frame::Propose(_) | Frame::Certified(_) => unreachable!("a witness answers"),
            }
        }
    }
}

fn median(times: &mut [f64], part: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * part) as usize]
}

fn payments() {
    let mut course = Course::begin();
    let mut times = Vec::new();
    course.round(1..2, &mut times);
    times.clear();
    for _ in 0..PAYMENTS {
        course.round(1..2, &mut times);
    }
    let (p50, p99) = (median(&mut times, 0.5), median(&mut times, 0.99));
    // Every witness verifies the owner and signs, the owner verifies a quorum of votes.
    let (sign_us, verify_us) = crypto();
    let quorum = 21.0;
    let votes = WITNESSES as f64 * (sign_us + verify_us) + sign_us + quorum * verify_us;
    let rival = Some(("its signatures, one core", votes, votes / p50));
    line("payment_31_witnesses", "p50", p50, "us", rival);
    line("payment_31_witnesses", "p99", p99, "us", None);
    let (began, rounds) = (Instant::now(), PAYMENTS / OWNERS);
    for _ in 0..rounds {
        course.round(1..OWNERS + 1, &mut times);
    }
    let rate = (rounds * OWNERS) as f64 / began.elapsed().as_secs_f64();
    // And every witness verifies the certificate: the owner's signature and a quorum of votes.
    let whole = votes + WITNESSES as f64 * (1.0 + quorum) * verify_us;
    let rival = Some(("its signatures, one core", 1e6 / whole, rate * whole / 1e6));
    line("payment_31_witnesses", "throughput", rate, "payments/s", rival);
}

/// Microseconds of a signature and of a verification: the least of many short runs, so that others on
/// the machine do not count.
fn crypto() -> (f64, f64) {
    let (key, pool) = (key(7), Digest::default());
    let body = VoteBody { set_version: 1, epoch: 0, block: pool };
    let (mut sign, mut verify, times) = (f64::MAX, f64::MAX, 10);
    for _ in 0..100 {
        let began = cpu_ns();
        let votes: Vec<Vote> =
            (0..times).map(|_| Signed::seal(black_box(body), &key, &pool)).collect();
        sign = sign.min((cpu_ns() - began) / 1e3 / f64::from(times));
        let (began, mut verifier) = (cpu_ns(), Verifier::strict());
        votes.iter().for_each(|vote| assert!(vote.open(&mut verifier, &pool).is_ok()));
        verify = verify.min((cpu_ns() - began) / 1e3 / f64::from(times));
    }
    (sign, verify)
}

/// The founder pays so many accounts, from `first` on, one after another.
fn grown(mut ledger: Ledger, payers: &[SecretKey], first: usize, accounts: usize) -> Ledger {
    // The keys of those who are paid are only names here.
    let mut known = Verifier::trusting_for_simulation();
    for n in first..first + accounts {
        let to = NodeId(Digest::of(&(n as u64).to_le_bytes()).0);
        act(&mut ledger, &payers[n % payers.len()], pay(to, 10), &mut known);
    }
    ledger
}

fn merges() {
    let payers: Vec<SecretKey> = (1..=100).map(key).collect();
    let mut base = founded();
    let mut known = Verifier::trusting_for_simulation();
    for payer in &payers {
        act(&mut base, &key(0), pay(payer.node_id(), 1_000_000), &mut known);
    }
    let half = ACCOUNTS / 2;
    let one = grown(base.clone(), &payers[..50], 0, ACCOUNTS);
    // Half of the accounts are the same, and all of those of the other half were paid here only.
    let other = grown(grown(base, &payers[..50], 0, half), &payers[50..], ACCOUNTS, half);
    for (name, news) in [("same", &one), ("half_new", &other)] {
        for (check, verifier) in
            [("checked", Verifier::strict()), ("unchecked", Verifier::trusting_for_simulation())]
        {
            let rounds = if check == "checked" { 1 } else { 9 };
            let mut new = 0;
            let mut times: Vec<f64> = (0..rounds)
                .map(|_| {
                    let (mut ledger, mut verifier) = (one.clone(), verifier.clone());
                    let began = cpu_ns();
                    let merged = ledger.merge(news.certificates().cloned(), &mut verifier);
                    let took = (cpu_ns() - began) / 1e6;
                    assert!(merged.refused.is_empty() && merged.waiting.is_empty());
                    new = merged.new;
                    took
                })
                .collect();
            let bench = format!("merge_10k_accounts_{name}_{check}");
            line(&bench, "time", median(&mut times, 0.5), "ms", None);
            line(&bench, "new certificates", new as f64, "1", None);
        }
    }
}

fn queries() {
    let payers = [key(0)];
    let ledger = grown(founded(), &payers, 0, ACCOUNTS);
    let ids: Vec<NodeId> = ledger.accounts().map(|(id, _)| id).collect();
    let began = cpu_ns();
    let rounds = 20;
    for _ in 0..rounds {
        for id in &ids {
            black_box(ledger.account(black_box(id)).incoming);
        }
    }
    let ns = (cpu_ns() - began) / (rounds * ids.len()) as f64;
    line("balance_of_10k_accounts", "time", ns, "ns", None);
}

/// Bytes that a ledger with so many accounts holds, the certificates of their payments in it.
fn memory() {
    let before = HELD.load(Ordering::Relaxed);
    let payers = [key(0)];
    let ledger = grown(founded(), &payers, 0, ACCOUNTS);
    let bytes = HELD.load(Ordering::Relaxed) - before;
    assert!(ledger.accounts().count() > ACCOUNTS);
    line("memory_10k_accounts", "with one certificate each", bytes as f64 / 1e6, "MB", None);
    let states: Vec<_> = ledger.states().collect();
    let genesis = ledger.genesis().clone();
    let grant = genesis.grant;
    drop(ledger);
    // As they are, each with a payment that it has not taken, and each with a block that took it.
    let taken = states.iter().cloned().map(|mut state| {
        if let [(_, amount)] = state.incoming[..] {
            (state.seq, state.balance) = (1, amount);
            state.head = Digest::of(&state.account.0);
            state.incoming.clear();
        }
        state
    });
    let taken: Vec<_> = taken.collect();
    for (name, states) in [("a payment each", &states), ("a block each", &taken)] {
        let before = HELD.load(Ordering::Relaxed);
        let pruned =
            Ledger::from_states(genesis.clone(), states.iter().cloned(), grant, Credits::ZERO);
        let bytes = HELD.load(Ordering::Relaxed) - before;
        assert!(pruned.unwrap().accounts().count() > ACCOUNTS);
        let metric = format!("begun from a checkpoint's states, {name}");
        line("memory_10k_accounts", &metric, bytes as f64 / 1e6, "MB", None);
    }
}
