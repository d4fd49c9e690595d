//! `cargo xtask netns`: two nodes in two network namespaces, with delay and loss between them.
//!
//! The command starts itself again inside fresh network and mount namespaces (and, for anybody
//! but root, a user namespace), so that nothing it makes outlives it. In there stand two hosts
//! joined by [`switch`], a userspace Ethernet switch that delays and drops frames: netem, the
//! usual means, is absent from some kernels.

#[cfg(target_os = "linux")]
mod drive;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod switch;
#[cfg(target_os = "linux")]
mod world;

use anyhow::Result;

use crate::ci;
use crate::options::Options;
use crate::stages::Outcome;

const HELP: &str = "\
Two nodes in two network namespaces, with delay and loss between them

Usage: cargo xtask netns [--self-test] [--delay-ms MS] [--loss SHARE]

Builds the workspace, measures the link, then imports, searches and matches with the
command line over it and lets the nodes find each other by mDNS. Where namespaces are
not allowed it prints `netns: not run: REASON` and ends with success.

Options:
  --self-test      measure the link only; builds nothing
  --delay-ms MS    one-way delay; default 50
  --loss SHARE     share of frames lost in each direction; default 0.01
";

/// The link between the two hosts.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
struct Link {
    delay_ms: u64,
    loss: f64,
}

/// Builds, runs and prints what came of it.
pub(crate) fn main(arguments: &[String]) -> Result<()> {
    let switches = ["--self-test", "--inside"];
    let valued = ["--delay-ms", "--loss"];
    let Some(options) = Options::parse(arguments, HELP, &switches, &valued)? else {
        return Ok(());
    };
    options.no_positional()?;
    let link =
        Link { delay_ms: options.value("--delay-ms", 50)?, loss: options.value("--loss", 0.01)? };
    let self_test = options.has("--self-test");
    if options.has("--inside") {
        return inside(link, self_test);
    }
    if !self_test {
        ci::build()?;
    }
    report(outside(link, self_test)?);
    Ok(())
}

/// The check as a stage; what it runs was built before.
pub(crate) fn stage() -> Result<Outcome> {
    let outcome = outside(Link { delay_ms: 50, loss: 0.01 }, false)?;
    report(outcome.clone());
    Ok(outcome)
}

fn report(outcome: Outcome) {
    match outcome {
        Outcome::Passed(note) => println!("netns: {note}"),
        Outcome::NotRun(reason) => println!("netns: not run: {reason}"),
    }
}

#[cfg(not(target_os = "linux"))]
fn outside(_: Link, _: bool) -> Result<Outcome> {
    Ok(Outcome::NotRun("network namespaces are a Linux feature".to_owned()))
}

#[cfg(not(target_os = "linux"))]
fn inside(_: Link, _: bool) -> Result<()> {
    anyhow::bail!("network namespaces are a Linux feature")
}

#[cfg(target_os = "linux")]
use linux::{inside, outside};

#[cfg(target_os = "linux")]
mod linux {
    use std::process::{Command, Stdio};

    use anyhow::{Context, Result, bail};

    use super::{Link, drive, measure, world};
    use crate::process;
    use crate::stages::Outcome;

    /// The inner process ends with this status after it printed why it could not run (the
    /// number that automake and others take for a skipped test).
    const NOT_RUN: i32 = 77;

    /// Everything the inner process will need, tried once.
    const PROBE: &str = "mount -t tmpfs tmpfs /run && ip netns add probe \
                         && ip link add probe0 type veth peer name probe1 \
                         && ip link set probe1 netns probe";

    fn unshared() -> Command {
        let mut unshare = process::command("unshare");
        // SAFETY: geteuid has no precondition and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            unshare.args(["--user", "--map-root-user"]);
        }
        unshare.args(["--net", "--mount", "--"]);
        unshare
    }

    /// Why namespaces cannot be made here, if they cannot.
    fn obstacle() -> Option<String> {
        for (program, argument) in [("unshare", "--version"), ("ip", "-Version")] {
            if !process::available(program, &[argument]) {
                return Some(format!("the program `{program}` is missing"));
            }
        }
        let probe = unshared()
            .args(["sh", "-c", PROBE])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string());
        match probe {
            Ok(output) if output.status.success() => None,
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr);
                let line = text.lines().find(|line| !line.trim().is_empty());
                Some(line.unwrap_or("namespaces are not allowed").to_owned())
            }
            Err(error) => Some(error),
        }
    }

    pub(super) fn outside(link: Link, self_test: bool) -> Result<Outcome> {
        if let Some(reason) = obstacle() {
            return Ok(Outcome::NotRun(reason));
        }
        let mut command = unshared();
        command.arg(std::env::current_exe()?).args(["netns", "--inside"]);
        command.args(["--delay-ms", &link.delay_ms.to_string(), "--loss", &link.loss.to_string()]);
        command.args(self_test.then_some("--self-test"));
        command.env("CARGO_MANIFEST_DIR", crate::workspace::root().join("xtask"));
        command.env("CARGO_TARGET_DIR", crate::environment::target_folder());
        let output = command.stderr(Stdio::inherit()).output().context("cannot start unshare")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = text.lines().collect();
        let (last, before) = lines.split_last().map_or(("", &[][..]), |(last, rest)| (*last, rest));
        for line in before {
            println!("{line}");
        }
        match output.status.code() {
            Some(0) => Ok(Outcome::Passed(last.to_owned())),
            Some(NOT_RUN) => Ok(Outcome::NotRun(last.to_owned())),
            _ => bail!("{last}: {}", output.status),
        }
    }

    pub(super) fn inside(link: Link, self_test: bool) -> Result<()> {
        process::capture(process::command("mount").args(["-t", "tmpfs", "tmpfs", "/run"]))?;
        let mut world = world::World::new(link)?;
        println!("link: {}", measure::measure(&world, link)?);
        if self_test {
            let cut = measure::cut(&mut world)?;
            println!("self-test: {cut}");
            return Ok(());
        }
        match drive::drive(&mut world)? {
            Outcome::Passed(note) => {
                println!("{note}; switch: {}", world.stop_switch()?);
                Ok(())
            }
            Outcome::NotRun(reason) => {
                println!("{reason}");
                std::process::exit(NOT_RUN);
            }
        }
    }
}
