//! Accepts connections until told to stop, then lets what is under way end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};

use super::{Surface, connection};
use crate::Gateway;

/// A listening gateway.
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    /// Closed once the last connection has ended.
    ended: mpsc::Receiver<()>,
    /// Turns true when what is still under way must go.
    cut: watch::Sender<bool>,
}

/// Starts to accept connections.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(gateway: Arc<Gateway>, surface: Surface, address: SocketAddr) -> io::Result<Server> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = watch::channel(false);
    let (cut, severed) = watch::channel(false);
    let (alive, ended) = mpsc::channel(1);
    tokio::spawn(accept((gateway, surface), listener, stopped, severed, alive));
    Ok(Server { address, stop, ended, cut })
}

impl Server {
    /// Where it listens, with the port the system chose where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, tells idle connections to close, and waits for the others. False when some were still under way after
    /// the time given: those are cut, and their requests have ended and are accounted for when this returns.
    pub async fn drain(mut self, within: Duration) -> bool {
        let _ = self.stop.send(true);
        if tokio::time::timeout(within, self.ended.recv()).await.is_ok() {
            return true;
        }
        let _ = self.cut.send(true);
        let _ = self.ended.recv().await;
        false
    }
}

async fn accept(
    serving: (Arc<Gateway>, Surface),
    listener: TcpListener,
    mut stopped: watch::Receiver<bool>,
    severed: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
) {
    let places = Arc::new(Semaphore::new(serving.0.snapshot().config.limits.connections));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        spawn(&serving, stream, peer, (stopped.clone(), severed.clone()), (place, alive.clone()));
    }
}

fn spawn<T: Send + 'static>(
    (gateway, surface): &(Arc<Gateway>, Surface),
    stream: TcpStream,
    peer: SocketAddr,
    (stopped, mut severed): (watch::Receiver<bool>, watch::Receiver<bool>),
    held: T,
) {
    let (gateway, surface) = (Arc::clone(gateway), surface.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = connection::run(gateway, surface, stream, peer, stopped) => {}
            _ = severed.changed() => {}
        }
        drop(held);
    });
}

/// An error of one connection is its own; running out of descriptors would otherwise spin.
async fn pause_after(error: &io::Error) {
    let of_the_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    );
    if !of_the_connection {
        tracing::error!(%error, "cannot accept connections");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
