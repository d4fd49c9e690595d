//! Ctrl-C and requests to end: say what becomes of the work, then end with the agreed code.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{
    failure::{Exit, Failure},
    output::Output,
};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether the process is about to end because somebody interrupted it. What fails from now on
/// fails because of that.
pub(crate) fn under_way() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Says this and ends the process when somebody interrupts it.
pub(crate) fn on_signal(output: Output, next: &'static str) {
    call(move || {
        output.failure(&Failure::new(
            Exit::Interrupted,
            "interrupted",
            "Ctrl-C was pressed, or the process was asked to end",
            next,
        ));
    });
}

/// Calls this, then ends the process, when somebody interrupts it.
pub(crate) fn call(last: impl FnOnce() + Send + 'static) {
    // Without a runtime for signals the system ends the process by itself.
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    std::thread::spawn(move || {
        runtime.block_on(edge_node::lifeline::stop_requested(None));
        INTERRUPTED.store(true, Ordering::Relaxed);
        last();
        std::process::exit(Exit::Interrupted as i32);
    });
}
