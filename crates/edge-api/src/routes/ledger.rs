//! The ledger: balances, blocks, payments, the check of everything, checkpoints, parameters, the handover, stake.

use axum::extract::{Path, Query, State};
use edge_base::{Credits, Digest, NodeId};
use edge_swarm::{
    Answer, Command, Refusal,
    command::{BlockView, ParameterView, UNDER_WAY},
};
use serde::{Deserialize, Serialize};

use super::{Body, Outcome, amount, done, node_id, tagged, unexpected};
use crate::{error::Failure, server::App};

#[derive(Deserialize)]
pub(crate) struct Account {
    account: Option<String>,
    limit: Option<usize>,
}

impl Account {
    fn id(&self) -> Result<Option<NodeId>, Failure> {
        self.account.as_deref().map(node_id).transpose()
    }
}

/// `GET /api/v1/ledger/balance`.
pub(crate) async fn balance(State(app): State<App>, Query(query): Query<Account>) -> Outcome {
    match app.node.call(Command::Balance { account: query.id()? }).await? {
        Answer::Balance(view) => tagged("edge-net.balance/1", view),
        other => Err(unexpected(other)),
    }
}

#[derive(Serialize)]
struct History {
    blocks: Vec<BlockView>,
}

/// `GET /api/v1/ledger/history`.
pub(crate) async fn history(State(app): State<App>, Query(query): Query<Account>) -> Outcome {
    let limit = query.limit.unwrap_or(50).min(10_000);
    match app.node.call(Command::History { account: query.id()?, limit }).await? {
        Answer::History(blocks) => tagged("edge-net.history/1", History { blocks }),
        other => Err(unexpected(other)),
    }
}

/// `GET /api/v1/ledger/verify`.
pub(crate) async fn verify(State(app): State<App>) -> Outcome {
    match app.node.call(Command::VerifyLedger).await? {
        Answer::Ledger(view) => tagged("edge-net.ledger/1", view),
        other => Err(unexpected(other)),
    }
}

const NO_CHECKPOINT: &str = "`edge-net status` shows the witnesses, `edge-net ledger economy` the epoch; \
                             `edge-net ledger balance` needs none";

/// `GET /api/v1/ledger/checkpoint`.
pub(crate) async fn checkpoint(State(app): State<App>) -> Outcome {
    match app.node.call(Command::Checkpoint).await.map_err(Failure::advised(NO_CHECKPOINT))? {
        Answer::Checkpoint(view) => tagged("edge-net.checkpoint/1", view),
        other => Err(unexpected(other)),
    }
}

/// `GET /api/v1/ledger/economy`.
pub(crate) async fn economy(State(app): State<App>) -> Outcome {
    match app.node.call(Command::Economy).await? {
        Answer::Economy(view) => tagged("edge-net.economy/1", view),
        other => Err(unexpected(other)),
    }
}

/// `GET /api/v1/ledger/proof`.
pub(crate) async fn proof(State(app): State<App>, Query(query): Query<Account>) -> Outcome {
    let command = Command::Proof { account: query.id()? };
    match app.node.call(command).await.map_err(Failure::advised(NO_CHECKPOINT))? {
        Answer::Proof(view) => tagged("edge-net.proof/1", view),
        other => Err(unexpected(other)),
    }
}

#[derive(Serialize)]
struct Parameters {
    parameters: Vec<ParameterView>,
}

/// `GET /api/v1/ledger/parameters`.
pub(crate) async fn parameters(State(app): State<App>) -> Outcome {
    match app.node.call(Command::Parameters).await? {
        Answer::Parameters(parameters) => {
            tagged("edge-net.parameters/1", Parameters { parameters })
        }
        other => Err(unexpected(other)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    name: String,
    value: u64,
}

/// `POST /api/v1/ledger/parameters`.
pub(crate) async fn want_parameter(State(app): State<App>, Body(body): Body<Wanted>) -> Outcome {
    let next = "`edge-net ledger parameter` lists names, ranges and steps; `edge-net ledger verify` \
                shows the witnesses";
    let command = Command::WantParameter { name: body.name, value: body.value };
    match app.node.call(command).await.map_err(Failure::advised(next))? {
        Answer::Parameters(parameters) => {
            tagged("edge-net.parameters/1", Parameters { parameters })
        }
        other => Err(unexpected(other)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Witnesses {
    witnesses: Vec<String>,
}

#[derive(Serialize)]
struct HandedOver {
    version: u64,
    witnesses: Vec<NodeId>,
}

/// `POST /api/v1/ledger/handover`.
pub(crate) async fn handover(State(app): State<App>, Body(body): Body<Witnesses>) -> Outcome {
    let witnesses: Result<Vec<NodeId>, Failure> =
        body.witnesses.iter().map(|text| node_id(text)).collect();
    let next = "name 3, 6, .. 30 other members, on the founder; at most f of 3f + 1 witnesses leave at a \
                time; `edge-net peer ls` lists members, `edge-net ledger verify` the witnesses";
    let handed = app.node.call(Command::Handover { witnesses: witnesses? }).await;
    match handed.map_err(Failure::advised(next))? {
        Answer::HandedOver(handover) => {
            let (version, witnesses) = (handover.to.version, handover.to.members);
            tagged("edge-net.handover/1", HandedOver { version, witnesses })
        }
        Answer::WitnessesChanged(set) => {
            let (version, witnesses) = (set.version, set.members);
            tagged("edge-net.handover/1", HandedOver { version, witnesses })
        }
        other => Err(unexpected(other)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Amount {
    #[serde(deserialize_with = "amount")]
    credits: Credits,
    /// On top of a payment that is not certified yet.
    #[serde(default)]
    after_pending: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Send {
    to: String,
    #[serde(deserialize_with = "amount")]
    credits: Credits,
    #[serde(default)]
    after_pending: bool,
}

/// A payment, on top of one that is under way if its caller says so.
fn payment(command: Command, after_pending: bool) -> Command {
    if after_pending { Command::AfterPending(Box::new(command)) } else { command }
}

/// What to do about a payment that was refused.
fn advised(next: &'static str) -> impl FnOnce(Refusal) -> Failure {
    move |refusal| {
        let under_way = matches!(&refusal, Refusal::Refused(why) if why.starts_with(UNDER_WAY));
        Failure::advised(if under_way { WAIT } else { next })(refusal)
    }
}

const WAIT: &str = "`edge-net ledger balance` shows it, `edge-net ledger block HASH` says what became of it; to \
                    pay once more all the same add --after-pending";

/// `POST /api/v1/ledger/send`.
pub(crate) async fn send(State(app): State<App>, Body(body): Body<Send>) -> Outcome {
    let to = node_id(&body.to)?;
    let next =
        "send at most the balance (`edge-net ledger balance`), to a member (`edge-net peer ls`)";
    let command = payment(Command::Send { to, amount: body.credits }, body.after_pending);
    match app.node.call(command).await.map_err(advised(next))? {
        Answer::Sent(block) => tagged("edge-net.sent/1", *block),
        other => Err(unexpected(other)),
    }
}

/// `GET /api/v1/ledger/blocks/HASH`: whether a block is certified, or still waits for votes.
pub(crate) async fn fate(State(app): State<App>, Path(hash): Path<String>) -> Outcome {
    let block = Digest::from_hex(&hash)
        .ok_or_else(|| Failure::invalid("a block's hash has 64 hexadecimal digits"))?;
    match app.node.call(Command::Fate { block }).await? {
        Answer::Fate(view) => tagged("edge-net.block/1", *view),
        other => Err(unexpected(other)),
    }
}

/// `POST /api/v1/ledger/stake`.
pub(crate) async fn stake(State(app): State<App>, Body(body): Body<Amount>) -> Outcome {
    let next = "stake at most the balance; `edge-net ledger balance` shows it";
    let command = payment(Command::Stake { amount: body.credits }, body.after_pending);
    move_stake(&app, command, next).await
}

/// `POST /api/v1/ledger/unstake`.
pub(crate) async fn unstake(State(app): State<App>, Body(body): Body<Amount>) -> Outcome {
    let next = "take back at most what is staked; `edge-net ledger balance` shows it";
    let command = payment(Command::Unstake { amount: body.credits }, body.after_pending);
    move_stake(&app, command, next).await
}

/// Carries out the command and answers with the balance after it.
async fn move_stake(app: &App, command: Command, next: &'static str) -> Outcome {
    app.node.call(command).await.map_err(advised(next))?;
    match app.node.call(Command::Balance { account: None }).await? {
        Answer::Balance(view) => tagged("edge-net.balance/1", view),
        other => Err(unexpected(other)),
    }
}

/// `POST /api/v1/ledger/settle`.
pub(crate) async fn settle(State(app): State<App>) -> Outcome {
    app.node.call(Command::Settle).await?;
    done()
}
