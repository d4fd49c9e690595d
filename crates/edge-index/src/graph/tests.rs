use edge_base::Rng;
use proptest::prelude::*;

use super::*;
use crate::Metric;

fn vector(dim: usize, rng: &mut Rng) -> Vec<f32> {
    (0..dim).map(|_| (rng.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

fn id(n: u64) -> RecordId {
    RecordId(Digest::of(&n.to_le_bytes()))
}

/// A graph and what is in it, changed together.
struct Pair {
    graph: Graph,
    ids: Vec<RecordId>,
    vectors: Vec<Vec<f32>>,
    next: u64,
}

impl Pair {
    fn new(config: &IndexConfig) -> Self {
        Pair { graph: Graph::new(config), ids: Vec::new(), vectors: Vec::new(), next: 0 }
    }

    fn insert(&mut self, vector: Vec<f32>) {
        let id = id(self.next);
        self.next += 1;
        self.graph.insert(&id, &vector);
        self.ids.push(id);
        self.vectors.push(vector);
    }

    fn remove(&mut self, row: usize) {
        self.graph.remove(row as u32);
        self.ids.swap_remove(row);
        self.vectors.swap_remove(row);
    }

    fn check(&self) {
        assert_eq!(self.graph.len(), self.ids.len());
        self.graph.check(|row| self.ids[row as usize]).unwrap();
        // What the tree promises, seen without it.
        assert_eq!(self.graph.unreachable(), 0, "rows out of reach");
    }
}

fn small(metric: Metric, m: usize, m0: usize) -> IndexConfig {
    IndexConfig { m, m0, ef_construction: 24, ef: 24, ..IndexConfig::new(6, metric) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_row_stays_within_reach(
        seed: u64,
        m in 4usize..7,
        extra in 0usize..4,
        metric in prop_oneof![Just(Metric::Cosine), Just(Metric::Dot), Just(Metric::L2)],
        // Below this many of 8, the vector is one of three: equal rows in masses.
        equal in 0u64..8,
        ops in 1usize..400,
    ) {
        let mut rng = Rng::derive(seed, "reach");
        let mut pair = Pair::new(&small(metric, m, m + extra));
        let common: Vec<Vec<f32>> = (0..3).map(|_| vector(6, &mut rng)).collect();
        for step in 0..ops {
            // Grows in the first half, shrinks in the second.
            let shrink = rng.chance(if step < ops / 2 { 1 } else { 3 }, 4);
            if shrink && !pair.ids.is_empty() {
                pair.remove(rng.below(pair.ids.len() as u64) as usize);
            } else {
                let vector = match rng.below(8) < equal {
                    true => rng.pick(&common).unwrap().clone(),
                    false => vector(6, &mut rng),
                };
                pair.insert(vector);
            }
            if step % 16 == 0 {
                pair.check();
            }
        }
        pair.check();
        while !pair.ids.is_empty() {
            pair.remove(rng.below(pair.ids.len() as u64) as usize);
            pair.check();
        }
    }
}

#[test]
fn deleting_hubs_the_entry_and_the_root_again_and_again_leaves_all_within_reach() {
    let mut rng = Rng::derive(5, "hubs");
    let mut pair = Pair::new(&small(Metric::L2, 4, 8));
    for _ in 0..600 {
        pair.insert(vector(6, &mut rng));
    }
    for round in 0..500 {
        let graph = &pair.graph;
        let hub = (0..graph.len() as u32).max_by_key(|row| graph.links(*row, 0).len()).unwrap();
        let victim = [graph.entry, graph.root, hub][round % 3];
        pair.remove(victim as usize);
        pair.check();
    }
    assert_eq!(pair.graph.len(), 100);
}

#[test]
fn levels_depend_on_seed_and_id_and_thin_out_by_m() {
    let config = IndexConfig::new(6, Metric::L2);
    let (graph, other) = (Graph::new(&config), Graph::new(&IndexConfig { seed: 1, ..config }));
    let levels: Vec<u8> = (0..32_000).map(|n| graph.level_of(&id(n))).collect();
    let above = |level: u8| levels.iter().filter(|l| **l >= level).count();
    // Expected 1,000 and 31; four standard deviations.
    assert!((875..1_125).contains(&above(1)), "{}", above(1));
    assert!((9..54).contains(&above(2)), "{}", above(2));
    assert!((0..32_000).any(|n| other.level_of(&id(n)) != levels[n as usize]));
}

#[test]
fn rows_out_of_reach_are_counted() {
    let mut rng = Rng::derive(7, "islands");
    let mut pair = Pair::new(&small(Metric::L2, 4, 8));
    assert_eq!(pair.graph.unreachable(), 0);
    for _ in 0..100 {
        pair.insert(vector(6, &mut rng));
    }
    for row in (0..100).filter(|row| *row != pair.graph.entry).take(3).collect::<Vec<u32>>() {
        for other in pair.graph.links(row, 0).to_vec() {
            pair.graph.drop_link(other, 0, row);
        }
    }
    // Whoever hung on these three alone is out of reach with them.
    assert!((3..10).contains(&pair.graph.unreachable()), "{}", pair.graph.unreachable());
}

#[test]
fn the_check_sees_what_it_is_for() {
    let mut rng = Rng::derive(6, "check");
    let mut pair = Pair::new(&small(Metric::L2, 4, 8));
    for _ in 0..200 {
        pair.insert(vector(6, &mut rng));
    }
    pair.check();
    let fault = |change: &dyn Fn(&mut Graph)| {
        let mut graph = pair.graph.clone();
        change(&mut graph);
        graph.check(|row| pair.ids[row as usize]).expect_err("a fault")
    };
    let leaf = (0..200u32).find(|row| pair.graph.children[*row as usize] == 0).unwrap();
    let parent = pair.graph.parents[leaf as usize];
    assert_eq!(fault(&|g| g.drop_link(leaf, 0, parent)), "a link has one end");
    assert_eq!(
        fault(&|g| {
            g.drop_link(leaf, 0, parent);
            g.drop_link(parent, 0, leaf);
        }),
        "a parent is not linked"
    );
    assert_eq!(fault(&|g| g.children[parent as usize] += 1), "children are miscounted");
    assert_eq!(fault(&|g| g.base[3 * 8] = 3), "a link leads nowhere");
    assert_eq!(fault(&|g| g.base[3 * 8] = 200), "a link leads nowhere");
    assert_eq!(fault(&|g| g.base[3 * 8] = g.base[3 * 8 + 1]), "a link occurs twice");
    assert_eq!(fault(&|g| g.root = leaf), "the tree has no root");
    assert_eq!(fault(&|g| g.entry = 200), "the entry is not a row");
    let ground = (0..200u32).find(|row| pair.graph.levels[*row as usize] == 0).unwrap();
    assert_eq!(fault(&|g| g.entry = ground), "the entry is not on the highest level");
    assert_eq!(
        fault(&|g| g.levels[ground as usize] = 1),
        "a row is on another level than its id says"
    );
    // Two rows that are each other's parents.
    let child = (0..200u32).find(|row| {
        let parent = pair.graph.parents[*row as usize];
        parent != NONE && parent != pair.graph.root
    });
    let child = child.unwrap();
    let parent = pair.graph.parents[child as usize];
    assert_eq!(fault(&|g| g.parents[parent as usize] = child), "the tree has a cycle");
}
