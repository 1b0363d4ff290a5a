//! The demo upstream as a program of its own: prints the address it listens on, then serves until it is stopped.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use portcullis_demo_upstream::{Options, serve};
use tokio::net::TcpListener;

/// A small model provider without a model: speaks OpenAI Chat Completions and Anthropic Messages.
#[derive(Parser)]
#[command(name = "portcullis-demo-upstream")]
struct Arguments {
    /// Where to listen; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Refuse requests without this key.
    #[arg(long)]
    api_key: Option<String>,
    /// Milliseconds between the tokens of a stream.
    #[arg(long, default_value_t = 15)]
    token_delay: u64,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let options = Options {
        api_key: arguments.api_key,
        token_delay: Duration::from_millis(arguments.token_delay),
        ..Options::default()
    };
    let server = serve(TcpListener::bind(arguments.listen).await?, options)?;
    println!("{}", server.address());
    io::stdout().flush()?;
    std::future::pending().await
}
