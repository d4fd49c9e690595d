//! `ledger send`, `stake`, `unstake` and `block`: payments of this node, and what became of them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Context, amount, ledger, list, node_name, short, task::one_beginning_with, text};
use crate::{
    client::{Client, escaped},
    failure::{Exit, Failure, Outcome},
    output::Output,
};

/// What the node's and the caller's clocks may differ by in saying how long a payment has waited.
const CLOCKS: Duration = Duration::from_millis(250);
/// Digits of an id that name a member where nothing asks back.
const DIGITS_SURE: usize = 8;
/// Digits of an id that name a member where all of its id is shown before anything happens.
const DIGITS_SHOWN: usize = 4;

pub(super) fn send(
    context: &Context,
    client: &Client,
    to: &str,
    credits: &str,
    yes: bool,
    after_pending: bool,
) -> Outcome {
    let credits = amount(credits, "for example edge-net ledger send 3f9a01c2 12.5 --yes")?;
    let to = certain_node(client, to, yes)?;
    if !yes {
        let why = format!("{credits} rUv would go to {to}, and nothing takes that back");
        return Err(Failure::new(Exit::Usage, "nothing was sent", why, "add --yes"));
    }
    let body = json!({ "to": to, "credits": credits.as_ruv(), "after_pending": after_pending });
    let answer = pay(client, "/api/v1/ledger/send", &body)?;
    context.show(&answer, |output, answer| {
        output.line(format!(
            "sent {} rUv to {}; {} rUv are left",
            output.bold(&text(answer, "amount")),
            node_name(&answer["to"]),
            text(answer, "balance_after"),
        ));
        output.remark(format!("  block {}", text(answer, "hash")));
    });
    Ok(())
}

pub(super) fn move_stake(
    context: &Context,
    client: &Client,
    step: &str,
    credits: &str,
    after_pending: bool,
) -> Outcome {
    let credits = amount(credits, &format!("for example edge-net ledger {step} 12.5"))?;
    let body = json!({ "credits": credits.as_ruv(), "after_pending": after_pending });
    let answer = pay(client, &format!("/api/v1/ledger/{step}"), &body)?;
    context.show(&answer, ledger::show_balance);
    Ok(())
}

/// Asks for a payment. When no answer comes in time, what is known of it stands in its place.
fn pay(client: &Client, path: &str, body: &Value) -> Outcome<Value> {
    let asked = Instant::now();
    client.post(path, body).map_err(|failure| match failure.exit {
        Exit::TimedOut => unknown_fate(client, asked.elapsed(), failure),
        _ => failure,
    })
}

/// What can be said of a payment that was asked for so long ago and whose answer did not come in time.
fn unknown_fate(client: &Client, asked: Duration, failure: Failure) -> Failure {
    let Ok(balance) = client.get("/api/v1/ledger/balance") else { return failure };
    let pending = &balance["pending"];
    let payment = matches!(pending["kind"].as_str(), Some("send" | "stake" | "unstake"));
    let waits = Duration::from_micros(pending["waits"].as_u64().unwrap_or(0));
    let (why, next) = if pending.is_object() && waits > asked + CLOCKS {
        // It stood before this one, which is taken back with the call.
        (
            format!(
                "it was not signed and does not happen: another one waits for votes before it ({}, {} of {} are in)",
                text(pending, "text"),
                text(pending, "votes"),
                text(pending, "quorum")
            ),
            format!(
                "ask again once `edge-net ledger block {}` says that the other is certified",
                text(pending, "block")
            ),
        )
    } else if payment && pending["doomed"] == true {
        (
            format!(
                "it is signed, and nobody votes for it, because this account is frozen: {}",
                text(pending, "text")
            ),
            "nothing of this account can be paid any more: `edge-net ledger balance`".to_owned(),
        )
    } else if payment {
        (
            format!(
                "it is signed and goes on by itself: {}, {} of {} votes are in",
                text(pending, "text"),
                text(pending, "votes"),
                text(pending, "quorum")
            ),
            format!(
                "do not ask for it again: `edge-net ledger block {}` says what became of it",
                text(pending, "block")
            ),
        )
    } else {
        (
            "nothing of it waits for votes: either it was certified in this moment, or it was never \
             signed and does not happen"
                .to_owned(),
            "`edge-net ledger history -n 5` shows it if it was; if not, ask again".to_owned(),
        )
    };
    Failure::new(Exit::TimedOut, "the payment is not certified yet", why, next)
}

pub(super) fn block(context: &Context, client: &Client, hash: &str) -> Outcome {
    let hash = full_hash(client, hash)?;
    let answer = client.get(&format!("/api/v1/ledger/blocks/{}", escaped(&hash)))?;
    context.show(&answer, |output, answer| {
        let certified = &answer["certified"];
        if certified.is_object() {
            output.line(format!("{}: {}", output.green("certified"), text(certified, "text")));
            if !output.quiet {
                let (account, seq) = (node_name(&certified["account"]), text(certified, "seq"));
                output.line(format!("  block {seq} of {account}"));
            }
        } else {
            show_pending(output, &answer["pending"]);
        }
    });
    Ok(())
}

/// A block that waits for votes.
pub(super) fn show_pending(output: &Output, pending: &Value) {
    let seconds = pending["waits"].as_u64().unwrap_or(0) / 1_000_000;
    let since = match pending["resumed"] == true {
        true => format!("since before this node started, {seconds} s ago"),
        false => format!("for {seconds} s"),
    };
    output.line(format!(
        "  {} {since}: {}; {} of {} votes, of {} witnesses",
        output.bold("not certified"),
        text(pending, "text"),
        text(pending, "votes"),
        text(pending, "quorum"),
        text(pending, "witnesses"),
    ));
    let becomes = match pending["doomed"] == true {
        true => output.red("nobody votes for it: the account is frozen"),
        false => "it goes on by itself".to_owned(),
    };
    output.line(format!("    block {}; {becomes}", text(pending, "block")));
    if let [first, ..] = list(pending, "refusals") {
        output.line(format!(
            "    {} of {} witnesses do not vote for it now; {} says: {}",
            list(pending, "refusals").len(),
            text(pending, "witnesses"),
            node_name(&first["witness"]),
            text(first, "reason"),
        ));
    }
    if pending["behind"].as_u64() > Some(0) {
        output.line(format!("    {} more of this node wait behind it", text(pending, "behind")));
    }
}

/// The hash of the one own block that begins like this.
fn full_hash(client: &Client, beginning: &str) -> Outcome<String> {
    let hex = beginning.len() <= 64 && beginning.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex || beginning.is_empty() {
        let next = "copy it from `edge-net ledger balance` or `edge-net ledger history --json`";
        return Err(Failure::new(Exit::Usage, format!("{beginning:?} is no hash"), "", next));
    }
    let beginning = beginning.to_ascii_lowercase();
    if beginning.len() == 64 {
        return Ok(beginning);
    }
    let (balance, history) =
        (client.get("/api/v1/ledger/balance")?, client.get("/api/v1/ledger/history?limit=10000")?);
    let mut hashes: Vec<&str> =
        list(&history, "blocks").iter().filter_map(|block| block["hash"].as_str()).collect();
    hashes.extend(balance["pending"]["block"].as_str());
    one_beginning_with(&hashes, &beginning, "block of this node", "edge-net ledger history")
}

/// The id of a node for what cannot be undone: a few digits could be another member's the next day, so
/// either there are enough, or all of it is shown first.
pub(super) fn certain_node(client: &Client, name: &str, yes: bool) -> Outcome<String> {
    let digits = name.trim_start_matches("π:");
    let short_by = if yes { DIGITS_SURE } else { DIGITS_SHOWN };
    if !name.starts_with("pi") && digits.len() < short_by {
        let why = match yes {
            true => format!("with --yes it takes {DIGITS_SURE} digits of an id or more"),
            false => format!("it takes {DIGITS_SHOWN} digits of an id or more"),
        };
        let what = format!("{name:?} is too short for what cannot be undone");
        return Err(Failure::new(Exit::Usage, what, why, "copy it from `edge-net peer ls`"));
    }
    ledger::node_id(client, name)
}

/// `3f9a01c2`, for lists.
pub(super) fn shorts<'a>(ids: impl Iterator<Item = &'a str>) -> String {
    ids.map(short).collect::<Vec<_>>().join(", ")
}
