//! Prometheus text exposition (version 0.0.4) of the node's own counters.

use std::{fmt::Write as _, sync::atomic::Ordering};

use axum::{extract::State, http::header, response::IntoResponse};
use edge_swarm::{Answer, Command};

use crate::{error::Failure, server::App};

fn metric(out: &mut String, name: &str, kind: &str, help: &str, value: f64) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "# HELP edge_net_{name} {help}\n# TYPE edge_net_{name} {kind}");
    let _ = writeln!(out, "edge_net_{name} {value}");
}

/// `GET /metrics`.
pub(crate) async fn metrics(State(app): State<App>) -> Result<impl IntoResponse, Failure> {
    let mut out = String::new();
    if let Answer::Status(status) = app.node.call(Command::Status).await? {
        let gauges = [
            ("members", "Members known, this node included.", status.members as f64),
            ("members_connected", "Members connected.", status.connected as f64),
            ("witnesses", "Witnesses of the set.", status.witnesses as f64),
            (
                "witnesses_reachable",
                "Witnesses thought reachable.",
                status.witnesses_reachable as f64,
            ),
            ("tasks_of_others", "Tasks of others waiting or running.", status.working as f64),
            ("own_tasks", "Own tasks not decided yet.", status.own_tasks as f64),
            ("balance_ruv", "Certified balance in rUv.", status.balance.balance.as_ruv()),
            ("incoming_ruv", "Certified payments not credited.", status.balance.incoming.as_ruv()),
            ("escrowed_ruv", "Held by open escrows, in rUv.", status.balance.escrowed.as_ruv()),
            ("staked_ruv", "At stake, in rUv.", status.balance.staked.as_ruv()),
            ("leaving_ruv", "Stake on its way back, in rUv.", status.balance.leaving.as_ruv()),
            ("faulty_nodes", "Nodes that verified faults name.", status.faulty.len() as f64),
        ];
        for (name, help, value) in gauges {
            metric(&mut out, name, "gauge", help, value);
        }
        let counters = [
            ("tasks_verified_total", "Own tasks accepted.", status.tasks_verified),
            ("tasks_failed_total", "Own tasks without a result.", status.tasks_failed),
            ("results_rejected_total", "Results that differed.", status.results_rejected),
            ("own_executions_total", "Own tasks executed here.", status.own_executions),
            ("executed_total", "Results delivered to others.", status.executed_for_others),
        ];
        for (name, help, value) in counters {
            metric(&mut out, name, "counter", help, value as f64);
        }
    }
    let gauges = app.node.gauges();
    let load = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed) as f64;
    metric(&mut out, "inputs_total", "counter", "Inputs of the peer.", load(&gauges.inputs));
    let busy = load(&gauges.busy_us) / 1e6;
    metric(&mut out, "peer_busy_seconds_total", "counter", "Time spent on inputs.", busy);
    let lost = load(&gauges.frames_lost);
    metric(&mut out, "frames_lost_total", "counter", "Frames without room in line.", lost);
    metric(&mut out, "work_waiting", "gauge", "Work waiting.", load(&gauges.work_waiting));
    metric(&mut out, "work_running", "gauge", "Work running.", load(&gauges.work_running));
    let workers = app.node.worker_stats();
    let store = app.node.store_stats();
    let counters = [
        ("work_executed_total", "Pieces of work executed.", load(&workers.executed)),
        ("work_failed_total", "Pieces of work that ended in an error.", load(&workers.failed)),
        ("work_refused_total", "Pieces refused by a full queue.", load(&workers.refused)),
        ("work_cancelled_total", "Pieces cancelled.", load(&workers.cancelled)),
        ("work_cpu_seconds_total", "CPU time of workers.", load(&workers.cpu_us) / 1e6),
        ("store_commits_total", "Durable transactions.", load(&store.commits)),
        ("store_writes_total", "Values written or removed.", load(&store.writes)),
        ("store_bytes_total", "Bytes written, keys included.", load(&store.bytes)),
        ("store_commit_seconds_total", "Time in commits.", load(&store.commit_us) / 1e6),
    ];
    for (name, help, value) in counters {
        metric(&mut out, name, "counter", help, value);
    }
    let events = app.node.event_count() as f64;
    metric(&mut out, "events_total", "counter", "Events.", events);
    let stats = app.node.transport_stats();
    let (mut sent, mut received) = (0u64, 0u64);
    for peer in stats.peers.values() {
        sent += peer.sent_bytes;
        received += peer.received_bytes;
    }
    metric(&mut out, "sent_bytes_total", "counter", "Bytes of frames sent.", sent as f64);
    metric(&mut out, "received_bytes_total", "counter", "Bytes received.", received as f64);
    let connections = f64::from(stats.connections);
    metric(&mut out, "connections", "gauge", "Open connections.", connections);
    let uptime = app.node.uptime().as_secs_f64();
    metric(&mut out, "uptime_seconds", "gauge", "Since the start.", uptime);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], out))
}
