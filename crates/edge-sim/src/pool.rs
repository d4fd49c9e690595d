//! A pool as it stands on its members' disks when a run begins.

use std::{collections::BTreeMap, sync::Arc};

use edge_base::{Credits, Digest, NodeId, SecretKey, Signed, Verifier, codec};
use edge_ledger::{
    BlockKind, ClaimBook, Genesis, Ledger, Network, VoteCollector, VoteLog, WitnessSet,
};
use edge_swarm::message::{MemberRecord, Membership};
use edge_swarm::{Peer, Table, Write};

use crate::disk::Rows;

/// What the founder grants itself, in whole rUv.
const GRANT: u64 = 1_000_000;
/// What each requester is sent, in whole rUv.
pub(crate) const REQUESTER_GRANT: u64 = 500;

/// The address of a node, by its number.
pub(crate) fn address(node: usize) -> String {
    format!("/memory/{node}")
}

/// The genesis record of a run.
pub(crate) fn genesis(founder: NodeId, seed: u64) -> Genesis {
    let grant = Credits::from_whole(GRANT).expect("invariant: a million is a balance");
    let nonce = Digest::of_value("sim-genesis", &seed).0;
    Genesis::new(Network::Test, founder, grant, "simulation", nonce)
        .expect("invariant: the founder's key is usable")
}

/// A pool whose members know each other.
pub(crate) struct Ready {
    /// Rows that all disks share.
    pub(crate) base: Arc<Rows>,
    /// Further rows of each node.
    pub(crate) own: BTreeMap<usize, Vec<Write>>,
}

/// Writes a pool: everybody a member by the founder's word, some with credits, witness duty
/// handed over to the first `witnesses` nodes (node 0 is the founder).
pub(crate) fn ready(
    keys: &[SecretKey],
    grants: &[(u32, Credits)],
    witnesses: &[u32],
    seed: u64,
    verifier: &mut Verifier,
) -> Ready {
    let founder = &keys[0];
    let ids: Vec<NodeId> = keys.iter().map(SecretKey::node_id).collect();
    let genesis = genesis(ids[0], seed);
    let pool = genesis.hash();
    let mut base = Rows::new();
    for write in Peer::found(&genesis) {
        base.insert((write.table, write.key), write.value.unwrap_or_default());
    }
    let mut own: BTreeMap<usize, Vec<Write>> = BTreeMap::new();
    for (node, id) in ids.iter().enumerate().skip(1) {
        let signed = Signed::seal(Membership { node: *id, group: *id }, founder, &pool);
        own.entry(node).or_default().push(put(Table::Pool, b"membership", &signed));
        let addresses = vec![address(node)];
        let record = MemberRecord { membership: Some(signed), node: *id, addresses };
        base.insert((Table::Members, id.0.to_vec()), codec::encode(&(node as u64, record)));
    }
    let record = MemberRecord { membership: None, node: ids[0], addresses: vec![address(0)] };
    base.insert((Table::Members, ids[0].0.to_vec()), codec::encode(&(0u64, record)));
    let mut ledger = Ledger::new(genesis).expect("invariant: the genesis record was validated");
    let mut votes = VoteLog::new();
    let mut records = Vec::new();
    for (node, amount) in grants {
        let (to, amount) = (ids[*node as usize], *amount);
        let kind = BlockKind::Send { to, amount, memo: Digest::default() };
        let block = ledger.next_block(ids[0], kind).expect("invariant: the founder has the grant");
        let block = Signed::seal(block, founder, &pool);
        let voted = votes
            .vote(&ledger, &ClaimBook::new(), &block, founder, verifier)
            .expect("invariant: the founder votes for its own block");
        records.push(voted.record);
        let certificate = VoteCollector::new(block, ledger.witness_set(), pool)
            .add(&voted.vote, verifier)
            .ok()
            .flatten()
            .expect("invariant: one vote is the quorum of one");
        let body = certificate.body();
        let key = [body.account.0.as_slice(), &body.seq.to_be_bytes()].concat();
        base.insert((Table::Certificates, key), codec::encode(&certificate));
        ledger
            .apply(Arc::new(certificate), verifier)
            .expect("invariant: the certificate was just made");
    }
    if witnesses.len() > 1 {
        let members = witnesses.iter().map(|w| ids[*w as usize]).collect();
        let (signed, record) = votes
            .hand_over(&ledger, members, founder)
            .expect("invariant: everything voted for is certified");
        records.push(record);
        base.insert((Table::Pool, b"handover".to_vec()), codec::encode(&signed));
    }
    let votes = records.into_iter().map(|record| Write {
        table: Table::Votes,
        key: record.key,
        value: Some(record.value),
    });
    own.entry(0).or_default().extend(votes);
    Ready { base: Arc::new(base), own }
}

fn put<T: serde::Serialize>(table: Table, key: &[u8], value: &T) -> Write {
    Write { table, key: key.to_vec(), value: Some(codec::encode(value)) }
}

/// The set that a ready pool has handed over to; the founder alone without a handover.
pub(crate) fn witness_set(ids: &[NodeId], witnesses: &[u32]) -> WitnessSet {
    let version = if witnesses.len() > 1 { 2 } else { 1 };
    let members = witnesses.iter().map(|w| ids[*w as usize]).collect();
    WitnessSet::new(version, members).expect("invariant: a scenario has 3f + 1 witnesses")
}
