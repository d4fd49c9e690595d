//! Accepting connections: at most so many at once, and none of them for ever without a request.

use std::{io, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

/// What connections may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    /// Connections at once: half the files that a process may usually have open. Further ones wait
    /// until one ends.
    pub(crate) open: usize,
    /// From the start of a connection, or the end of an answer on it, to the end of the headers of
    /// the next request.
    pub(crate) headers: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { open: 512, headers: Duration::from_secs(30) }
    }
}

/// How long to wait when the system gives no further connection, perhaps for want of files.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves until `ended`; requests that are under way then are still answered.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    ended: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(limits.open));
    // Dropping the sender tells the connections.
    let (running, ending) = watch::channel(());
    let mut ended = pin!(ended);
    loop {
        let (place, stream) = tokio::select! {
            biased;
            () = &mut ended => break,
            next = next(&listener, &places) => next,
        };
        tokio::spawn(connection(stream, router.clone(), limits, ending.clone(), place));
    }
    drop(running);
}

async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (OwnedSemaphorePermit, TcpStream) {
    let place = places.clone().acquire_owned().await;
    let place = place.expect("invariant: the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (place, stream),
            // The caller went away before it was its turn.
            Err(error) if is_of_the_caller(&error) => {}
            Err(error) => {
                tracing::error!(%error, "the HTTP interface takes no connection for a moment");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn is_of_the_caller(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    mut ending: watch::Receiver<()>,
    _place: OwnedSemaphorePermit,
) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.headers);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        _ = ending.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection of the HTTP interface broke off");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        sync::oneshot,
        time::timeout,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);
    const MOMENT: Duration = Duration::from_millis(300);
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

    /// A server whose answers take `work`; it ends when the sender is used.
    async fn start(limits: Limits, work: Duration) -> (std::net::SocketAddr, oneshot::Sender<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let answer = move || async move {
            tokio::time::sleep(work).await;
            "answered"
        };
        let router = Router::new().route("/", get(answer));
        tokio::spawn(async move {
            let ended = async move { drop(ended.await) };
            serve(listener, router, limits, ended).await;
        });
        (address, end)
    }

    async fn send(address: std::net::SocketAddr, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    async fn rest(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("it ends").unwrap();
        text
    }

    #[tokio::test]
    async fn headers_that_never_end_are_given_up_and_slow_answers_are_not() {
        let limits = Limits { open: 8, headers: MOMENT };
        let (address, _end) = start(limits, 3 * MOMENT).await;
        for begun in [&b""[..], b"G", b"GET / HTTP/1.1\r\n", &REQUEST[..REQUEST.len() - 2]] {
            let mut stream = send(address, begun).await;
            let answer = rest(&mut stream).await;
            assert!(!answer.contains("answered"), "{answer}");
        }
        assert!(rest(&mut send(address, REQUEST).await).await.ends_with("answered"));
    }

    #[tokio::test]
    async fn connections_over_the_limit_wait_for_a_place() {
        let limits = Limits { open: 2, headers: PATIENCE };
        let (address, _end) = start(limits, Duration::ZERO).await;
        let (first, _second) = (send(address, b"GET").await, send(address, b"GET").await);
        let mut third = send(address, REQUEST).await;
        let mut byte = [0];
        assert!(timeout(MOMENT, third.read(&mut byte)).await.is_err(), "there is no place");
        drop(first);
        assert!(rest(&mut third).await.ends_with("answered"));
    }

    #[tokio::test]
    async fn the_end_lets_answers_under_way_finish_and_closes_the_others() {
        let (address, end) = start(Limits::default(), MOMENT).await;
        let (mut idle, mut busy) = (send(address, b"").await, send(address, REQUEST).await);
        tokio::time::sleep(MOMENT / 3).await;
        end.send(()).unwrap();
        assert!(rest(&mut busy).await.ends_with("answered"));
        assert_eq!(rest(&mut idle).await, "");
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
    }
}
