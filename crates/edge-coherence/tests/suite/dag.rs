//! The graph against brute-force reachability.

use std::collections::BTreeSet;

use edge_base::Digest;
use edge_coherence::{Dag, DagError, EVENTS_MAX, PARENTS_MAX, WAITING_MAX};
use proptest::prelude::*;

fn id(i: usize) -> Digest {
    Digest::of(&i.to_le_bytes())
}

/// A graph of `n` events: event i builds on some of those before it.
fn graphs() -> impl Strategy<Value = Vec<Vec<usize>>> {
    (1usize..25).prop_flat_map(|n| {
        let rows: Vec<_> =
            (0..n).map(|i| prop::collection::btree_set(0..i.max(1), 0..i.min(4) + 1)).collect();
        rows.prop_map(|rows| {
            let before = |(i, row): (usize, BTreeSet<usize>)| {
                row.into_iter().filter(|parent| *parent < i).collect()
            };
            rows.into_iter().enumerate().map(before).collect()
        })
    })
}

fn reaches(graph: &[Vec<usize>], from: usize, to: usize) -> bool {
    from == to || graph[to].iter().any(|parent| reaches(graph, from, *parent))
}

proptest! {
    #[test]
    fn taint_is_reachability_and_order_is_topological_whatever_came_first(
        (graph, arrival) in graphs().prop_flat_map(|g| {
            let all: Vec<usize> = (0..g.len()).collect();
            (Just(g), Just(all).prop_shuffle())
        }),
        root in any::<prop::sample::Index>(),
    ) {
        let mut dag = Dag::default();
        for i in &arrival {
            prop_assert_eq!(dag.insert(id(*i), graph[*i].iter().map(|p| id(*p))), Ok(true));
        }
        prop_assert_eq!((dag.len(), dag.waiting()), (graph.len(), 0));
        let root = root.index(graph.len());
        let expected: BTreeSet<Digest> =
            (0..graph.len()).filter(|to| reaches(&graph, root, *to)).map(id).collect();
        prop_assert_eq!(dag.taint([id(root)]), expected);
        let order = dag.order();
        let place = |i: usize| order.iter().position(|e| *e == id(i)).unwrap();
        for (i, parents) in graph.iter().enumerate() {
            for parent in parents {
                prop_assert!(place(*parent) < place(i));
            }
        }
        let mut in_order = Dag::default();
        for (i, parents) in graph.iter().enumerate() {
            in_order.insert(id(i), parents.iter().map(|p| id(*p))).unwrap();
        }
        prop_assert_eq!(&in_order, &dag);
        prop_assert_eq!(in_order.order(), order);
    }
}

#[test]
fn bounds_refuse_and_a_known_event_is_no_news() {
    let mut dag = Dag::default();
    assert_eq!(dag.insert(id(0), [id(0)]), Err(DagError::Parents));
    assert_eq!(dag.insert(id(0), (1..PARENTS_MAX + 2).map(id)), Err(DagError::Parents));
    for i in 0..WAITING_MAX {
        assert_eq!(dag.insert(id(100_000 + i), [id(99_999)]), Ok(true));
    }
    assert_eq!(dag.insert(id(7), [id(99_999)]), Err(DagError::Waiting));
    for i in 0..EVENTS_MAX - WAITING_MAX {
        assert_eq!(dag.insert(id(i), []), Ok(true));
    }
    assert_eq!(dag.insert(id(EVENTS_MAX), []), Err(DagError::Full));
    assert_eq!(dag.insert(id(3), []), Ok(false));
    assert!(dag.taint([id(99_999)]).is_empty(), "what is not here taints nothing");
}
