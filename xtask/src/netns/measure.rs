//! Whether the link does what was asked of it, measured from both ends.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::Link;
use super::world::World;

const PINGS: usize = 20;
const DATAGRAMS: u32 = 4_000;
const TRANSFER_BYTES: usize = 512 * 1024;
const PORT: u16 = 4_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures round trip, loss and a transfer between the hosts; wrong figures are an error.
pub(super) fn measure(world: &World, link: Link) -> Result<String> {
    let trips = round_trips(world)?;
    let least = Duration::from_millis(2 * link.delay_ms);
    let (fastest, median) = (trips[0], trips[trips.len() / 2]);
    if fastest < least || median > least + Duration::from_millis(100) {
        bail!(
            "round trips of {fastest:?} to {median:?} (median), expected {least:?} and little more"
        );
    }
    let lost = f64::from(DATAGRAMS - datagrams(world)?) / f64::from(DATAGRAMS);
    // Five standard deviations of the share.
    let slack = 5.0 * (link.loss * (1.0 - link.loss) / f64::from(DATAGRAMS)).sqrt();
    if (lost - link.loss).abs() > slack {
        bail!("{lost:.4} of the datagrams were lost, expected {:.4}", link.loss);
    }
    let elapsed = transfer(world)?;
    Ok(format!(
        "round trip {:.0} ms (median), {:.2} % of {DATAGRAMS} datagrams lost, {} KiB by TCP in {:.1} s",
        median.as_secs_f64() * 1e3,
        lost * 100.0,
        TRANSFER_BYTES / 1024,
        elapsed.as_secs_f64()
    ))
}

/// Stops the switch and makes sure that there is no other way between the hosts.
pub(super) fn cut(world: &mut World) -> Result<String> {
    let address = address(&world.b.address, PORT)?;
    let counters = world.stop_switch()?;
    let attempt = world.a.spawn(move || {
        Ok(TcpStream::connect_timeout(&address, Duration::from_secs(1)).map(drop))
    })?;
    match join(attempt)? {
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            Ok(format!("{counters}; without the switch no way through"))
        }
        other => bail!("without the switch a connection should time out, but: {other:?}"),
    }
}

fn address(host: &str, port: u16) -> Result<SocketAddr> {
    Ok(SocketAddr::new(host.parse()?, port))
}

fn join<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a measuring thread panicked"))?
}

/// Connects from `a` to a listener on `b` and runs both closures on the connection.
fn connected<T: Send + 'static>(
    world: &World,
    serve: impl FnOnce(TcpStream) -> Result<()> + Send + 'static,
    ask: impl FnOnce(TcpStream) -> Result<T> + Send + 'static,
) -> Result<T> {
    let address = address(&world.b.address, 0)?;
    let listener = join(world.b.spawn(move || Ok(TcpListener::bind(address)?))?)?;
    let address = listener.local_addr()?;
    let prepared = |stream: TcpStream| -> Result<TcpStream> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    // The client connects before the server accepts, so that no failure leaves it waiting.
    let client = world.a.spawn(move || {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).context("no connection")?;
        ask(prepared(stream)?)
    })?;
    let server = world.b.spawn(move || {
        listener.set_nonblocking(true)?;
        let started = Instant::now();
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return serve(prepared(stream)?);
                }
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
                Err(_) if started.elapsed() > PATIENCE => bail!("nobody connected"),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    })?;
    let answer = join(client);
    join(server)?;
    answer
}

/// Sorted round-trip times of one byte over an open connection.
fn round_trips(world: &World) -> Result<Vec<Duration>> {
    let mut trips = connected(
        world,
        |mut stream| {
            let mut byte = [0];
            while stream.read(&mut byte)? == 1 {
                stream.write_all(&byte)?;
            }
            Ok(())
        },
        |mut stream| {
            let mut trips = Vec::new();
            for value in 0..PINGS {
                let started = Instant::now();
                let mut byte = [value as u8];
                stream.write_all(&byte)?;
                stream.read_exact(&mut byte)?;
                trips.push(started.elapsed());
            }
            Ok(trips)
        },
    )?;
    trips.sort();
    Ok(trips)
}

/// How many of the datagrams arrived.
fn datagrams(world: &World) -> Result<u32> {
    let to = address(&world.b.address, PORT)?;
    let receiver = join(world.b.spawn(move || Ok(UdpSocket::bind(to)?))?)?;
    receiver.set_read_timeout(Some(Duration::from_secs(2)))?;
    let counting = world.b.spawn(move || {
        let mut arrived = 0;
        let mut buffer = [0; 16];
        // The first one may take the time of address resolution; silence is the end.
        while receiver.recv(&mut buffer).is_ok() {
            arrived += 1;
        }
        Ok(arrived)
    })?;
    let from = address(&world.a.address, 0)?;
    join(world.a.spawn(move || {
        let sender = UdpSocket::bind(from)?;
        for number in 0..DATAGRAMS {
            sender.send_to(&number.to_le_bytes(), to)?;
            if number % 8 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    })?)?;
    join(counting)
}

/// Sends a block, compares what arrived, and answers how long it took.
fn transfer(world: &World) -> Result<Duration> {
    let block: Vec<u8> = (0..TRANSFER_BYTES).map(|index| (index * 31 % 251) as u8).collect();
    let expected = block.clone();
    connected(
        world,
        move |mut stream| {
            let mut arrived = vec![0; TRANSFER_BYTES];
            stream.read_exact(&mut arrived)?;
            stream.write_all(&[u8::from(arrived == expected)])?;
            Ok(())
        },
        move |mut stream| {
            let started = Instant::now();
            stream.write_all(&block)?;
            let mut equal = [0];
            stream.read_exact(&mut equal)?;
            if equal != [1] {
                bail!("what arrived is not what was sent");
            }
            Ok(started.elapsed())
        },
    )
}
