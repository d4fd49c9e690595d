//! The node itself: status, peers, tickets, the end.

use std::time::Duration;

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
};
use edge_base::{Credits, Digest};
use edge_swarm::{
    Answer, Command, Ticket,
    command::{PeerView, StatusView, TicketView},
};
use serde::{Deserialize, Serialize};

use super::{Body, Outcome, amount, done, tagged, unexpected};
use crate::{error::Failure, server::App};

#[derive(Serialize)]
struct Status {
    #[serde(flatten)]
    view: StatusView,
    addresses: Vec<String>,
    api: String,
    may_vote: bool,
    cpu_share_percent: f64,
    uptime_s: u64,
}

/// `GET /api/v1/status`.
pub(crate) async fn status(State(app): State<App>) -> Outcome {
    match app.node.call(Command::Status).await? {
        Answer::Status(view) => {
            let status = Status {
                view: *view,
                addresses: app.node.addresses().to_vec(),
                api: app.url.clone(),
                may_vote: app.node.may_vote(),
                cpu_share_percent: f64::from(app.node.cpu_share().per_mille()) / 10.0,
                uptime_s: app.node.uptime().as_secs(),
            };
            tagged("edge-net.status/1", status)
        }
        other => Err(unexpected(other)),
    }
}

/// `GET /readyz`: whether the node is a member and its peer answers.
pub(crate) async fn ready(State(app): State<App>) -> Outcome {
    match app.node.call(Command::Status).await? {
        Answer::Status(view) if view.witnesses > 0 => Ok("ready\n".into_response()),
        Answer::Status(_) => {
            Ok((StatusCode::SERVICE_UNAVAILABLE, "not a member yet\n").into_response())
        }
        other => Err(unexpected(other)),
    }
}

#[derive(Serialize)]
struct Peer {
    #[serde(flatten)]
    view: PeerView,
    sent_bytes: u64,
    received_bytes: u64,
    sent_frames: u64,
    received_frames: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<&'static str>,
}

#[derive(Serialize)]
struct Peers {
    node: edge_base::NodeId,
    peers: Vec<Peer>,
}

/// `GET /api/v1/peers`.
pub(crate) async fn peers(State(app): State<App>) -> Outcome {
    let views = match app.node.call(Command::ListPeers).await? {
        Answer::Peers(views) => views,
        other => return Err(unexpected(other)),
    };
    let stats = app.node.transport_stats();
    let peers = views
        .into_iter()
        .map(|view| {
            let counted = stats.peers.get(&view.node).cloned().unwrap_or_default();
            Peer {
                view,
                sent_bytes: counted.sent_bytes,
                received_bytes: counted.received_bytes,
                sent_frames: counted.sent_frames,
                received_frames: counted.received_frames,
                rtt_ms: counted.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
                transport: counted.transport.map(|kind| kind.name()),
            }
        })
        .collect();
    tagged("edge-net.peers/1", Peers { node: app.node.node(), peers })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invite {
    #[serde(default)]
    owner: bool,
    #[serde(default, deserialize_with = "amount")]
    credits: Credits,
}

#[derive(Serialize)]
struct TicketText {
    ticket: String,
    /// What it is called when tickets are listed and withdrawn.
    id: Option<Digest>,
}

#[derive(Serialize)]
struct Tickets {
    tickets: Vec<TicketView>,
}

/// `GET /api/v1/identity/tickets`.
pub(crate) async fn tickets(State(app): State<App>) -> Outcome {
    match app.node.call(Command::Tickets).await? {
        Answer::Tickets(tickets) => tagged("edge-net.tickets/1", Tickets { tickets }),
        other => Err(unexpected(other)),
    }
}

/// `DELETE /api/v1/identity/tickets/ID`: nobody comes with it any more.
pub(crate) async fn withdraw(State(app): State<App>, Path(id): Path<String>) -> Outcome {
    let ticket = Digest::from_hex(&id)
        .ok_or_else(|| Failure::invalid("a ticket's id has 64 hexadecimal digits"))?;
    let next = "`edge-net peer ls` lists members; a membership does not end";
    app.node.call(Command::WithdrawTicket { ticket }).await.map_err(Failure::advised(next))?;
    done()
}

/// `POST /api/v1/identity/invite`.
pub(crate) async fn invite(State(app): State<App>, Body(invite): Body<Invite>) -> Outcome {
    let command = Command::Invite { owner: invite.owner, credits: invite.credits };
    match app.node.call(command).await? {
        Answer::Ticket(ticket) => {
            let id = ticket.parse::<Ticket>().ok().map(|ticket| ticket.id());
            tagged("edge-net.ticket/1", TicketText { ticket, id })
        }
        other => Err(unexpected(other)),
    }
}

/// How long a node may take to finish what it promised.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// `POST /api/v1/stop`: the node drains and ends after this answer.
pub(crate) async fn stop(State(app): State<App>) -> Outcome {
    app.stop.send_replace(true);
    tokio::spawn(async move {
        // How it ended is told to whoever waits for the node.
        let _ = app.node.shutdown(SHUTDOWN).await;
    });
    done()
}
