//! Bans, and the audit: what is exposed, what was attempted, what was done.
//!
//! Each line is a counter of this run or was looked at for the answer. The score is ten times the
//! share of checks that hold among those that apply; each says how to make it hold.

use std::borrow::Cow;

use axum::extract::State;
use edge_base::{Micros, NodeId};
use edge_node::folder::open_to_others;
use edge_swarm::{Answer, Command, RevocationNote, command::SecurityView};
use serde::{Deserialize, Serialize};

use super::{Body, Outcome, done, node_id, tagged, unexpected};
use crate::{error::Failure, server::App};

/// How long a ban lasts unless the caller says otherwise: an hour.
const BAN_SECONDS: u64 = 3_600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ban {
    node: String,
    #[serde(default)]
    seconds: Option<u64>,
}

/// `POST /api/v1/peers/ban`.
pub(crate) async fn ban(State(app): State<App>, Body(body): Body<Ban>) -> Outcome {
    let node = node_id(&body.node)?;
    let seconds = body.seconds.unwrap_or(BAN_SECONDS);
    let lasts = Micros(seconds.saturating_mul(1_000_000));
    app.node.call(Command::Ban { node, lasts }).await?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unban {
    node: String,
}

/// `POST /api/v1/peers/unban`.
pub(crate) async fn unban(State(app): State<App>, Body(body): Body<Unban>) -> Outcome {
    let node = node_id(&body.node)?;
    app.node.call(Command::Unban { node }).await?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revoke {
    /// As `edge-net identity revocation` wrote it.
    revocation: String,
}

#[derive(Serialize)]
struct Revoked {
    node: NodeId,
}

/// `POST /api/v1/identity/revoke`: a key is believed no more, and everybody is told.
pub(crate) async fn revoke(State(app): State<App>, Body(body): Body<Revoke>) -> Outcome {
    let note: RevocationNote = body
        .revocation
        .parse()
        .map_err(|error: edge_swarm::RevocationError| Failure::invalid(error.to_string()))?;
    let node = note.revocation.body.node;
    app.node.call(Command::Revoke(Box::new(note.revocation))).await?;
    tagged("edge-net.revoked/1", Revoked { node })
}

#[derive(Serialize)]
struct Rotated {
    node: NodeId,
    heir: NodeId,
}

/// `POST /api/v1/identity/rotate`: a new key takes the place of this node's. The program starts the node again
/// under it.
pub(crate) async fn rotate(State(app): State<App>) -> Outcome {
    let node = app.node.node();
    let next = "`edge-net status` shows what this node is, `edge-net identity show` its keys";
    let heir = app.node.rotate().await.map_err(Failure::advised(next))?;
    tagged("edge-net.rotated/1", Rotated { node, heir })
}

/// What can be reached from outside.
#[derive(Serialize)]
struct Exposed {
    /// Addresses at which other nodes reach this one.
    listens: Vec<String>,
    /// Whether one of them is no loopback address.
    reachable_by_others: bool,
    /// Where the HTTP interface is.
    http: String,
    http_loopback: bool,
    http_token: bool,
    /// Whether it carries connections of other members.
    relays: bool,
    mdns: bool,
    open_tickets: usize,
    open_tickets_promise: edge_base::Credits,
    /// Paths of the data folder that others than its owner may reach; absent where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    files_open_to_others: Option<Vec<String>>,
    connections: u32,
}

/// What others tried since the start.
#[derive(Serialize)]
struct Attempted {
    malformed: u64,
    limited: u64,
    refused: u64,
    bad_signatures: u64,
    gossip_rejected: u64,
    gossip_ignored: u64,
    results_rejected: u64,
    faults: u64,
    accusations_refuted: u64,
    joins_refused: u64,
    equivocations: usize,
    private_refused: u64,
    /// Connections of nodes of other pools.
    foreign_peers: u64,
    /// Batches and published frames that the transport refused.
    transport_refused: u64,
}

/// What came of it.
#[derive(Serialize)]
struct Done {
    bans: u64,
    banned: Vec<edge_swarm::command::BannedView>,
    named: usize,
    /// Keys that are believed no more.
    revoked: usize,
    slashed: usize,
    own_executions: u64,
    sessions: u64,
    private_messages: u64,
}

/// One thing that should be so.
#[derive(Serialize)]
struct Check {
    name: &'static str,
    /// Absent where it does not apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    passed: Option<bool>,
    what: &'static str,
    fix: Cow<'static, str>,
}

#[derive(Serialize)]
struct Audit {
    node: NodeId,
    security_score: f64,
    passed: usize,
    applicable: usize,
    exposed: Exposed,
    attempted: Attempted,
    done: Done,
    checks: Vec<Check>,
}

/// `GET /api/v1/security/audit`.
pub(crate) async fn audit(State(app): State<App>) -> Outcome {
    let view = match app.node.call(Command::Security).await? {
        Answer::Security(view) => *view,
        other => return Err(unexpected(other)),
    };
    let exposed = exposed(&app, &view);
    let checks = checks(&exposed, &view);
    let applicable = checks.iter().filter(|check| check.passed.is_some()).count();
    let passed = checks.iter().filter(|check| check.passed == Some(true)).count();
    let stats = app.node.transport_stats();
    let attempted = Attempted {
        malformed: view.malformed,
        limited: view.limited,
        refused: view.refused,
        bad_signatures: view.bad_signatures,
        gossip_rejected: view.gossip_rejected,
        gossip_ignored: view.gossip_ignored,
        results_rejected: view.results_rejected,
        faults: view.faults,
        accusations_refuted: view.accusations_refuted,
        joins_refused: view.joins_refused,
        equivocations: view.equivocations,
        private_refused: view.private_refused,
        foreign_peers: stats.foreign_peers,
        transport_refused: stats.peers.values().map(|peer| peer.refused).sum(),
    };
    let done = Done {
        bans: view.bans,
        banned: view.banned,
        named: view.named,
        revoked: view.revoked,
        slashed: view.slashed,
        own_executions: view.own_executions,
        sessions: view.sessions,
        private_messages: view.private_messages,
    };
    let audit = Audit {
        node: app.node.node(),
        security_score: score(passed, applicable),
        passed,
        applicable,
        exposed,
        attempted,
        done,
        checks,
    };
    tagged("edge-net.security-audit/1", audit)
}

/// Ten times the share, with one digit after the point.
fn score(passed: usize, applicable: usize) -> f64 {
    (passed as f64 / applicable.max(1) as f64 * 100.0).round() / 10.0
}

fn exposed(app: &App, view: &SecurityView) -> Exposed {
    let config = app.node.config();
    let listens = app.node.addresses().to_vec();
    let loopback =
        |address: &String| address.starts_with("/ip4/127.") || address.starts_with("/ip6/::1/");
    let reachable_by_others = !listens.iter().all(loopback);
    let files = open_to_others(&config.data_dir);
    Exposed {
        relays: reachable_by_others,
        reachable_by_others,
        listens,
        http: app.url.clone(),
        http_loopback: config.bind.is_loopback(),
        http_token: config.token.is_some(),
        mdns: config.mdns,
        open_tickets: view.open_tickets,
        open_tickets_promise: view.promised,
        files_open_to_others: files
            .map(|files| files.iter().map(|path| path.display().to_string()).collect()),
        connections: app.node.transport_stats().connections,
    }
}

/// What to do about witnesses that never count again.
fn replace(lost: &[NodeId], founder: bool) -> String {
    let lost = lost.iter().map(NodeId::short).collect::<Vec<_>>().join(", ");
    match founder {
        true => format!(
            "name the witnesses again without {lost}: `edge-net ledger handover` with others"
        ),
        false => {
            format!(
                "ask the founder to replace {lost}: only that node runs `edge-net ledger handover`"
            )
        }
    }
}

fn checks(exposed: &Exposed, view: &SecurityView) -> Vec<Check> {
    let check = |name, passed, what, fix: &str| Check {
        name,
        passed,
        what,
        fix: Cow::Owned(fix.to_owned()),
    };
    let witness = |holds: bool| view.witness.then_some(holds);
    let several = |holds: bool| (view.quorum > 1).then_some(holds);
    let banned: Vec<String> = view.witnesses_banned.iter().map(NodeId::short).collect();
    vec![
        check(
            "key-not-revoked",
            Some(!view.self_revoked),
            "this node's own key is believed",
            "join again with a new key: an empty `--data-dir` and a ticket of a member",
        ),
        check(
            "folder-private",
            exposed.files_open_to_others.as_ref().map(Vec::is_empty),
            "nobody else on this machine can read the identity, the keys and the records",
            "chmod 700 the data folder",
        ),
        check(
            "http-token",
            Some(exposed.http_token),
            "programs of other users of this machine cannot use the HTTP interface",
            "set `token` in the configuration, or EDGE_NET_TOKEN",
        ),
        check(
            "http-loopback",
            Some(exposed.http_loopback),
            "the HTTP interface, which is not encrypted, is not on the network",
            "set `bind` to 127.0.0.1 and put a proxy with TLS before it",
        ),
        check(
            "no-open-ticket",
            Some(exposed.open_tickets == 0),
            "no ticket is out with which a stranger could join",
            "`edge-net identity tickets` lists them, `edge-net identity withdraw ID` ends one; hand out \
             tickets just before they are used, each is void after seven days",
        ),
        check(
            "limits",
            Some(view.limits),
            "senders have budgets, and those that go far beyond are banned",
            "this build has them switched off",
        ),
        check(
            "no-witness-lost",
            several(view.witnesses_lost.is_empty()),
            "no witness was named by a proof, and no witness's key is revoked",
            &replace(&view.witnesses_lost, view.founder),
        ),
        check(
            "no-witness-banned",
            several(banned.is_empty()),
            "this node hears the votes of every witness: none is banned here",
            &format!(
                "`edge-net peer unban ID` for {}; a ban here changes the witness set for nobody",
                banned.join(", ")
            ),
        ),
        check(
            "vote-log-whole",
            witness(view.may_vote),
            "this witness votes: its data folder was not copied, restored or repaired",
            "have the founder put another witness in its place (`edge-net ledger handover`); a pool \
             whose only witness this is has to be founded anew",
        ),
        check(
            "quorum-has-slack",
            witness(view.witnesses_voting > view.quorum).filter(|_| view.quorum > 1),
            "payments go on when one more witness that votes is lost",
            "`edge-net peer ls` shows the witnesses: start those that are away; the founder replaces \
             those that never vote again",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exposed_to_nobody() -> Exposed {
        Exposed {
            listens: Vec::new(),
            reachable_by_others: false,
            http: String::new(),
            http_loopback: true,
            http_token: true,
            relays: false,
            mdns: false,
            open_tickets: 0,
            open_tickets_promise: edge_base::Credits::ZERO,
            files_open_to_others: Some(Vec::new()),
            connections: 0,
        }
    }

    /// What is wrong with the witnesses is named with what mends it, by whom it can be mended.
    #[test]
    fn advice_about_witnesses_can_be_followed() {
        let four = SecurityView {
            limits: true,
            witness: true,
            may_vote: true,
            witnesses_reachable: 4,
            witnesses_voting: 4,
            quorum: 3,
            ..SecurityView::default()
        };
        let failed = |view: &SecurityView| -> Vec<(&'static str, String)> {
            let checks = checks(&exposed_to_nobody(), view).into_iter();
            let failed = checks.filter(|check| check.passed == Some(false));
            failed.map(|check| (check.name, check.fix.into_owned())).collect()
        };
        assert_eq!(failed(&four), [], "the control");
        let (node, lost) = (NodeId([7; 32]), vec![NodeId([7; 32])]);
        for (founder, word) in [(true, "name the witnesses again"), (false, "ask the founder")] {
            let view = SecurityView { witnesses_lost: lost.clone(), founder, ..four.clone() };
            let failed = failed(&view);
            assert_eq!((failed.len(), failed[0].0), (1, "no-witness-lost"));
            assert!(failed[0].1.contains(word) && failed[0].1.contains(&node.short()));
        }
        let view = SecurityView { witnesses_banned: lost, witnesses_voting: 3, ..four.clone() };
        let names: Vec<&str> = failed(&view).iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["no-witness-banned", "quorum-has-slack"]);
        assert!(failed(&view)[0].1.contains("peer unban"));
        // All are there, and one of them never votes.
        let view = SecurityView { witnesses_voting: 3, ..four.clone() };
        assert_eq!(failed(&view)[0].0, "quorum-has-slack");
        let view = SecurityView { self_revoked: true, ..four };
        assert_eq!(failed(&view)[0].0, "key-not-revoked");
    }

    #[test]
    fn the_score_is_ten_times_the_share() {
        assert_eq!((score(5, 5), score(0, 5), score(2, 3)), (10.0, 0.0, 6.7));
    }
}
