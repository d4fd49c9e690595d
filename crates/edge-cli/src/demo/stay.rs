//! What comes after the summary: commands to try, and a prompt for questions.

use std::{
    io::{BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    nodes::Family,
    say::Say,
    searches::{COLLECTION, search},
};
use crate::{
    client::Client,
    commands::{Context, shortened},
    interrupt,
};

/// Ends the nodes and removes their folders when somebody presses Ctrl-C or ends this process.
pub(crate) fn end_on_signal(family: &Family, root: &Path, keep: bool) {
    let (family, root): (Family, PathBuf) = (family.clone(), root.to_owned());
    interrupt::call(move || {
        family.kill_all();
        if !keep {
            // Removed as far as it can be.
            let _ = std::fs::remove_dir_all(&root);
        }
    });
}

/// Three commands to try, and how to do the same on two machines.
pub(crate) fn what_next(say: &Say, url: Option<&str>) {
    match url {
        Some(url) => {
            say.line(format!("the nodes stay up; node-1's HTTP interface is {url}"));
            say.line("try in another terminal:");
            say.line(format!(
                "  edge-net --api {url} search 'read a file line by line' -c {COLLECTION}"
            ));
            say.line(format!("  edge-net --api {url} task ls"));
            say.line(format!("  edge-net --api {url} ledger verify"));
            say.line(format!("a tab of a browser on this machine joins the pool at {url}/join"));
        }
        None => {
            say.line("try:");
            say.line("  edge-net start --detach");
            say.line("  edge-net collection import notes ./some/folder");
            say.line("  edge-net search 'a question' -c notes");
        }
    }
    say.line("the same on two real machines:");
    say.line("  on the first:   edge-net start --detach && edge-net identity invite");
    say.line("  on the second:  edge-net start --join TICKET");
}

/// A hit on one line.
pub(crate) fn hit_line(hit: &Value) -> String {
    let payload = &hit["payload"];
    let file = payload["file"].as_str().unwrap_or("?");
    let line = payload["line"].as_u64().map(|line| format!(":{line}")).unwrap_or_default();
    let text = shortened(payload["text"].as_str().unwrap_or_default(), 90);
    format!("{:.3} {file}{line}  {text}", hit["score"].as_f64().unwrap_or(f64::NAN))
}

/// Answers questions on a terminal; elsewhere waits until it is ended.
pub(crate) fn answer_questions(context: &Context, client: &Client) {
    if !std::io::stdin().is_terminal() || context.output.json {
        context.output.remark("Ctrl-C ends the nodes and removes their folders");
        loop {
            std::thread::park();
        }
    }
    eprintln!("ask something (an empty line or Ctrl-D ends the nodes):");
    for question in std::io::stdin().lock().lines() {
        let Ok(question) = question else { break };
        if question.trim().is_empty() {
            break;
        }
        match search(client, &question, 5) {
            Ok(answer) => {
                for hit in answer["hits"].as_array().map_or(&[][..], Vec::as_slice) {
                    context.output.line(hit_line(hit));
                }
            }
            Err(failure) => eprintln!("{failure}"),
        }
        eprint!("> ");
        // A prompt that is not shown is no reason to fail.
        let _ = std::io::stderr().flush();
    }
}
