//! Matches against a plain implementation in f64, and what they promise.

use edge_base::{TaskKind, Work};
use edge_tasks::matching::{CALIBRATION_EXAMPLES, TEMPERATURE, THRESHOLD};
use edge_tasks::{
    EmbeddingPayload, EmbeddingResult, Example, Executor, MatchPayload, MatchResult, TaskError,
    default_model,
};

const SECTIONS: &str = include_str!("../data/sections.tsv");

fn run(payload: &MatchPayload) -> Result<MatchResult, TaskError> {
    let (kind, payload) = (TaskKind::SemanticMatch, payload.encode().into());
    MatchResult::decode(&Executor::new().execute(&Work::Run { kind, payload })?)
}

/// Labels, labelled texts that may be examples, and others that may be asked about.
fn sections() -> (Vec<String>, Vec<Example>, Vec<Example>) {
    let (mut labels, mut pool, mut asked) = (Vec::<String>::new(), Vec::new(), Vec::new());
    for (at, line) in SECTIONS.lines().filter(|line| !line.starts_with("-\t")).enumerate() {
        let (label, text) = line.split_once('\t').unwrap();
        if labels.last().is_none_or(|last| last != label) {
            labels.push(label.to_owned());
        }
        let label = labels.len() as u32 - 1;
        let list = if at % 2 == 0 { &mut pool } else { &mut asked };
        list.push(Example { label, text: text.to_owned() });
    }
    (labels, pool, asked)
}

fn question(asked: &[Example], labels: &[String], examples: &[Example]) -> MatchPayload {
    MatchPayload {
        model: default_model(),
        texts: asked.iter().map(|example| example.text.clone()).collect(),
        labels: labels.to_vec(),
        examples: examples.to_vec(),
    }
}

fn vectors(texts: impl Iterator<Item = String>) -> Vec<Vec<f64>> {
    let payload = EmbeddingPayload { model: default_model(), texts: texts.collect() };
    let (kind, payload) = (TaskKind::Embedding, payload.encode().into());
    let result = Executor::new().execute(&Work::Run { kind, payload }).unwrap();
    let result = EmbeddingResult::decode(&result).unwrap();
    result.rows().map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Label text twice, examples once, without the one at `without`.
fn point(
    label: usize,
    labels: &[Vec<f64>],
    examples: &[(usize, Vec<f64>)],
    without: usize,
) -> Vec<f64> {
    let mut sum: Vec<f64> = labels[label].iter().map(|x| 2.0 * x).collect();
    for (at, (of, vector)) in examples.iter().enumerate() {
        if *of == label && at != without {
            sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += x);
        }
    }
    let length = dot(&sum, &sum).sqrt();
    sum.iter().map(|x| x / length).collect()
}

#[test]
fn points_temperature_and_threshold_are_those_of_a_plain_implementation() {
    let (labels, pool, asked) = sections();
    let examples: Vec<Example> = pool.iter().step_by(4).cloned().collect();
    let asked = &asked[..20];
    let result = run(&question(asked, &labels, &examples)).unwrap();

    let label_vectors = vectors(labels.iter().cloned());
    let example_vectors: Vec<(usize, Vec<f64>)> = examples
        .iter()
        .map(|example| example.label as usize)
        .zip(vectors(examples.iter().map(|example| example.text.clone())))
        .collect();
    let row = |vector: &[f64], own: Option<(usize, usize)>| -> Vec<f64> {
        let similarity = |label| {
            let without = own.filter(|own| own.0 == label).map_or(usize::MAX, |own| own.1);
            dot(vector, &point(label, &label_vectors, &example_vectors, without))
        };
        (0..labels.len()).map(similarity).collect()
    };
    let texts = vectors(asked.iter().map(|example| example.text.clone()));
    for (ours, text) in result.rows().zip(&texts) {
        for (ours, theirs) in ours.iter().zip(row(text, None)) {
            assert!((f64::from(*ours) - theirs).abs() < 1e-5, "{ours} {theirs}");
        }
    }
    let left_out: Vec<Vec<f64>> = example_vectors
        .iter()
        .enumerate()
        .map(|(at, (label, vector))| row(vector, Some((*label, at))))
        .collect();
    let mut bests: Vec<f64> =
        left_out.iter().map(|row| row.iter().copied().fold(f64::MIN, f64::max)).collect();
    bests.sort_by(f64::total_cmp);
    let threshold = bests[(bests.len() + 1) / 10 - 1];
    assert!((f64::from(result.threshold) - threshold).abs() < 1e-5);
    let brier = |temperature: f64| -> f64 {
        let of = |(row, (label, _)): (&Vec<f64>, &(usize, Vec<f64>))| {
            let raw: Vec<f64> = row.iter().map(|s| (s / temperature).exp()).collect();
            let sum: f64 = raw.iter().sum();
            let off = raw.iter().enumerate();
            off.map(|(at, p)| (p / sum - f64::from(at == *label)).powi(2)).sum::<f64>()
        };
        left_out.iter().zip(&example_vectors).map(of).sum()
    };
    for other in [0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.14, 0.2, 0.3] {
        assert!(brier(f64::from(result.temperature)) <= brier(other) + 1e-6, "{other}");
    }
    let scores = result.scores(result.rows().next().unwrap());
    assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-5);
}

#[test]
fn examples_make_answers_better_and_texts_do_not_depend_on_each_other() {
    let (labels, pool, asked) = sections();
    let asked: Vec<Example> = asked.into_iter().step_by(2).take(200).collect();
    let right = |result: &MatchResult| {
        let hit = |(row, asked): (&[f32], &Example)| {
            result.best(row).is_some_and(|(best, _)| best == asked.label as usize)
        };
        result.rows().zip(&asked).filter(|pair| hit(*pair)).count()
    };
    let alone = run(&question(&asked, &labels, &[])).unwrap();
    let with = run(&question(&asked, &labels, &pool)).unwrap();
    assert_eq!((alone.temperature, alone.threshold), (TEMPERATURE, THRESHOLD));
    let (alone_right, with_right) = (right(&alone), right(&with));
    // Chance is one in 16.
    assert!(alone_right > 100, "{alone_right} of {}", asked.len());
    assert!(with_right > alone_right, "{with_right} after {alone_right}");
    let one = run(&question(&asked[7..8], &labels, &pool)).unwrap();
    assert_eq!(one.similarities, with.rows().nth(7).unwrap());
    assert_eq!((one.temperature, one.threshold), (with.temperature, with.threshold));
}

#[test]
fn few_examples_calibrate_nothing_but_lower_the_threshold() {
    let (labels, pool, asked) = sections();
    let few = &pool[..CALIBRATION_EXAMPLES - 1];
    let result = run(&question(&asked[..1], &labels, few)).unwrap();
    assert_eq!(result.temperature, TEMPERATURE);
    assert!(result.threshold <= THRESHOLD);
    let empty = [Example { label: 0, text: "\u{200b}".into() }];
    let refused = run(&question(&asked[..1], &labels, &empty));
    assert_eq!(refused, Err(TaskError::EmptyText { what: "example", index: 0 }));
}
