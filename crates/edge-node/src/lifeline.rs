//! Ends of a process: signals, and the death of a parent.

use std::{io::Read as _, time::Duration};

use tokio::sync::oneshot;

use crate::platform;

/// How long a clean shutdown may take once the parent is gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells when the parent process is gone, however it went.
///
/// Standard input must be a pipe that the parent holds and never writes to: the system closes it
/// with the parent. On Linux the kernel also sends SIGTERM, which covers a parent that passed the
/// pipe on. A process that has not ended five seconds later is ended.
#[derive(Debug)]
pub struct Lifeline(oneshot::Receiver<()>);

impl Lifeline {
    /// Starts to watch. Call it once, at the start of the process.
    pub fn hold() -> Lifeline {
        let (gone, watch) = oneshot::channel();
        let orphan = !platform::die_with_parent();
        std::thread::Builder::new()
            .name("lifeline".into())
            .spawn(move || {
                if !orphan {
                    wait_for_end();
                }
                // Nobody waiting means that the process ends already.
                let _ = gone.send(());
                std::thread::sleep(PATIENCE);
                std::process::exit(1);
            })
            .expect("invariant: a thread can be started while the process starts");
        Lifeline(watch)
    }

    /// Resolves when the parent is gone.
    pub async fn cut(self) {
        // An error would mean that the thread is gone: the same.
        let _ = self.0.await;
    }
}

fn wait_for_end() {
    let mut buffer = [0; 256];
    let mut input = std::io::stdin().lock();
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Resolves when this process should stop, and says why: a signal, or the parent's end.
pub async fn stop_requested(lifeline: Option<Lifeline>) -> &'static str {
    let orphaned = async {
        match lifeline {
            Some(lifeline) => lifeline.cut().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        signal = platform::stop_signal() => signal.unwrap_or("no signals here"),
        () = orphaned => "the parent process ended",
    }
}
