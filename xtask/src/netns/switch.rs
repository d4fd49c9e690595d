//! A userspace Ethernet switch that delays and drops frames.
//!
//! [`Forwarder`] decides and holds no socket; [`Switch`] drives it from packet sockets on the
//! switch's ends of the veth pairs (packet(7)).

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

/// Frames under way at most; more are dropped, as by a real switch.
const UNDER_WAY_MAX: usize = 65_536;
/// The longest frame of a link with offloads switched off, with room to spare.
const FRAME_BYTES_MAX: usize = 65_536;
/// How long the thread sleeps at most before it looks whether it should stop.
const IDLE: Duration = Duration::from_millis(50);

type Address = [u8; 6];

/// What became of the frames.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) forwarded: u64,
    pub(super) lost: u64,
    pub(super) overflowed: u64,
}

impl fmt::Display for Counters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { forwarded, lost, overflowed } = self;
        write!(formatter, "{forwarded} frames forwarded, {lost} lost, {overflowed} overflowed")
    }
}

/// Where frames go and when: learns addresses, drops by seed, delays by a constant, so that the
/// order is kept.
struct Forwarder {
    ports: usize,
    delay: Duration,
    loss: f64,
    random: u64,
    learned: BTreeMap<Address, usize>,
    under_way: VecDeque<UnderWay>,
    counters: Counters,
}

struct UnderWay {
    due: Instant,
    from: usize,
    /// `None` for every port but the one it came from.
    to: Option<usize>,
    frame: Vec<u8>,
}

impl Forwarder {
    fn new(ports: usize, delay: Duration, loss: f64, seed: u64) -> Self {
        Self {
            ports,
            delay,
            loss,
            random: seed,
            learned: BTreeMap::new(),
            under_way: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Takes in a frame that arrived at a port.
    fn handle(&mut self, now: Instant, port: usize, frame: &[u8]) {
        let Some((to, rest)) = frame.split_first_chunk::<6>() else { return };
        let Some((from, _)) = rest.split_first_chunk::<6>() else { return };
        self.learned.insert(*from, port);
        if self.uniform() < self.loss {
            self.counters.lost += 1;
        } else if self.under_way.len() >= UNDER_WAY_MAX {
            self.counters.overflowed += 1;
        } else {
            let to = self.learned.get(to).copied();
            let due = now + self.delay;
            self.under_way.push_back(UnderWay { due, from: port, to, frame: frame.to_vec() });
        }
    }

    /// The next frame that is due, with the ports it leaves by.
    fn poll(&mut self, now: Instant) -> Option<(Vec<usize>, Vec<u8>)> {
        if self.under_way.front()?.due > now {
            return None;
        }
        let UnderWay { from, to, frame, .. } = self.under_way.pop_front()?;
        self.counters.forwarded += 1;
        let ports = match to {
            Some(port) if port == from => Vec::new(),
            Some(port) => vec![port],
            None => (0..self.ports).filter(|port| *port != from).collect(),
        };
        Some((ports, frame))
    }

    /// How long nothing will be due.
    fn idle(&self, now: Instant) -> Duration {
        self.under_way
            .front()
            .map_or(IDLE, |next| next.due.saturating_duration_since(now))
            .min(IDLE)
    }

    /// splitmix64 (Steele, Lea, Flood 2014), as a number in 0..1.
    fn uniform(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A running switch; stops when dropped.
pub(super) struct Switch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<Counters>>>,
}

impl Switch {
    /// Starts a switch between the interfaces of those names, in the current namespace.
    pub(super) fn start(ports: &[&str], delay: Duration, loss: f64, seed: u64) -> Result<Self> {
        let sockets = ports
            .iter()
            .map(|port| packet_socket(port).with_context(|| format!("no packet socket on {port}")))
            .collect::<Result<Vec<_>>>()?;
        let forwarder = Forwarder::new(ports.len(), delay, loss, seed);
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("switch".to_owned())
            .spawn(move || forward(forwarder, &sockets, &seen))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops it, dropping what is under way, and answers what it did.
    pub(super) fn stop(mut self) -> Result<Counters> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("invariant: only `stop` takes the thread")?;
        Ok(thread.join().map_err(|_| anyhow!("the switch panicked"))??)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn forward(
    mut forwarder: Forwarder,
    sockets: &[OwnedFd],
    stop: &AtomicBool,
) -> io::Result<Counters> {
    let mut frame = vec![0; FRAME_BYTES_MAX];
    while !stop.load(Ordering::Relaxed) {
        wait_readable(sockets, forwarder.idle(Instant::now()))?;
        for (port, socket) in sockets.iter().enumerate() {
            // A bounded batch, so that a busy port cannot starve the others.
            for _ in 0..256 {
                match receive(socket, &mut frame)? {
                    Received::Frame(length) => {
                        forwarder.handle(Instant::now(), port, &frame[..length]);
                    }
                    Received::OurOwn => {}
                    Received::Nothing => break,
                }
            }
        }
        while let Some((ports, frame)) = forwarder.poll(Instant::now()) {
            for port in ports {
                send(&sockets[port], &frame);
            }
        }
    }
    Ok(forwarder.counters)
}

fn packet_socket(interface: &str) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // Protocol 0: no frame is queued before the socket is bound to its interface.
    // SAFETY: socket takes three integers and answers a new descriptor or -1.
    let descriptor = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open and owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let name = std::ffi::CString::new(interface)?;
    // SAFETY: the name is a string with a terminating zero that outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all-zero bytes are a valid sockaddr_ll, a struct of integers.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index as i32;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is a sockaddr_ll of that length and outlives the call.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

fn wait_readable(sockets: &[OwnedFd], timeout: Duration) -> io::Result<()> {
    let mut polled: Vec<libc::pollfd> = sockets
        .iter()
        .map(|socket| libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: the array has as many entries as stated, the time outlives the call, and a null
    // signal mask leaves the mask as it is.
    let ready = unsafe {
        libc::ppoll(polled.as_mut_ptr(), polled.len() as _, &raw const timeout, std::ptr::null())
    };
    match io::Error::last_os_error() {
        error if ready < 0 && error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

enum Received {
    Frame(usize),
    /// A copy of what we sent.
    OurOwn,
    Nothing,
}

fn receive(socket: &OwnedFd, frame: &mut [u8]) -> io::Result<Received> {
    // SAFETY: all-zero bytes are a valid sockaddr_ll, a struct of integers.
    let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut from_length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: buffer and address are writable for the lengths given and outlive the call.
    let length = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            frame.as_mut_ptr().cast(),
            frame.len(),
            0,
            (&raw mut from).cast(),
            &raw mut from_length,
        )
    };
    if length < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR | libc::ENETDOWN) => Ok(Received::Nothing),
            _ => Err(error),
        };
    }
    if from.sll_pkttype == libc::PACKET_OUTGOING {
        return Ok(Received::OurOwn);
    }
    Ok(Received::Frame(length as usize))
}

/// A frame that cannot be sent is a lost frame; the hosts' protocols have to live with it.
fn send(socket: &OwnedFd, frame: &[u8]) {
    // SAFETY: the frame is readable for its length and outlives the call.
    unsafe { libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Address = [2, 0, 0, 0, 0, 1];
    const B: Address = [2, 0, 0, 0, 0, 2];

    fn frame(to: Address, from: Address) -> Vec<u8> {
        [to, from].concat()
    }

    #[test]
    fn unknown_addresses_are_flooded_and_known_ones_are_not() {
        let now = Instant::now();
        let mut forwarder = Forwarder::new(3, Duration::ZERO, 0.0, 1);
        forwarder.handle(now, 0, &frame(B, A));
        assert_eq!(forwarder.poll(now), Some((vec![1, 2], frame(B, A))));
        forwarder.handle(now, 2, &frame(A, B));
        assert_eq!(forwarder.poll(now), Some((vec![0], frame(A, B))));
        forwarder.handle(now, 0, &frame(B, A));
        assert_eq!(forwarder.poll(now), Some((vec![2], frame(B, A))));
        forwarder.handle(now, 2, &frame(B, A));
        assert_eq!(forwarder.poll(now), Some((vec![], frame(B, A))));
        forwarder.handle(now, 0, &[1, 2, 3]);
        assert_eq!(forwarder.poll(now), None);
    }

    #[test]
    fn a_frame_leaves_after_the_delay_and_in_order() {
        let now = Instant::now();
        let delay = Duration::from_millis(50);
        let mut forwarder = Forwarder::new(2, delay, 0.0, 1);
        forwarder.handle(now, 0, &frame(B, A));
        forwarder.handle(now + delay / 2, 1, &frame(A, B));
        assert_eq!(forwarder.poll(now + delay * 99 / 100), None);
        assert_eq!(forwarder.idle(now + delay / 2), delay / 2);
        assert_eq!(forwarder.poll(now + delay).unwrap().0, [1]);
        assert_eq!(forwarder.poll(now + delay), None);
        assert_eq!(forwarder.poll(now + delay * 3 / 2).unwrap().0, [0]);
    }

    #[test]
    fn the_share_of_lost_frames_is_the_one_asked_for() {
        let now = Instant::now();
        let mut forwarder = Forwarder::new(2, Duration::ZERO, 0.01, 7);
        for _ in 0..100_000 {
            forwarder.handle(now, 0, &frame(B, A));
            forwarder.poll(now);
        }
        // 1,000 expected, standard deviation 31.
        assert!((850..1_150).contains(&forwarder.counters.lost), "{}", forwarder.counters);
        assert_eq!(forwarder.counters.lost + forwarder.counters.forwarded, 100_000);
    }

    #[test]
    fn a_full_switch_drops() {
        let now = Instant::now();
        let mut forwarder = Forwarder::new(2, Duration::ZERO, 0.0, 7);
        for _ in 0..UNDER_WAY_MAX + 3 {
            forwarder.handle(now, 0, &frame(B, A));
        }
        assert_eq!(forwarder.counters.overflowed, 3);
    }
}
