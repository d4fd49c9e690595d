//! Everything of the ledger that travels, and the fold under whatever decodes: signatures are taken
//! as good here, so that mutated blocks get as far as the arithmetic.

use std::sync::Arc;

use edge_base::{Signed, SignedBody, Verifier, codec};
use edge_fuzz::{Reached, Target};
use edge_ledger::{
    Assignment, Block, Certificate, ClaimBook, Commit, EquivocationProof, Execution, Genesis,
    Handover, Ledger, OverdraftProof, Reveal, Vote, VoteCollector, Voucher,
};
use serde::{Serialize, de::DeserializeOwned};

/// The bytes that `oracles/golden.py` made: one valid message of every type.
const GOLDEN: &str = include_str!("../tests/golden/ledger.txt");

/// The name of a value in the golden file at the place of its tag, the first byte of a message.
const TAGS: [&str; 19] = [
    "genesis",
    "send",
    "escrow",
    "settle",
    "refund",
    "open",
    "vote",
    "certificate",
    "handover",
    "assignment",
    "commit",
    "reveal",
    "voucher",
    "overdraft",
    "fault_proof",
    "equivocation",
    "stake",
    "unstake",
    "release",
];

fn golden(name: &str) -> Vec<u8> {
    let line = GOLDEN.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
    let digits = line.expect("invariant: the golden file has every name").as_bytes();
    let digit = |c: u8| (c as char).to_digit(16).expect("invariant: hexadecimal") as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn seeds() -> Vec<Vec<u8>> {
    let body = |name: &str| match name {
        "equivocation" => [golden("send"), golden("escrow")].concat(),
        name => golden(name),
    };
    let tagged = |(tag, name): (usize, &&str)| [vec![tag as u8], body(name)].concat();
    TAGS.iter().enumerate().map(tagged).collect()
}

/// Decodes a value, and checks that its canonical encoding decodes to the same.
fn read<T: Serialize + DeserializeOwned + PartialEq>(bytes: &[u8]) -> Option<T> {
    let value: T = codec::decode(bytes).ok()?;
    let again = codec::decode(&codec::encode(&value));
    assert!(again.is_ok_and(|again: T| again == value), "another value after a round trip");
    Some(value)
}

/// A signed body: its name does not depend on its signature.
fn signed<T>(bytes: &[u8]) -> Option<Signed<T>>
where
    T: SignedBody + DeserializeOwned + PartialEq + Clone,
{
    let value: Signed<T> = read(bytes)?;
    let mut unsigned = value.clone();
    unsigned.signature.0 = [0; 64];
    assert_eq!(unsigned.digest(), value.digest());
    Some(value)
}

struct World {
    ledger: Ledger,
    after_send: Ledger,
}

impl World {
    fn new() -> World {
        let genesis = codec::decode(&golden("genesis")).expect("invariant: golden genesis");
        let ledger = Ledger::new(genesis).expect("invariant: a valid genesis");
        let mut after_send = ledger.clone();
        let send = codec::decode(&golden("certificate")).expect("invariant: golden certificate");
        after_send
            .apply(Arc::new(send), &mut Verifier::trusting_for_simulation())
            .expect("invariant: the golden certificate holds");
        World { ledger, after_send }
    }

    /// Shows a block to both ledgers as a witness sees it and as a certificate.
    fn block(&self, block: Signed<Block>) {
        let mut verifier = Verifier::trusting_for_simulation();
        let founder = self.ledger.genesis().founder;
        let votes = vec![(founder, block.signature)];
        let certificate = Arc::new(Certificate { block, set_version: 1, votes });
        for ledger in [&self.ledger, &self.after_send] {
            let checked = ledger.check(&certificate.block, &ClaimBook::new(), &mut verifier);
            let applied = self.apply(ledger, certificate.clone());
            assert_eq!(checked.is_ok(), applied, "witness and fold disagree: {checked:?}");
        }
    }

    /// Whether a certificate changes a ledger; the sums have to hold either way.
    fn apply(&self, ledger: &Ledger, certificate: Arc<Certificate>) -> bool {
        let mut ledger = ledger.clone();
        let before = ledger.frontier_digest();
        let result = ledger.apply(certificate, &mut Verifier::trusting_for_simulation());
        let changed = ledger.frontier_digest() != before;
        assert!(ledger.totals().conserved(), "{:?}", ledger.totals());
        assert_eq!(changed, result == Ok(edge_ledger::Applied::New));
        changed
    }

    fn decode(&self, bytes: &[u8]) -> Reached {
        let Some((tag, body)) = bytes.split_first() else { return Reached::Nothing };
        let Some(name) = TAGS.get(usize::from(*tag)) else { return Reached::Nothing };
        let mut verifier = Verifier::trusting_for_simulation();
        let pool = self.ledger.pool();
        let value = match *name {
            "genesis" => read::<Genesis>(body).map(|genesis| {
                let valid = genesis.validate().is_ok();
                assert_eq!(Ledger::new(genesis).is_ok(), valid);
            }),
            "send" | "escrow" | "settle" | "refund" | "open" | "stake" | "unstake" | "release" => {
                signed::<Block>(body).map(|block| self.block(block))
            }
            "vote" => read::<Vote>(body).map(|vote| {
                let send = codec::decode(&golden("send")).expect("invariant: golden block");
                let set = self.ledger.witness_set();
                let added = VoteCollector::new(send, set, pool).add(&vote, &mut verifier);
                assert!(added.is_err() || vote.signer == self.ledger.genesis().founder);
            }),
            "certificate" => read::<Certificate>(body).map(|certificate| {
                let certificate = Arc::new(certificate);
                self.apply(&self.ledger, certificate.clone());
                self.apply(&self.after_send, certificate);
            }),
            "handover" => signed::<Handover>(body).map(|handover| {
                let mut ledger = self.after_send.clone();
                let result = ledger.apply_handover(Arc::new(handover), &mut verifier);
                let set = ledger.witness_set();
                assert_eq!(set.version, 1 + u64::from(result.is_ok()));
                assert!(set.validate().is_ok());
            }),
            "assignment" => signed::<Assignment>(body).map(drop),
            "commit" => signed::<Commit>(body).map(drop),
            "reveal" => signed::<Reveal>(body).map(drop),
            "voucher" => signed::<Voucher>(body).map(|voucher| {
                let mut book = ClaimBook::new();
                let raised = book.raise(&voucher, &self.after_send, &mut verifier);
                assert_eq!(raised.is_ok(), book.len() == 1);
            }),
            "overdraft" => read::<OverdraftProof>(body).map(|proof| {
                // Nothing is vouched for here.
                assert!(proof.check(&self.after_send, &mut verifier).is_err());
            }),
            "fault_proof" => read::<Execution>(body).map(|execution| {
                let holds = execution.check_shape(&mut verifier, &pool).is_ok();
                assert!(!holds || execution.reveal.body.opens(&execution.commit.body));
            }),
            _ => read::<EquivocationProof>(body).map(|proof| {
                let mut ledger = self.after_send.clone();
                let account = proof.account();
                let result = ledger.apply_equivocation(proof, &mut verifier);
                let frozen = ledger.account(&account).frozen;
                assert_eq!(frozen, result == Ok(edge_ledger::Applied::New));
                assert_eq!(frozen, ledger.account(&account).slashed);
            }),
        };
        if value.is_some() { Reached::Value } else { Reached::Header }
    }
}

/// Hands the target to `then`.
pub(crate) fn with_target<T>(then: impl FnOnce(&Target<'_>) -> T) -> T {
    let (seeds, world) = (seeds(), World::new());
    let decode = |bytes: &[u8]| world.decode(bytes);
    then(&Target { header_bytes: 1, ..Target::new("ledger", &seeds, &decode) })
}
