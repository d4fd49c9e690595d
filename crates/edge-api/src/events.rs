//! `GET /api/v1/events`: a snapshot, then deltas with numbers, a new snapshot after a gap.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use edge_node::events::{Sequenced, Subscription};
use edge_swarm::{Answer, Command};
use futures::{Stream, StreamExt as _};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use crate::{error::Failure, server::App};

/// What the stream does next.
enum Step {
    Snapshot,
    Follow,
}

/// Streams at once: each holds a connection for as long as its reader likes, and others need some, too.
pub(crate) const STREAMS_MAX: usize = 128;

/// The stream of events.
pub(crate) async fn events(
    State(app): State<App>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let place = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| Failure::crowded())?;
    let subscription = app.node.events();
    let start = (app, subscription, Step::Snapshot);
    let stream = futures::stream::unfold(start, |(app, mut subscription, step)| async move {
        match step {
            Step::Snapshot => {
                let event = snapshot(&app, &subscription).await;
                Some((Ok(event), (app, subscription, Step::Follow)))
            }
            Step::Follow => match next(&app, &mut subscription).await? {
                Ok(event) => {
                    subscription.seen = event.seq;
                    let data = serde_json::to_string(&*event).unwrap_or_default();
                    let sse = Event::default().event("event").id(event.seq.to_string()).data(data);
                    Some((Ok(sse), (app, subscription, Step::Follow)))
                }
                Err(RecvError::Lagged(lost)) => {
                    let subscription = app.node.events();
                    let data = json!({"schema": "edge-net.resync/1", "lost": lost}).to_string();
                    let sse = Event::default().event("resync").data(data);
                    Some((Ok(sse), (app, subscription, Step::Snapshot)))
                }
                Err(RecvError::Closed) => None,
            },
        }
    });
    // The place goes with the stream.
    let stream = stream.inspect(move |_| _ = &place);
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

/// The next event, or `None` when the node has ended.
async fn next(
    app: &App,
    subscription: &mut Subscription,
) -> Option<Result<Arc<Sequenced>, RecvError>> {
    tokio::select! {
        biased;
        event = subscription.receiver.recv() => Some(event),
        _ = app.node.wait_ended() => None,
    }
}

async fn snapshot(app: &App, subscription: &Subscription) -> Event {
    let status = match app.node.call(Command::Status).await {
        Ok(Answer::Status(status)) => serde_json::to_value(&*status).unwrap_or_default(),
        Ok(_) | Err(_) => serde_json::Value::Null,
    };
    let data = json!({"schema": "edge-net.events/1", "seq": subscription.seen, "status": status});
    Event::default().event("snapshot").id(subscription.seen.to_string()).data(data.to_string())
}
