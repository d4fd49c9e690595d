//! The bytes of everything that is signed, against a file that `oracles/golden.py` made from hashlib
//! and `cryptography`. A difference here is a break of the protocol.

use std::fmt::{Debug, Write as _};

use edge_base::{
    Credits, Digest, EscrowId, NodeId, SecretKey, Signed, SignedBody, TaskKind, Verifier, codec,
};
use edge_ledger::{
    Assignment, Block, BlockKind, Certificate, Commit, Execution, Genesis, Handover, Network,
    OverdraftProof, Payment, PriceList, Reveal, VoteBody, Voucher, WitnessSet, block_hash,
    commit_hash, task_id,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::world::{micro, settle};

const FILE: &str = include_str!("../golden/ledger.txt");

fn golden(name: &str) -> &'static str {
    let line = FILE.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
    line.unwrap_or_else(|| panic!("no {name} in the golden file"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, value: &T) {
    let bytes = codec::encode(value);
    assert_eq!(hex(&bytes), golden(name), "{name}");
    assert_eq!(codec::decode::<T>(&bytes).as_ref(), Ok(value), "{name}");
}

/// Checks the bytes, and that this implementation accepts the other one's signature.
fn check_signed<T>(name: &str, value: &Signed<T>)
where
    T: SignedBody + DeserializeOwned + PartialEq + Debug,
{
    check(name, value);
    assert!(value.open(&mut Verifier::strict(), &genesis().hash()).is_ok(), "{name}");
}

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

fn id(n: u8) -> NodeId {
    key(n).node_id()
}

fn sha(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn genesis() -> Genesis {
    let grant = Credits::from_micro(1_000_000_000_000);
    Genesis::new(Network::Test, id(1), grant, "golden", [9; 32]).unwrap()
}

fn seal<T: SignedBody>(body: T, by: u8) -> Signed<T> {
    Signed::seal(body, &key(by), &genesis().hash())
}

fn block(
    seq: u64,
    prev: Digest,
    kind: BlockKind,
    credits: &[Digest],
    balance_after: u64,
) -> Signed<Block> {
    let (debit, credits, balance_after) = (kind.debit(), credits.to_vec(), micro(balance_after));
    seal(Block { account: id(1), seq, prev, epoch: 0, kind, debit, credits, balance_after }, 1)
}

fn send() -> Signed<Block> {
    let kind = BlockKind::Send { to: id(2), amount: micro(1_000), memo: sha("memo") };
    block(1, genesis().hash(), kind, &[], 1_000_000_000_000 - 1_000)
}

fn escrow() -> Signed<Block> {
    let prices =
        PriceList::new([(TaskKind::VectorSearch, micro(9)), (TaskKind::Embedding, micro(7))]);
    let kind = BlockKind::Escrow { budget: micro(500_000), prices, expires_epoch: 100 };
    block(2, block_hash(&send()), kind, &[], 1_000_000_000_000 - 501_000)
}

#[test]
fn the_genesis_record_and_the_pools_name() {
    check("genesis", &genesis());
    check("genesis_hash", &genesis().hash());
}

#[test]
fn blocks_of_every_kind() {
    check_signed("send", &send());
    check("send_hash", &block_hash(&send()));
    check_signed("escrow", &escrow());
    let job = EscrowId(block_hash(&escrow()));
    let payments = vec![
        Payment { worker: id(3), amount: micro(300), tasks: 1 },
        Payment { worker: id(2), amount: micro(100), tasks: 3 },
    ];
    let mut credits = [sha("first"), sha("second")];
    credits.sort_unstable();
    let settled = block(3, job.0, settle(job, payments), &credits, 5);
    check_signed("settle", &settled);
    let refund = BlockKind::Refund { escrow: job };
    let refunded = block(4, block_hash(&settled), refund, &[], u64::MAX);
    check_signed("refund", &refunded);
    let opened = block(5, block_hash(&refunded), BlockKind::Open, &credits[..1], 0);
    check_signed("open", &opened);
    let staked = BlockKind::Stake { amount: micro(700) };
    let staked = block(6, block_hash(&opened), staked, &[], 300);
    check_signed("stake", &staked);
    let unstaked = BlockKind::Unstake { amount: micro(200) };
    let unstaked = block(7, block_hash(&staked), unstaked, &[], 300);
    check_signed("unstake", &unstaked);
    let released = BlockKind::Release { unstake: block_hash(&unstaked) };
    let released = block(8, block_hash(&unstaked), released, &[], 500);
    check_signed("release", &released);
    let rotate = BlockKind::Rotate { to: id(2) };
    check_signed("rotate", &block(9, block_hash(&released), rotate, &[], 500));
}

#[test]
fn votes_certificates_and_handovers() {
    let vote = seal(VoteBody { set_version: 1, epoch: 0, block: block_hash(&send()) }, 1);
    check_signed("vote", &vote);
    let votes = vec![(vote.signer, vote.signature)];
    let certificate = Certificate { block: send(), set_version: 1, votes };
    check("certificate", &certificate);
    let set = genesis().witness_set();
    let pool = genesis().hash();
    assert_eq!(certificate.check_votes(&set, &pool, &mut Verifier::strict()), Ok(()));
    let to = WitnessSet::new(2, vec![id(4), id(5), id(6), id(7)]).unwrap();
    let heads = vec![(id(1), 1, block_hash(&send()))];
    check_signed("handover", &seal(Handover { from_version: 1, epoch: 1, to, heads }, 1));
}

fn execution(worker: u8) -> Execution {
    let (payload, digest, nonce) = (sha("payload"), sha("result"), [worker; 16]);
    let task = task_id(&id(1), 300, TaskKind::Embedding, &payload);
    let assignment = Assignment {
        task,
        requester: id(1),
        worker: id(worker),
        escrow: Some(EscrowId(block_hash(&escrow()))),
        price: micro(70),
        kind: TaskKind::Embedding,
        payload,
        payload_bytes: 7,
        pins: sha("pins"),
        issued: 300,
    };
    let hash = commit_hash(&task, &id(worker), &nonce, &digest);
    Execution {
        assignment: seal(assignment, 1),
        commit: seal(Commit { task, worker: id(worker), hash }, worker),
        reveal: seal(Reveal { task, worker: id(worker), nonce, digest }, worker),
    }
}

#[test]
fn the_statements_of_a_task() {
    let mine = execution(2);
    check_signed("assignment", &mine.assignment);
    check_signed("commit", &mine.commit);
    check_signed("reveal", &mine.reveal);
    check("fault_proof", &mine);
    assert_eq!(mine.check_shape(&mut Verifier::strict(), &genesis().hash()), Ok(()));
    let escrow = EscrowId(block_hash(&escrow()));
    let vouch = |worker| {
        let (requester, worker) = (id(1), id(worker));
        seal(Voucher { escrow, requester, worker, cumulative: micro(90), tasks: 2 }, 1)
    };
    check_signed("voucher", &vouch(2));
    check("overdraft", &OverdraftProof::new(vec![vouch(2), vouch(3)]));
}
