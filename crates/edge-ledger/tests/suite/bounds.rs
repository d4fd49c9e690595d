//! Bytes from strangers: what is too long does not decode, what is damaged is refused.

use std::sync::Arc;

use edge_base::Signed;
use edge_base::{Digest, NodeId, Signature, codec};
use edge_ledger::{
    BlockKind, CREDITS_MAX, Certificate, Genesis, GenesisError, HANDOVER_HEADS_MAX, Handover,
    Network, OverdraftProof, PAYMENTS_MAX, POOL_NAME_BYTES_MAX, Payment, SignedBlock,
    WITNESSES_MAX, WitnessSet,
};
use proptest::prelude::*;

use crate::world::*;

fn decodes<T: serde_round::Wire>(value: &T) -> bool {
    codec::decode::<T>(&codec::encode(value)).is_ok()
}

/// The bound of `codec::decode` without naming serde here.
mod serde_round {
    use edge_ledger::{BlockKind, Certificate, Genesis, Handover, SignedBlock, WitnessSet};

    pub(crate) trait Wire: serde::Serialize + serde::de::DeserializeOwned {}
    impl Wire for BlockKind {}
    impl Wire for Certificate {}
    impl Wire for Genesis {}
    impl Wire for Handover {}
    impl Wire for SignedBlock {}
    impl Wire for WitnessSet {}
}

#[test]
fn every_vector_has_a_bound() {
    let world = World::alone();
    let mut block = world.ledger.next_block(id(0), send(1, 1)).unwrap();
    for (count, fits) in [(CREDITS_MAX, true), (CREDITS_MAX + 1, false), (100_000, false)] {
        block.credits = vec![Digest::default(); count];
        assert_eq!(decodes(&world.seal(block.clone(), 0)), fits, "credits {count}");
    }
    for (count, fits) in [(PAYMENTS_MAX, true), (PAYMENTS_MAX + 1, false)] {
        let payments = vec![Payment { ..pay(1, 1) }; count];
        let kind = BlockKind::Settle { escrow: Default::default(), payments, fee: micro(0) };
        assert_eq!(decodes(&kind), fits, "payments {count}");
    }
    for (count, fits) in [(WITNESSES_MAX, true), (WITNESSES_MAX + 1, false)] {
        let members = vec![NodeId([1; 32]); count];
        assert_eq!(decodes(&WitnessSet { version: 1, members }), fits, "members {count}");
        let block = world.seal(world.ledger.next_block(id(0), send(1, 1)).unwrap(), 0);
        let votes = vec![(NodeId([1; 32]), Signature([2; 64])); count];
        assert_eq!(decodes(&Certificate { block, set_version: 1, votes }), fits, "votes {count}");
    }
    for (count, fits) in [(HANDOVER_HEADS_MAX, true), (HANDOVER_HEADS_MAX + 1, false)] {
        let heads = vec![(NodeId([1; 32]), 1, Digest::default()); count];
        let to = WitnessSet { version: 2, members: vec![] };
        let handover = Handover { from_version: 1, epoch: 1, to, heads };
        assert_eq!(decodes(&handover), fits, "heads {count}");
        assert!(codec::encode(&handover).len() < 1 << 20);
    }
    for (bytes, fits) in [(POOL_NAME_BYTES_MAX, true), (POOL_NAME_BYTES_MAX + 1, false)] {
        let genesis = Genesis { name: "x".repeat(bytes), ..genesis(GRANT) };
        assert_eq!(decodes(&genesis), fits, "name {bytes}");
        assert_eq!(genesis.validate().is_ok(), fits);
    }
}

#[test]
fn a_genesis_record_is_checked_and_names_its_pool() {
    let good = genesis(GRANT);
    assert_eq!(good.validate(), Ok(()));
    assert_eq!(Genesis { version: 2, ..good.clone() }.validate(), Err(GenesisError::Version(2)));
    let weak = Genesis { founder: NodeId([0; 32]), ..good.clone() };
    assert_eq!(weak.validate(), Err(GenesisError::Founder));
    let others = [
        Genesis { network: Network::Main, ..good.clone() },
        Genesis { founder: id(1), ..good.clone() },
        Genesis { grant: micro(1), ..good.clone() },
        Genesis { name: "other".into(), ..good.clone() },
        Genesis { nonce: [8; 32], ..good.clone() },
    ];
    for other in others {
        assert_ne!(other.hash(), good.hash());
    }
    assert!(good.label().labels(&good.hash()));
}

#[test]
fn a_price_list_out_of_order_opens_no_escrow() {
    let world = World::alone();
    // Kinds 1 and 0 at price 7, and kind 0 at price 0: what `PriceList::new` never makes.
    for prices in [&[2, 1, 7, 0, 7][..], &[2, 0, 7, 0, 7], &[1, 0, 0]] {
        let kind = [&[2, 5][..], prices, &[9]].concat();
        let kind: BlockKind = codec::decode(&kind).unwrap();
        assert!(matches!(kind, BlockKind::Escrow { .. }));
        let refused = world.ledger.next_block(id(0), kind);
        assert_eq!(refused, Err(edge_ledger::LedgerError::Prices));
    }
}

fn certificate() -> (World, Arc<Certificate>) {
    let mut world = World::with_witnesses(4);
    let before = world.clone();
    let job = world.escrow(0, 10_000);
    let certificate = world.act(0, settle(job, vec![pay(1, 5), pay(2, 6)])).unwrap();
    let first = world.ledger.history(&id(0)).next().unwrap().clone();
    let mut at = before;
    at.apply(&first).unwrap();
    (at, certificate)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200 * scale() as u32))]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = codec::decode::<Certificate>(&bytes);
        let _ = codec::decode::<SignedBlock>(&bytes);
        let _ = codec::decode::<Signed<Handover>>(&bytes);
        let _ = codec::decode::<OverdraftProof>(&bytes);
        let _ = codec::decode::<Genesis>(&bytes);
        let _ = edge_ledger::VoteLog::restore([(&bytes[..bytes.len() / 2], &bytes)]);
    }
}

#[test]
fn no_flipped_bit_of_a_certificate_passes() {
    let (at, certificate) = certificate();
    let bytes = codec::encode(&*certificate);
    // Every bit of the short parts between signatures and hashes, one bit of each other byte.
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 1 << (position % 8);
        let Ok(decoded) = codec::decode::<Certificate>(&damaged) else { continue };
        let mut ledger = at.ledger.clone();
        let result = ledger.apply(Arc::new(decoded), &mut at.verifier.clone());
        assert!(result.is_err(), "byte {position}");
        assert_same(&ledger, &at.ledger);
    }
    let mut ledger = at.ledger.clone();
    assert!(ledger.apply(certificate, &mut at.verifier.clone()).is_ok());
}
