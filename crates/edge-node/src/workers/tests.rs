use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use edge_base::{Digest, ShardId};

use super::{queue::Queue, *};
use crate::config::Percent;

fn percent(n: u16) -> Percent {
    Percent::from_per_mille(n * 10).unwrap()
}

fn work(bytes: usize) -> Work {
    Work::Append { payload: vec![0; bytes].into() }
}

fn no_limit() -> Arc<CpuShare> {
    Arc::new(CpuShare::new(Percent::ALL, 1, Instant::now()))
}

const ROOMY: Bounds = Bounds { threads: 2, pieces: 10_000, bytes: 1 << 30 };

#[test]
fn the_urgent_go_first_and_nobody_starves() {
    let mut queue = Queue::new(10_000, 1 << 30);
    for id in 0..900 {
        let urgency = [Urgency::High, Urgency::Normal, Urgency::Background][id as usize % 3];
        assert!(queue.push(id, work(0), urgency));
    }
    let picked: Vec<_> = (0..160).map(|_| queue.pop().unwrap()).collect();
    let count = |urgency| picked.iter().filter(|(.., u)| *u == urgency).count();
    assert_eq!(count(Urgency::High), 120);
    assert_eq!((count(Urgency::Normal), count(Urgency::Background)), (20, 20));
    for urgency in [Urgency::High, Urgency::Normal, Urgency::Background] {
        let ids: Vec<_> = picked.iter().filter(|(.., u)| *u == urgency).map(|p| p.0).collect();
        assert!(ids.is_sorted(), "first come, first served within {urgency:?}");
    }
}

#[test]
fn an_empty_line_gives_its_turn_away() {
    let mut queue = Queue::new(100, 100);
    for id in 0..20 {
        queue.push(id, work(0), Urgency::Background);
    }
    let ids: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|picked| picked.0).collect();
    assert_eq!(ids, (0..20).collect::<Vec<_>>());
}

#[test]
fn the_queue_is_bounded_in_pieces_and_bytes() {
    let mut queue = Queue::new(3, 100);
    assert!(queue.push(1, work(500), Urgency::Normal), "one piece always fits");
    assert!(!queue.push(2, work(1), Urgency::Normal));
    assert!(queue.remove(1) && !queue.remove(1));
    assert!(queue.push(3, work(60), Urgency::Normal));
    assert!(!queue.push(4, work(60), Urgency::Normal));
    assert!(queue.push(5, work(40), Urgency::High));
    assert!(queue.push(6, work(0), Urgency::Background));
    assert!(!queue.push(7, work(0), Urgency::High), "three pieces");
    assert_eq!(queue.pop().map(|picked| picked.0), Some(5));
    assert!(queue.push(8, work(40), Urgency::High));
}

/// Executes by the payload's length: 1 panics, 2 fails, 3 waits for the gate, else echoes.
struct Scripted {
    gate: Mutex<mpsc::Receiver<()>>,
}

impl Execute for Scripted {
    fn execute(&self, work: &Work, _urgency: Urgency) -> Result<Vec<u8>, String> {
        let Work::Append { payload } = work else { return Err("not scripted".into()) };
        match payload.len() {
            1 => panic!("on purpose"),
            2 => Err("no".into()),
            3 => {
                self.gate.lock().unwrap().recv().unwrap();
                Ok(vec![3])
            }
            n => Ok(vec![n as u8]),
        }
    }
}

type Results = mpsc::Receiver<(WorkId, Result<Vec<u8>, String>)>;

fn scripted(bounds: Bounds) -> (Workers, Results, mpsc::Sender<()>) {
    let (results, receiver) = mpsc::channel();
    let (open, gate) = mpsc::channel();
    let results = Mutex::new(results);
    let execute = Arc::new(Scripted { gate: Mutex::new(gate) });
    let workers = Workers::start(bounds, no_limit(), execute, move |id, outcome| {
        results.lock().unwrap().send((id, outcome)).unwrap();
    });
    (workers, receiver, open)
}

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_panicking_task_is_an_error_and_the_worker_lives() {
    let (workers, results, _gate) = scripted(Bounds { threads: 1, ..ROOMY });
    for (id, bytes) in [(1, 1), (2, 2), (3, 9)] {
        workers.submit(id, work(bytes), Urgency::Normal).unwrap();
    }
    let mut got: Vec<_> = (0..3).map(|_| results.recv_timeout(PATIENCE).unwrap()).collect();
    got.sort_by_key(|(id, _)| *id);
    assert_eq!(got[0].1, Err("the task panicked: on purpose".to_owned()));
    assert_eq!(got[1].1, Err("no".to_owned()));
    assert_eq!(got[2].1, Ok(vec![9]));
    let stats = Arc::clone(workers.stats());
    workers.stop();
    assert_eq!(stats.executed.load(Ordering::Relaxed), 3);
    assert_eq!(stats.failed.load(Ordering::Relaxed), 2);
}

#[test]
fn cancelled_work_gives_no_result_waiting_or_running() {
    let (workers, results, gate) = scripted(Bounds { threads: 1, ..ROOMY });
    workers.submit(1, work(3), Urgency::Normal).unwrap();
    while workers.load() != (0, 1) {
        std::thread::yield_now();
    }
    workers.submit(2, work(9), Urgency::Normal).unwrap();
    workers.submit(3, work(9), Urgency::Normal).unwrap();
    workers.cancel(1);
    workers.cancel(2);
    gate.send(()).unwrap();
    assert_eq!(results.recv_timeout(PATIENCE), Ok((3, Ok(vec![9]))));
    assert_eq!(workers.stats().cancelled.load(Ordering::Relaxed), 2);
    workers.stop();
    assert!(results.recv().is_err(), "nothing else came");
}

#[test]
fn a_full_queue_refuses_and_a_stopped_pool_too() {
    let (workers, _results, gate) = scripted(Bounds { threads: 1, pieces: 1, bytes: 1 << 20 });
    workers.submit(1, work(3), Urgency::Normal).unwrap();
    while workers.load() != (0, 1) {
        std::thread::yield_now();
    }
    workers.submit(2, work(9), Urgency::Normal).unwrap();
    assert!(workers.submit(3, work(9), Urgency::High).is_err());
    workers.begin_stop();
    gate.send(()).unwrap();
    assert!(workers.submit(4, work(9), Urgency::High).is_err());
    assert_eq!(workers.stats().refused.load(Ordering::Relaxed), 2);
    workers.stop();
}

#[test]
fn the_bucket_grants_its_rate_and_saves_up_no_more_than_a_burst() {
    let start = Instant::now();
    let share = CpuShare::new(percent(25), 4, start);
    // 25 % of four cores: one CPU-second a second.
    let mut now = start;
    let mut used = Duration::ZERO;
    for _ in 0..2_000 {
        loop {
            let wait = share.wait(now);
            if wait.is_zero() {
                break;
            }
            now += wait;
        }
        let piece = Duration::from_millis(7);
        share.charge(piece, now);
        used += piece;
    }
    let rate = (used - BURST).as_secs_f64() / (now - start).as_secs_f64();
    assert!((0.98..1.02).contains(&rate), "{rate} CPU-seconds a second");
    let later = now + Duration::from_secs(3_600);
    share.charge(BURST, later);
    assert!(share.wait(later).is_zero());
    share.charge(Duration::from_millis(10), later);
    assert!(!share.wait(later).is_zero(), "an hour of rest saves a burst, not an hour");
}

#[test]
fn everything_is_no_limit_and_nothing_is_none() {
    let now = Instant::now();
    let share = CpuShare::new(Percent::ALL, 1, now);
    share.charge(Duration::from_secs(1_000), now);
    assert!(share.wait(now).is_zero());
    share.set(percent(0), now);
    assert!(!share.wait(now + Duration::from_secs(9)).is_zero());
    share.set(percent(50), now + Duration::from_secs(9));
    assert!(share.wait(now + Duration::from_secs(12)).is_zero(), "debt does not outlive a change");
}

/// Burns CPU time of its thread.
struct Burner;

impl Execute for Burner {
    fn execute(&self, _work: &Work, _urgency: Urgency) -> Result<Vec<u8>, String> {
        let start = platform::thread_cpu();
        let mut digest = Digest::of(b"burn");
        while platform::thread_cpu().saturating_sub(start) < Duration::from_millis(5) {
            digest = Digest::of(&digest.0);
        }
        Ok(digest.0.to_vec())
    }
}

/// The law: over a stretch of time, the threads together use no more CPU time than the share of
/// the cores, as the threads' own CPU clocks count it.
#[test]
fn workers_keep_to_their_share_of_cpu_time() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let start = Instant::now();
    let share = Arc::new(CpuShare::new(percent(20), cores, start));
    let workers =
        Workers::start(Bounds { threads: cores + 1, ..ROOMY }, share, Arc::new(Burner), |_, _| {});
    for id in 0..5_000 {
        let urgency = Urgency::Normal;
        workers.submit(id, Work::Drop { shard: ShardId::default() }, urgency).unwrap();
    }
    std::thread::sleep(Duration::from_millis(2_500));
    let stats = Arc::clone(workers.stats());
    workers.stop();
    let used = stats.cpu_us.load(Ordering::Relaxed) as f64 / 1e6;
    let passed = start.elapsed().as_secs_f64();
    let allowed = 0.2 * cores as f64 * (passed + BURST.as_secs_f64());
    // Each thread may end one piece over the debt.
    let slack = 0.01 * (cores + 1) as f64;
    assert!(used <= allowed + slack, "{used:.3} s of {allowed:.3} s allowed in {passed:.3} s");
    assert!(used >= 0.3 * allowed, "{used:.3} s of {allowed:.3} s allowed: the limit is too hard");
}
