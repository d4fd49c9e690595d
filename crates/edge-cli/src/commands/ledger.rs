//! `ledger`: balance, history, verify, checkpoint, proof, parameter, handover; payments stand beside.

use edge_base::PiIdentity;
use serde_json::{Value, json};

use super::{Context, list, node_name, payment, short, task::one_beginning_with, text};
use crate::{
    args::Ledger,
    client::Client,
    failure::{Exit, Failure, Outcome},
    output::Output,
};

pub(super) fn run(context: &Context, command: Ledger) -> Outcome {
    let client = context.client()?;
    match command {
        Ledger::Balance { account } => {
            let query = query_of(&client, account.as_deref(), "?")?;
            let answer = client.get(&format!("/api/v1/ledger/balance{query}"))?;
            context.show(&answer, show_balance);
        }
        Ledger::History { account, limit } => {
            let query = query_of(&client, account.as_deref(), "&")?;
            let answer = client.get(&format!("/api/v1/ledger/history?limit={limit}{query}"))?;
            context.show(&answer, |output, answer| {
                let rows: Vec<Vec<String>> = list(answer, "blocks")
                    .iter()
                    .map(|block| {
                        vec![
                            text(block, "seq"),
                            text(block, "kind"),
                            short(&text(block, "hash")),
                            text(block, "balance_after"),
                            text(block, "text"),
                        ]
                    })
                    .collect();
                if rows.is_empty() {
                    output.line("no blocks yet");
                } else {
                    output.table(&["SEQ", "KIND", "HASH", "BALANCE", "WHAT"], &rows);
                }
            });
        }
        Ledger::Verify => {
            let answer = client.get("/api/v1/ledger/verify")?;
            context.show(&answer, |output, answer| {
                let conserved = answer["conserved"] == true;
                output.line(if conserved {
                    output.green("the ledger adds up")
                } else {
                    output.red("the ledger does not add up")
                });
                if !output.quiet {
                    let since = match answer["since_epoch"].as_u64() {
                        Some(epoch) => format!("since the checkpoint of epoch {epoch}"),
                        None => "since the pool began".to_owned(),
                    };
                    output.line(format!(
                        "  {} certificates {since}, {} signatures verified again; {} accounts",
                        text(answer, "certificates"),
                        text(answer, "signatures_verified"),
                        text(answer, "accounts"),
                    ));
                    if answer["since_epoch"].is_u64() {
                        output.line(format!(
                            "  on top of the checkpoint of epoch {}; {} certificates are kept, {} blocks \
                             before it are known by what they came to",
                            text(answer, "since_epoch"),
                            text(answer, "kept"),
                            text(answer, "dropped"),
                        ));
                    }
                    let witnesses: Vec<String> =
                        list(answer, "witnesses").iter().map(node_name).collect();
                    let version = text(answer, "set_version");
                    output.line(format!("  witness set {version}: {}", witnesses.join(", ")));
                }
            });
            if answer["conserved"] != true {
                let next = "keep the data folder and report it: this must never happen";
                return Err(Failure::failed("credits are not conserved", "", next));
            }
        }
        Ledger::Checkpoint => {
            let answer = client.get("/api/v1/ledger/checkpoint")?;
            context.show(&answer, show_checkpoint);
        }
        Ledger::Economy => {
            let answer = client.get("/api/v1/ledger/economy")?;
            context.show(&answer, show_economy);
        }
        Ledger::Proof { account } => {
            let query = query_of(&client, account.as_deref(), "?")?;
            let answer = client.get(&format!("/api/v1/ledger/proof{query}"))?;
            context.show(&answer, show_proof);
        }
        Ledger::Parameter { name, value } => {
            let answer = match (name, value) {
                (Some(name), Some(value)) => {
                    let body = json!({ "name": name, "value": value });
                    client.post("/api/v1/ledger/parameters", &body)?
                }
                (Some(name), None) => {
                    one_parameter(client.get("/api/v1/ledger/parameters")?, &name)?
                }
                (None, _) => client.get("/api/v1/ledger/parameters")?,
            };
            context.show(&answer, show_parameters);
        }
        Ledger::Handover { witnesses, yes } => {
            let witnesses = witnesses
                .iter()
                .map(|witness| payment::certain_node(&client, witness, yes))
                .collect::<Outcome<Vec<String>>>()?;
            if !yes {
                return Err(not_handed_over(&client, &witnesses)?);
            }
            let body = json!({ "witnesses": witnesses });
            let answer = client.post("/api/v1/ledger/handover", &body)?;
            context.show(&answer, |output, answer| {
                let members: Vec<String> =
                    list(answer, "witnesses").iter().map(node_name).collect();
                output.line(format!("handed over to {}", members.join(", ")));
            });
        }
        Ledger::Send { to, amount, yes, after_pending } => {
            payment::send(context, &client, &to, &amount, yes, after_pending)?;
        }
        Ledger::Block { hash } => payment::block(context, &client, &hash)?,
        Ledger::Stake { amount, after_pending } => {
            payment::move_stake(context, &client, "stake", &amount, after_pending)?;
        }
        Ledger::Unstake { amount, after_pending } => {
            payment::move_stake(context, &client, "unstake", &amount, after_pending)?;
        }
    }
    Ok(())
}

/// The answer about parameters with this one alone.
fn one_parameter(mut answer: Value, name: &str) -> Outcome<Value> {
    let all = list(&answer, "parameters");
    let found: Vec<Value> = all.iter().filter(|p| p["name"] == name).cloned().collect();
    if found.is_empty() {
        let names: Vec<String> = all.iter().map(|parameter| text(parameter, "name")).collect();
        let what = format!("there is no parameter {name:?}");
        let why = format!("there are: {}", names.join(", "));
        return Err(Failure::new(Exit::NotFound, what, why, "`edge-net ledger parameter`"));
    }
    answer["parameters"] = Value::Array(found);
    Ok(answer)
}

/// What a handover would come to, for whoever has not said that it is meant.
fn not_handed_over(client: &Client, others: &[String]) -> Outcome<Failure> {
    let (own, ledger) = (client.get("/api/v1/status")?, client.get("/api/v1/ledger/verify")?);
    let own = text(&own, "node");
    let mut next: Vec<&str> = others.iter().map(String::as_str).chain([own.as_str()]).collect();
    next.sort_unstable();
    next.dedup();
    let present: Vec<&str> =
        list(&ledger, "witnesses").iter().filter_map(|witness| witness.as_str()).collect();
    let quorum = next.len().saturating_sub(1) / 3 * 2 + 1;
    let leave = present.iter().copied().filter(|witness| !next.contains(witness));
    let leave = match payment::shorts(leave) {
        nobody if nobody.is_empty() => "nobody leaves".to_owned(),
        leave => format!("{leave} would leave"),
    };
    let why = format!(
        "the witnesses would be these {}, of which {quorum} have to vote for every payment from then on \
         ({leave}):\n        {}",
        next.len(),
        next.join("\n        ")
    );
    Ok(Failure::new(Exit::Usage, "nothing was handed over", why, "if these are meant, add --yes"))
}

fn show_economy(output: &Output, answer: &Value) {
    let figure = |name: &str| answer[name].as_f64();
    let percent = |name: &str| match figure(name) {
        Some(share) if share != 0.0 && share.abs() < 1e-4 => format!("{:.2e}", share),
        Some(share) => format!("{:.3} %", share * 100.0),
        None => "too little was seen".to_owned(),
    };
    output.line(format!("utilization  {}", percent("utilization")));
    if output.quiet {
        return;
    }
    let each = if figure("velocity").is_some() { " an epoch" } else { "" };
    output.line(format!("velocity     {}{each}", percent("velocity")));
    output.line(format!("growth       {}", percent("growth")));
    output.line(format!("stability    {}", percent("stability")));
    output.line(format!("fitness      {} of this node", percent("fitness")));
    let minutes = figure("observed_seconds").unwrap_or(0.0) / 60.0;
    output.line(format!("seen in {minutes:.1} min of the last 24 hours:"));
    output.line(format!(
        "  {:.1} CPU-seconds offered, {:.3} certified; {} cores of {} members now",
        figure("offered_cpu_seconds").unwrap_or(0.0),
        figure("certified_cpu_seconds").unwrap_or(0.0),
        text(answer, "offered_cores"),
        text(answer, "active"),
    ));
    output.line(format!(
        "  {} rUv paid for {} tasks, {} rUv burned as fees, {} rUv minted; there are {} rUv",
        text(answer, "settled"),
        text(answer, "settled_tasks"),
        text(answer, "fees"),
        text(answer, "minted"),
        text(answer, "supply"),
    ));
    let results = match figure("reputation") {
        Some(share) => {
            format!("more than {:.1} % of its results are accepted (95 %)", share * 100.0)
        }
        None => "nobody has judged a result of it yet".to_owned(),
    };
    output.line(format!(
        "this node earned {} rUv and spent {} rUv; {results}",
        text(answer, "earned"),
        text(answer, "spent"),
    ));
}

fn show_checkpoint(output: &Output, answer: &Value) {
    let digest = short(&text(answer, "digest"));
    output.line(format!("epoch {}  {}", output.bold(&text(answer, "epoch")), digest));
    if output.quiet {
        return;
    }
    let precommits = list(answer, "precommits").len();
    output.line(format!(
        "  root of {} accounts: {}",
        text(answer, "count"),
        text(answer, "accounts")
    ));
    output.line(format!(
        "  supply {} rUv, burned {} rUv",
        text(answer, "supply"),
        text(answer, "burned")
    ));
    let hours = answer["cpu_hours_micro"].as_f64().unwrap_or(0.0) / 1e6;
    output.line(format!(
        "  {hours:.6} CPU-hours of assigned work certified, at most {} rUv minted for them",
        text(answer, "cap")
    ));
    if let [named, committed, certified] = list(answer, "audits") {
        output.line(format!(
            "  audits: {named} tasks named, {committed} committed to, {certified} certified"
        ));
    }
    output.line(format!(
        "  being there: {} accounts paid, {} rUv set aside",
        text(answer, "present"),
        text(answer, "fund"),
    ));
    output.line(format!(
        "  decided by witness set {} in round {}, {precommits} precommits",
        text(answer, "decided_by_version"),
        text(answer, "round"),
    ));
    let witnesses: Vec<String> = list(answer, "witnesses").iter().map(node_name).collect();
    output.line(format!("  witness set {}: {}", text(answer, "set_version"), witnesses.join(", ")));
    output.line(format!("  {} blocks certified since", text(answer, "blocks_since")));
    if answer["change_under_way"] == true {
        output.line("  the witness set is about to change: nothing is certified until it has");
    }
}

fn show_parameters(output: &Output, answer: &Value) {
    let row = |parameter: &Value| {
        let wanted: Vec<String> = list(parameter, "wanted")
            .iter()
            .map(|wanted| {
                let voters = wanted[1].as_array().map_or(0, Vec::len);
                format!("{} ({voters})", wanted[0])
            })
            .collect();
        let range = format!("{}..{}", text(parameter, "min"), text(parameter, "max"));
        vec![
            text(parameter, "name"),
            text(parameter, "value"),
            text(parameter, "unit"),
            range,
            text(parameter, "step"),
            text(parameter, "since"),
            wanted.join(", "),
        ]
    };
    let rows: Vec<Vec<String>> = list(answer, "parameters").iter().map(row).collect();
    output.table(&["NAME", "VALUE", "UNIT", "RANGE", "STEP", "SINCE", "WANTED (WITNESSES)"], &rows);
}

fn show_proof(output: &Output, answer: &Value) {
    let epoch = text(answer, "epoch");
    if answer["present"] != true {
        output.line(format!("no such account at the checkpoint of epoch {epoch}"));
    } else {
        let balance = output.bold(&text(answer, "balance"));
        output.line(format!("{balance} rUv at the checkpoint of epoch {epoch}"));
    }
    if output.quiet {
        return;
    }
    output.line(format!(
        "  proven in {} bytes, {} steps, against the root {}",
        text(answer, "proof_bytes"),
        text(answer, "steps"),
        text(answer, "root"),
    ));
}

pub(super) fn show_balance(output: &Output, answer: &Value) {
    output.line(format!("{} rUv", output.bold(&text(answer, "balance"))));
    if output.quiet {
        return;
    }
    if answer["pending"].is_object() {
        payment::show_pending(output, &answer["pending"]);
    }
    for (field, what) in [
        ("incoming", "certified, not yet credited"),
        ("escrowed", "held by open escrows"),
        ("vouchers", "promised by requesters, not yet settled"),
        ("staked", "at stake"),
        ("leaving", "stake on its way back"),
        ("vesting", "rewards for assigned work and for being there that have not vested"),
    ] {
        output.line(format!("  {:>14} rUv  {what}", text(answer, field)));
    }
    for withdrawal in list(answer, "withdrawals") {
        let when = match withdrawal["release_in"].as_u64() {
            Some(us) if us > 7_200_000_000 => {
                format!("released in {} h", us.div_ceil(3_600_000_000))
            }
            Some(us) => format!("released in {} min", us.div_ceil(60_000_000)),
            None => "its witnesses were not heard yet".into(),
        };
        let (id, credits) = (short(&text(withdrawal, "unstake")), text(withdrawal, "amount"));
        output.line(format!("  {credits:>14} rUv  of {id}: {when}"));
    }
    if answer["frozen"] == true {
        output.line(output.red("  frozen: two blocks at one number were seen"));
    }
    if answer["slashed"] == true {
        output.line(
            output.red("  caught: nothing of the stake comes back until a checkpoint burns a part"),
        );
    }
    if answer["penalty"].as_f64().unwrap_or(0.0) > 0.0 {
        let penalty = text(answer, "penalty");
        output.line(output.red(&format!("  {penalty} rUv of its stake were burned for offences")));
    }
}

fn query_of(client: &Client, account: Option<&str>, separator: &str) -> Outcome<String> {
    match account {
        None => Ok(String::new()),
        Some(account) => Ok(format!("{separator}account={}", node_id(client, account)?)),
    }
}

/// The hexadecimal id of a node, from a written identity, an id or the beginning of one.
pub(super) fn node_id(client: &Client, name: &str) -> Outcome<String> {
    if name.starts_with("pi") {
        return match name.parse::<PiIdentity>() {
            Ok(identity) => Ok(identity.node_id().to_hex()),
            Err(error) => Err(Failure::new(
                Exit::Usage,
                format!("{name:?} is no identity"),
                error,
                "copy it from `edge-net identity show`",
            )),
        };
    }
    let beginning = name.trim_start_matches("π:").to_ascii_lowercase();
    if beginning.len() == 64 {
        return Ok(beginning);
    }
    let (peers, own) = (client.get("/api/v1/peers")?, client.get("/api/v1/status")?);
    let mut ids: Vec<&str> =
        list(&peers, "peers").iter().filter_map(|peer: &Value| peer["node"].as_str()).collect();
    ids.extend(own["node"].as_str());
    one_beginning_with(&ids, &beginning, "member", "edge-net peer ls")
}
