//! rten on one thread over texts sorted by length: `MODEL.onnx IDS BATCH`, where IDS has the token numbers
//! of a text a line. Prints CPU seconds of five rounds over all texts, and the first embedding.

use rten::{ModelOptions, RunOptions, ThreadPool};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;

type Failure = Box<dyn std::error::Error>;

/// CPU seconds of this process.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, ids, batch] = arguments.as_slice() else { return Err("MODEL IDS BATCH".into()) };
    let model = ModelOptions::with_all_ops().load_file(model)?;
    let pool = std::sync::Arc::new(ThreadPool::with_num_threads(1));
    let mut texts: Vec<Vec<i32>> = std::fs::read_to_string(ids)?
        .lines()
        .map(|line| line.split(' ').map(str::parse).collect::<Result<_, _>>())
        .collect::<Result<_, _>>()?;
    let first = texts[0].clone();
    texts.sort_by_key(Vec::len);
    let embed = |texts: &[Vec<i32>]| -> Result<NdTensor<f32, 2>, Failure> {
        let length = texts.iter().map(Vec::len).max().unwrap_or(0);
        let at = |text: usize, token: usize| texts[text].get(token).copied();
        let ids = NdTensor::from_fn([texts.len(), length], |[t, n]| at(t, n).unwrap_or(0));
        let mask = NdTensor::from_fn([texts.len(), length], |[t, n]| i32::from(at(t, n).is_some()));
        let inputs =
            vec![(model.node_id("ids")?, ids.into()), (model.node_id("mask")?, mask.into())];
        let options = RunOptions::default().with_thread_pool(Some(pool.clone()));
        let [out] = model.run_n(inputs, [model.node_id("embedding")?], Some(options))?;
        Ok(out.try_into()?)
    };
    let vector = embed(&[first])?;
    println!("{:?}", vector.iter().take(6).collect::<Vec<_>>());
    let mut rounds = Vec::new();
    for _ in 0..6 {
        let began = cpu();
        for part in texts.chunks(batch.parse()?) {
            embed(part)?;
        }
        rounds.push(cpu() - began);
    }
    // The first one warms up.
    let rounds = &mut rounds[1..];
    rounds.sort_by(f64::total_cmp);
    println!(
        "{} texts in {:.3} s of CPU: {:.0}/s",
        texts.len(),
        rounds[2],
        texts.len() as f64 / rounds[2]
    );
    Ok(())
}
